#include "io/h5_internal.h"
#include "io/write_guard.h"

#include <coterie/memory.h>

#include <string.h>

/* HDF5's chunks end below 4 GiB, and MPI counts bytes in an int. */
static const size_t MAX_CHUNK_BYTES = (size_t)1 << 30;

/* What is read at once: a chunk, and somewhat more for files written by others. */
static const size_t MAX_BLOCK_BYTES = (size_t)1 << 32;

/* ---- types ---- */

hid_t cot_h5_memory_type(cot_h5_type type)
{
    switch (type) {
    case COT_H5_REAL:
        return sizeof(cot_real) == sizeof(double) ? H5T_NATIVE_DOUBLE : H5T_NATIVE_FLOAT;
    case COT_H5_FLOAT32:
        return H5T_NATIVE_FLOAT;
    case COT_H5_FLOAT64:
        return H5T_NATIVE_DOUBLE;
    case COT_H5_INT32:
        return H5T_NATIVE_INT32;
    case COT_H5_INT64:
        return H5T_NATIVE_INT64;
    case COT_H5_UINT8:
        return H5T_NATIVE_UINT8;
    case COT_H5_UINT64:
        return H5T_NATIVE_UINT64;
    default:
        cot_abort(__FILE__, __LINE__, "no such element type: %d", (int)type);
    }
}

hid_t cot_h5_file_type(cot_h5_type type)
{
    switch (type) {
    case COT_H5_REAL:
    case COT_H5_FLOAT32:
        return H5T_IEEE_F32LE;
    case COT_H5_FLOAT64:
        return H5T_IEEE_F64LE;
    case COT_H5_INT32:
        return H5T_STD_I32LE;
    case COT_H5_INT64:
        return H5T_STD_I64LE;
    case COT_H5_UINT8:
        return H5T_STD_U8LE;
    case COT_H5_UINT64:
        return H5T_STD_U64LE;
    default:
        cot_abort(__FILE__, __LINE__, "no such element type: %d", (int)type);
    }
}

cot_h5_type cot_h5_type_of(hid_t type)
{
    if (H5Tget_class(type) == H5T_STRING)
        return H5Tis_variable_str(type) == 0 ? COT_H5_TEXT : COT_H5_OTHER;
    for (cot_h5_type known = COT_H5_FLOAT32; known < COT_H5_TEXT; known++)
        if (H5Tequal(type, cot_h5_file_type(known)) > 0) return known;
    return COT_H5_OTHER;
}

size_t cot_h5_type_size(cot_h5_type type)
{
    if (type == COT_H5_TEXT) return 1;
    return type == COT_H5_OTHER ? 0 : H5Tget_size(cot_h5_memory_type(type));
}

const char *cot_h5_type_name(cot_h5_type type)
{
    static const char *const names[] = {
        [COT_H5_REAL] = "float32",  [COT_H5_FLOAT32] = "float32", [COT_H5_FLOAT64] = "float64",
        [COT_H5_INT32] = "int32",   [COT_H5_INT64] = "int64",     [COT_H5_UINT8] = "uint8",
        [COT_H5_UINT64] = "uint64", [COT_H5_TEXT] = "text",       [COT_H5_OTHER] = "other"};
    return names[type];
}

/* ---- creation ---- */

void cot_h5_choose_chunk(const cot_h5_shape *shape, size_t chunk_out[COT_H5_MAX_AXES])
{
    size_t bytes = H5Tget_size(cot_h5_file_type(shape->type));
    for (size_t i = 0; i < shape->axis_count; i++) {
        bool cut = i == 0 && shape->chunk_rows > 0 &&
                   (shape->extensible || shape->chunk_rows < shape->dims[0]);
        chunk_out[i] = cut ? shape->chunk_rows : shape->dims[i];
        if (chunk_out[i] == 0) chunk_out[i] = 1;
        bytes *= chunk_out[i];
    }
    /* Too large a chunk is halved along its first axis longer than 1, so a chunk never needs two
     * blocks of rows. */
    while (bytes > MAX_CHUNK_BYTES) {
        size_t axis = 0;
        while (axis + 1 < shape->axis_count && chunk_out[axis] == 1) axis++;
        bytes /= chunk_out[axis];
        chunk_out[axis] = (chunk_out[axis] + 1) / 2;
        bytes *= chunk_out[axis];
    }
}

static hid_t create_space(const cot_h5_shape *shape)
{
    hsize_t dims[COT_H5_MAX_AXES];
    hsize_t most[COT_H5_MAX_AXES];
    for (size_t i = 0; i < shape->axis_count; i++) {
        dims[i] = shape->dims[i];
        most[i] = i == 0 && shape->extensible ? H5S_UNLIMITED : dims[i];
    }
    return H5Screate_simple((int)shape->axis_count, dims, most);
}

