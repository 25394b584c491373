/** Keeps failing writes away from HDF5 while a file is written by several ranks. */
#ifndef COTERIE_WRITE_GUARD_H
#define COTERIE_WRITE_GUARD_H

/** Start to keep failures of this process; forgets earlier ones. */
void cot_write_guard_begin(void);

/** Stop. Returns why the first write that failed did, or NULL; valid until the next begin. */
const char *cot_write_guard_end(void);

#endif
