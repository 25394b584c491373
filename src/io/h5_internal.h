/** What the files of this layer share: handles that close themselves, and failures. */
#ifndef COTERIE_H5_INTERNAL_H
#define COTERIE_H5_INTERNAL_H

#include "io/memory_file.h"

#include <coterie/h5.h>

#include <hdf5.h>

struct cot_h5_file {
    hid_t id;
    char *path;
    bool writing, parallel;
    cot_memory_file memory; /* of a file that is written and not parallel */
};

/** A handle of any kind that is closed where its scope ends; negative: none. */
#define SCOPED_ID __attribute__((cleanup(cot_h5_release))) hid_t
void cot_h5_release(hid_t *id);

/** Record "<file>: <object>: cannot be <done>: <HDF5's innermost message>": COT_E_IO for a file
 * being written, COT_E_DATA for one being read. */
cot_status cot_h5_failed(const cot_h5_file *file, const char *object, const char *done);

/** Attributes of objects made with these properties stay in the object header, whose checksum
 * covers them. */
void cot_h5_keep_attributes_compact(hid_t creation);

/** The library's name for our types (do not close), and ours for the library's. */
hid_t cot_h5_memory_type(cot_h5_type type);
hid_t cot_h5_file_type(cot_h5_type type);
cot_h5_type cot_h5_type_of(hid_t type);

#endif