cot_status cot_h5_create_dataset(cot_h5_file *file, const char *dataset, const cot_h5_shape *shape)
{
    COT_ASSERT(shape->axis_count >= 1 && shape->axis_count <= COT_H5_MAX_AXES);
    size_t chosen[COT_H5_MAX_AXES];
    hsize_t chunk[COT_H5_MAX_AXES];
    cot_h5_choose_chunk(shape, chosen);
    for (size_t i = 0; i < shape->axis_count; i++) chunk[i] = chosen[i];
    SCOPED_ID creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, (int)shape->axis_count, chunk);
    H5Pset_fletcher32(creation);
    cot_h5_keep_attributes_compact(creation);
    SCOPED_ID space = create_space(shape);
    /* HDF5 would write each chunk of a checksummed data set twice, first with zeros, whatever the
     * fill time is. */
    cot_write_guard_skip_collective(true);
    SCOPED_ID id = H5Dcreate2(file->id, dataset, cot_h5_file_type(shape->type), space, H5P_DEFAULT,
                              creation, H5P_DEFAULT);
    cot_write_guard_skip_collective(false);
    return id >= 0 ? COT_OK : cot_h5_failed(file, dataset, "created");
}

/* ---- rows ---- */

static size_t elements_of(const hsize_t *dims, int axis_count)
{
    size_t count = 1;
    for (int i = 0; i < axis_count; i++) count *= dims[i];
    return count;
}

/* Select the rows in the file's space and make the memory's; nothing on either side for no rows. */
static hid_t select_rows(hid_t space, size_t first_row, size_t rows, size_t *elements_out)
{
    hsize_t count[COT_H5_MAX_AXES] = {1};
    hsize_t start[COT_H5_MAX_AXES] = {0};
    int axis_count = H5Sget_simple_extent_ndims(space);
    if (axis_count < 1 || axis_count > COT_H5_MAX_AXES) return H5I_INVALID_HID;
    H5Sget_simple_extent_dims(space, count, NULL);
    if (first_row > count[0] || rows > count[0] - first_row) return H5I_INVALID_HID;
    start[0] = first_row;
    count[0] = rows;
    *elements_out = elements_of(count, axis_count);
    if (*elements_out == 0) {
        H5Sselect_none(space);
        return H5Screate(H5S_NULL);
    }
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    hsize_t memory_dims = *elements_out;
    return H5Screate_simple(1, &memory_dims, NULL);
}

/* HDF5 as a whole transfers collectively, as checksummed data sets need; but each rank then writes
 * its own chunks itself: they are large and in one piece, so gathering them on fewer ranks gains
 * nothing, and a rank whose disk fails in the middle of MPI's own collective transfer would hang
 * the others. */
static hid_t transfer_properties(const cot_h5_file *file)
{
    hid_t transfer = H5Pcreate(H5P_DATASET_XFER);
    if (file->writing && file->parallel) {
        H5Pset_dxpl_mpio(transfer, H5FD_MPIO_COLLECTIVE);
        H5Pset_dxpl_mpio_collective_opt(transfer, H5FD_MPIO_INDIVIDUAL_IO);
    }
    return transfer;
}

/* In the double build, float32 as the file holds it: HDF5 converts no data in a collective
 * transfer. */
static float *narrowed(cot_h5_type type, const void *data, size_t count)
{
    if (type != COT_H5_REAL || sizeof(cot_real) == sizeof(float)) return NULL;
    float *narrow = cot_alloc(count, sizeof *narrow);
    for (size_t i = 0; i < count; i++) narrow[i] = (float)((const cot_real *)data)[i];
    return narrow;
}

cot_status cot_h5_write_rows(cot_h5_file *file, const char *dataset, cot_h5_type type,
                             size_t first_row, size_t rows, const void *data)
{
    size_t elements = 0;
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    if (id < 0) return cot_h5_failed(file, dataset, "opened");
    SCOPED_ID space = H5Dget_space(id);
    SCOPED_ID memory = select_rows(space, first_row, rows, &elements);
    SCOPED_ID transfer = transfer_properties(file);
    COT_ASSERT(memory >= 0); /* rows outside the data set: the caller's mistake */
    float *narrow = narrowed(type, data, elements);
    hid_t memory_type = narrow != NULL ? H5T_NATIVE_FLOAT : cot_h5_memory_type(type);
    const cot_real nothing = 0; /* HDF5 wants an address also for no rows */
    const void *source = narrow != NULL ? narrow : elements > 0 ? data : &nothing;
    herr_t done = H5Dwrite(id, memory_type, memory, space, transfer, source);
    cot_free(narrow);
    return done >= 0 ? COT_OK : cot_h5_failed(file, dataset, "written");
}

