/* Named axes, as HDF5's dimension scales: a data set that is a dimension knows what uses it, and
 * each axis of a data set knows its dimension. */
#include "io/h5_internal.h"

#include <coterie/memory.h>

#include <hdf5_hl.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 64 };

/* What stands behind the last slash. */
static const char *name_in_group(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

cot_status cot_h5_make_dimension(cot_h5_file *file, const char *dataset)
{
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    if (id < 0 || H5DSset_scale(id, name_in_group(dataset)) < 0)
        return cot_h5_failed(file, dataset, "made a dimension");
    return COT_OK;
}

/* The dimension of this name that is nearest above the data set. */
static hid_t open_dimension(const cot_h5_file *file, const char *dataset, const char *name)
{
    for (size_t above = strlen(dataset); above > 0; above--) {
        if (dataset[above - 1] != '/' && above > 1) continue;
        int group = dataset[above - 1] == '/' ? (int)above : 0;
        char *path = cot_strprintf("%.*s%s", group, dataset, name);
        bool there = H5Lexists(file->id, path, H5P_DEFAULT) > 0;
        hid_t id = there ? H5Dopen2(file->id, path, H5P_DEFAULT) : H5I_INVALID_HID;
        cot_free(path);
        if (there) return id;
    }
    return H5I_INVALID_HID;
}

static cot_status name_axis(cot_h5_file *file, const char *dataset, hid_t id, unsigned axis,
                            const char *name)
{
    SCOPED_ID dimension = open_dimension(file, dataset, name);
    if (dimension < 0 || H5DSattach_scale(id, dimension, axis) < 0)
        return cot_h5_failed(file, dataset, "given its axes");
    return COT_OK;
}

cot_status cot_h5_name_axes(cot_h5_file *file, const char *dataset, const char *axes)
{
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    if (id < 0) return cot_h5_failed(file, dataset, "opened");
    char name[NAME_SIZE];
    unsigned axis = 0;
    for (const char *rest = axes; *rest != '\0'; axis++) {
        size_t length = strcspn(rest, ",");
        COT_ASSERT(length < NAME_SIZE);
        snprintf(name, sizeof name, "%.*s", (int)length, rest);
        COT_TRY(name_axis(file, dataset, id, axis, name));
        rest += rest[length] == ',' ? length + 1 : length;
    }
    return cot_h5_set_text(file, dataset, "axes", axes);
}

cot_status cot_h5_resize(cot_h5_file *file, const char *dataset, size_t rows)
{
    hsize_t dims[COT_H5_MAX_AXES] = {0};
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    SCOPED_ID space = id >= 0 ? H5Dget_space(id) : H5I_INVALID_HID;
    int axis_count = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    if (axis_count < 1 || axis_count > COT_H5_MAX_AXES)
        return cot_h5_failed(file, dataset, "opened");
    H5Sget_simple_extent_dims(space, dims, NULL);
    dims[0] = rows;
    return H5Dset_extent(id, dims) >= 0 ? COT_OK : cot_h5_failed(file, dataset, "resized");
}

/* ---- reading ---- */

/* From our own attribute: the references of the dimension scales lie in HDF5's global heap, which
 * has no checksum, and where the library (1.10) turns in circles for ever when a byte is wrong. */
cot_status cot_h5_axes_of(const cot_h5_file *file, const char *dataset, char **axes_out)
{
    SCOPED_ID id = H5Dopen2(file->id, dataset, H5P_DEFAULT);
    htri_t there = id >= 0 ? H5Aexists(id, "axes") : -1;
    if (there < 0) return cot_h5_failed(file, dataset, "asked for its axes");
    if (there > 0) return cot_h5_get_text(file, dataset, "axes", axes_out);
    *axes_out = cot_strdup("");
    return COT_OK;
}
