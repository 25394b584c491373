/** HDF5 files: the only layer that knows the library.
 *
 * A file is written by all ranks together through MPI-IO and read by each rank for itself. Data
 * sets are rows along the first axis: a rank writes or reads a block of consecutive rows. Every
 * data set is chunked and has a Fletcher-32 checksum; attributes are fixed-length text or scalar
 * numbers and lie in object headers, which HDF5 checksums, so a damaged file is noticed wherever
 * the damage is.
 *
 * While a file is written, a disk that fails on one rank is not reported to HDF5: the library would
 * leave its collective sequence on that rank and hang the others (src/io/write_guard.c). The
 * failure is kept and comes out of cot_h5_finish. A file that one process writes alone is made in
 * memory for the same reason: the library could neither go on nor close it. */
#ifndef COTERIE_H5_H
#define COTERIE_H5_H

#include <coterie/comm.h>
#include <coterie/real.h>
#include <coterie/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COT_H5_MAX_AXES = 8 };

/** Element types, in memory and in the file; always little-endian in the file. */
typedef enum cot_h5_type {
    COT_H5_REAL, /**< cot_real in memory, float32 in the file */
    COT_H5_FLOAT32,
    COT_H5_FLOAT64,
    COT_H5_INT32,
    COT_H5_INT64,
    COT_H5_UINT8,
    COT_H5_UINT64,
    COT_H5_TEXT, /**< attributes only: fixed length */
    COT_H5_OTHER /**< found in a file, and not one of ours */
} cot_h5_type;

/** Bytes of one element in memory; 1 for text, 0 for COT_H5_OTHER. */
size_t cot_h5_type_size(cot_h5_type type);

/** "float32", "text", ...; "real" is "float32". */
const char *cot_h5_type_name(cot_h5_type type);

/** What a data set is. */
typedef struct cot_h5_shape {
    cot_h5_type type;
    size_t axis_count; /**< at least one: scalars cannot be checksummed */
    size_t dims[COT_H5_MAX_AXES];
    size_t chunk_rows; /**< rows of the first axis that share a chunk; 0: all of them */
    bool extensible;   /**< the first axis may grow */
} cot_h5_shape;

/** The chunk that a data set of this shape gets: chunk_rows whole rows, or less where that would be
 * too large for HDF5 (4 GiB) and MPI (2 GiB). */
void cot_h5_choose_chunk(const cot_h5_shape *shape, size_t chunk_out[COT_H5_MAX_AXES]);

typedef struct cot_h5_file cot_h5_file;

/** A list of names, sorted by strcmp. Release with cot_h5_names_free. */
typedef struct cot_h5_names {
    size_t count;
    char **names;
} cot_h5_names;
void cot_h5_names_free(cot_h5_names *names);

/* ---- files ---- */

/** Create a file for writing; one of that name is replaced. Collective over the world of `comm`,
 * every rank alike; with comm NULL by this process alone, in memory until it is finished. The
 * outcome is agreed on.
 * Errors: COT_E_CREATE, on every rank. */
COT_MUST_CHECK cot_status cot_h5_create(const cot_comm *comm, const char *path,
                                        cot_h5_file **file_out);

/** Begin a file as a copy of another one, by this process alone and in memory until it is finished.
 * Errors: as cot_h5_create and cot_h5_open. */
COT_MUST_CHECK cot_status cot_h5_create_copy(const char *path, const char *original,
                                             cot_h5_file **file_out);

/** Close a file that was written. Collective as cot_h5_create, also after a failed write. Not
 * agreed on.
 * Errors: COT_E_IO when any byte this rank had to write did not arrive. */
COT_MUST_CHECK cot_status cot_h5_finish(cot_h5_file **file);

/** Open a file to read. Not collective.
 * Errors: COT_E_NOINPUT when it is not there or not readable, COT_E_DATA when it is not a complete
 * HDF5 file. */
COT_MUST_CHECK cot_status cot_h5_open(const char *path, cot_h5_file **file_out);

/** Close a file that was read; accepts NULL. */
void cot_h5_close(cot_h5_file **file);

const char *cot_h5_path(const cot_h5_file *file);

/* ---- writing ----
 *
 * Each call is collective over the ranks that created the file, with the same arguments on every
 * rank except where it says so.
 * Errors: COT_E_IO. */

/** Create a group that keeps track of the order in which its members were created. Its parent must
 * be there. */
COT_MUST_CHECK cot_status cot_h5_create_group(cot_h5_file *file, const char *group);

/** Create a data set. Its rows must then all be written by cot_h5_write_rows: nothing fills them
 * before. */
COT_MUST_CHECK cot_status cot_h5_create_dataset(cot_h5_file *file, const char *dataset,
                                                const cot_h5_shape *shape);

