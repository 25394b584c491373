/** Keeps failing writes away from HDF5 while a file is written by several ranks. */
#ifndef COTERIE_WRITE_GUARD_H
#define COTERIE_WRITE_GUARD_H

#include <stdbool.h>

/** Start to keep failures of this process; forgets earlier ones. */
void cot_write_guard_begin(void);

/** While set and guarded, MPI's collective writes do nothing: HDF5 uses them only to fill new
 * chunks with zeros. */
void cot_write_guard_skip_collective(bool skip);

/** Stop. Returns why the first write that failed did, or NULL; valid until the next begin. */
const char *cot_write_guard_end(void);

#endif
