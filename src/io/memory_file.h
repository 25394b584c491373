/** A file in memory, for HDF5 to work in where one process writes alone.
 *
 * When a write fails, the library can neither go on with a file nor close it. So it gets a place
 * where no write fails, and what it made there is written to the disk by us. */
#ifndef COTERIE_MEMORY_FILE_H
#define COTERIE_MEMORY_FILE_H

#include <coterie/status.h>

#include <hdf5.h>

/** What HDF5 made; there when it has closed the file. */
typedef struct cot_memory_file {
    unsigned char *content;
    size_t capacity;
} cot_memory_file;

/** Files created with these properties are made in memory; one that is opened is read into memory
 * as a whole. `memory` outlives the file. */
void cot_memory_file_use(cot_memory_file *memory, hid_t access);

/** Write it to a file that is there. Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_memory_file_save(const cot_memory_file *memory, const char *path);

void cot_memory_file_free(cot_memory_file *memory);

#endif