/** Write the rows [first_row, first_row + rows). Rows, their number (0 for a rank that holds none)
 * and data are each rank's own; no two ranks write the same row. `type` must be the data set's. */
COT_MUST_CHECK cot_status cot_h5_write_rows(cot_h5_file *file, const char *dataset,
                                            cot_h5_type type, size_t first_row, size_t rows,
                                            const void *data);

/** Make a data set of one axis the dimension of its name, and say what the axes of a data set are:
 * as many names as it has axes, "record,layer,expert", of dimensions in its group or in one above.
 * These are the dimension scales of HDF5, as netCDF-4 writes them, and an attribute `axes` that
 * says the same. A dimension is created before the data sets that use it. */
COT_MUST_CHECK cot_status cot_h5_make_dimension(cot_h5_file *file, const char *dataset);
COT_MUST_CHECK cot_status cot_h5_name_axes(cot_h5_file *file, const char *dataset,
                                           const char *axes);

/** Change the length of an extensible data set's first axis. New rows must then be written. */
COT_MUST_CHECK cot_status cot_h5_resize(cot_h5_file *file, const char *dataset, size_t rows);

/** Attach an attribute to a group or data set ("/" for the file); one of that name is replaced. */
COT_MUST_CHECK cot_status cot_h5_set_text(cot_h5_file *file, const char *object, const char *name,
                                          const char *value);
COT_MUST_CHECK cot_status cot_h5_set_uint(cot_h5_file *file, const char *object, const char *name,
                                          uint64_t value);
COT_MUST_CHECK cot_status cot_h5_set_double(cot_h5_file *file, const char *object, const char *name,
                                            double value);

/* ---- reading ----
 *
 * Not collective.
 * Errors: COT_E_DATA, naming the file and the object. */

typedef enum cot_h5_kind {
    COT_H5_MISSING,
    COT_H5_GROUP,
    COT_H5_DATASET,
    COT_H5_UNKNOWN
} cot_h5_kind;

/** What stands under a name. Links to elsewhere and named types are COT_H5_UNKNOWN, and so is what
 * cannot be opened. */
cot_h5_kind cot_h5_kind_of(const cot_h5_file *file, const char *object);

/** Names of the members of a group, and of the attributes of an object. */
COT_MUST_CHECK cot_status cot_h5_members(const cot_h5_file *file, const char *group,
                                         cot_h5_names *names_out);
COT_MUST_CHECK cot_status cot_h5_attributes(const cot_h5_file *file, const char *object,
                                            cot_h5_names *names_out);

/** Shape and type of a data set; type is COT_H5_OTHER where it is none of ours, and axis_count 0
 * for a scalar. */
COT_MUST_CHECK cot_status cot_h5_shape_of(const cot_h5_file *file, const char *dataset,
                                          cot_h5_shape *shape_out);

/** The names of a data set's axes as given to cot_h5_name_axes, allocated; "" where none has one.
 */
COT_MUST_CHECK cot_status cot_h5_axes_of(const cot_h5_file *file, const char *dataset,
                                         char **axes_out);

/** Read the rows [first_row, first_row + rows) as `type`, checksums verified. */
COT_MUST_CHECK cot_status cot_h5_read_rows(const cot_h5_file *file, const char *dataset,
                                           cot_h5_type type, size_t first_row, size_t rows,
                                           void *data);

/** Called with consecutive blocks of a data set's elements, of the type that the shape names. */
typedef void (*cot_h5_visitor)(void *context, const void *data, size_t elements);

/** Read rows block by block, each chunk once, without holding more than a block in memory; a NULL
 * visitor only checks that all of it can be read. `shape` is what cot_h5_shape_of says. */
COT_MUST_CHECK cot_status cot_h5_visit_rows(const cot_h5_file *file, const char *dataset,
                                            const cot_h5_shape *shape, size_t first_row,
                                            size_t rows, cot_h5_visitor visitor, void *context);

/** Any attribute: `count` elements of `type`, allocated; text ends with a zero that count does not
 * include. For COT_H5_OTHER there is no data. Release with cot_h5_value_free. */
typedef struct cot_h5_value {
    cot_h5_type type;
    size_t count;
    void *data;
} cot_h5_value;
COT_MUST_CHECK cot_status cot_h5_get_value(const cot_h5_file *file, const char *object,
                                           const char *name, cot_h5_value *value_out);
void cot_h5_value_free(cot_h5_value *value);

/** One attribute of a known type; text is allocated. */
COT_MUST_CHECK cot_status cot_h5_get_text(const cot_h5_file *file, const char *object,
                                          const char *name, char **value_out);
COT_MUST_CHECK cot_status cot_h5_get_uint(const cot_h5_file *file, const char *object,
                                          const char *name, uint64_t *value_out);
COT_MUST_CHECK cot_status cot_h5_get_double(const cot_h5_file *file, const char *object,
                                            const char *name, double *value_out);

#endif