static cot_status read_shape(hid_t id, cot_h5_shape *shape)
{
    hsize_t dims[COT_H5_MAX_AXES] = {0};
    hsize_t most[COT_H5_MAX_AXES] = {0};
    hsize_t chunk[COT_H5_MAX_AXES] = {0};
    SCOPED_ID space = H5Dget_space(id);
    SCOPED_ID type = H5Dget_type(id);
    SCOPED_ID creation = H5Dget_create_plist(id);
    int axis_count = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    if (axis_count < 0 || axis_count > COT_H5_MAX_AXES || type < 0 || creation < 0)
        return COT_E_DATA;
    H5Sget_simple_extent_dims(space, dims, most);
    bool chunked = H5Pget_layout(creation) == H5D_CHUNKED &&
                   H5Pget_chunk(creation, COT_H5_MAX_AXES, chunk) == axis_count;
    *shape = (cot_h5_shape){.type = cot_h5_type_of(type), .axis_count = (size_t)axis_count};
    for (int i = 0; i < axis_count; i++) shape->dims[i] = dims[i];
    shape->chunk_rows = chunked && chunk[0] < dims[0] ? chunk[0] : 0;
    shape->extensible = axis_count > 0 && most[0] == H5S_UNLIMITED;
    return COT_OK;
}

cot_status cot_h5_shape_of(const cot_h5_file *file, const char *dataset, cot_h5_shape *shape_out)
{
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    if (id < 0 || read_shape(id, shape_out) != COT_OK) return cot_h5_failed(file, dataset, "read");
    return COT_OK;
}

cot_status cot_h5_read_rows(const cot_h5_file *file, const char *dataset, cot_h5_type type,
                            size_t first_row, size_t rows, void *data)
{
    size_t elements = 0;
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    if (id < 0) return cot_h5_failed(file, dataset, "opened");
    SCOPED_ID space = H5Dget_space(id);
    SCOPED_ID memory =
        space >= 0 ? select_rows(space, first_row, rows, &elements) : H5I_INVALID_HID;
    if (memory < 0)
        return cot_fail(COT_E_DATA, "%s: %s has no rows %zu to %zu", file->path, dataset, first_row,
                        first_row + rows);
    if (elements == 0) return COT_OK;
    if (H5Dread(id, cot_h5_memory_type(type), memory, space, H5P_DEFAULT, data) < 0)
        return cot_h5_failed(file, dataset, "read");
    return COT_OK;
}

/* Rows to read at once: as many as fill a block, whole chunks of them; all where the chunk holds
 * all. 0: too many. */
static size_t rows_of_block(const cot_h5_shape *shape, size_t rows)
{
    const size_t block_bytes = (size_t)1 << 24;
    size_t row_bytes = cot_h5_type_size(shape->type);
    for (size_t i = 1; i < shape->axis_count; i++)
        if (__builtin_mul_overflow(row_bytes, shape->dims[i], &row_bytes)) return 0;
    if (row_bytes == 0 || rows == 0) return rows;
    size_t chunk_rows = shape->chunk_rows > 0 ? shape->chunk_rows : rows;
    size_t block = block_bytes / row_bytes / chunk_rows * chunk_rows;
    if (block < chunk_rows) block = chunk_rows;
    if (block > rows) block = rows;
    return block <= MAX_BLOCK_BYTES / row_bytes ? block : 0;
}

cot_status cot_h5_visit_rows(const cot_h5_file *file, const char *dataset,
                             const cot_h5_shape *shape, size_t first_row, size_t rows,
                             cot_h5_visitor visitor, void *context)
{
    if (shape->axis_count == 0 || shape->type >= COT_H5_TEXT)
        return cot_fail(COT_E_DATA, "%s: %s is a scalar or has a type that is none of ours",
                        file->path, dataset);
    size_t block = rows_of_block(shape, rows);
    if (block == 0 && rows > 0)
        return cot_fail(COT_E_DATA, "%s: %s has chunks too large to be ours", file->path, dataset);
    size_t row_elements = 1;
    for (size_t i = 1; i < shape->axis_count; i++) row_elements *= shape->dims[i];
    void *data = cot_alloc(block * row_elements, cot_h5_type_size(shape->type));
    cot_status status = COT_OK;
    for (size_t done = 0; done < rows && status == COT_OK; done += block) {
        if (block > rows - done) block = rows - done;
        status = cot_h5_read_rows(file, dataset, shape->type, first_row + done, block, data);
        if (status == COT_OK && visitor != NULL) visitor(context, data, block * row_elements);
    }
    cot_free(data);
    return status;
}
