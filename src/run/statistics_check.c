/* Whether a statistics file holds what it should. */
#include "run/statistics_layout.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 128 };

/* ---- what was written ---- */

typedef struct comparison {
    const char *expected;
    size_t element_size;
    bool equal;
} comparison;

static void compare(void *context, const void *data, size_t elements)
{
    comparison *self = context;
    size_t bytes = elements * self->element_size; /* by bits: NaN must come back too */
    self->equal = self->equal && memcmp(data, self->expected, bytes) == 0;
    self->expected += bytes;
}

static cot_status rows_equal(const cot_h5_file *file, const char *path, const cot_h5_shape *shape,
                             size_t first, size_t rows, const void *expected, bool *equal_out)
{
    comparison self = {expected, cot_h5_type_size(shape->type), true};
    COT_TRY(cot_h5_visit_rows(file, path, shape, first, rows, compare, &self));
    *equal_out = self.equal;
    return COT_OK;
}

cot_status cot_statistics_check_record(const cot_h5_file *file, const cot_catalog *catalog,
                                       size_t record)
{
    char path[PATH_SIZE];
    for (size_t i = 0; i < catalog->variable_count; i++) {
        bool equal = false;
        cot_h5_shape shape = {0};
        snprintf(path, sizeof path, "/%s", catalog->variables[i].name);
        COT_TRY(cot_h5_shape_of(file, path, &shape));
        COT_TRY(rows_equal(file, path, &shape, record, 1, catalog->variables[i].data, &equal));
        if (!equal)
            return cot_fail(COT_E_DATA, "%s: %s reads back differently from what was written",
                            cot_h5_path(file), path);
    }
    return COT_OK;
}

/* ---- what was there ---- */

cot_status cot_statistics_check_kind(const cot_h5_file *file, size_t *records_out)
{
    char *kind = NULL;
    cot_status status = COT_OK;
    cot_h5_shape record = {0};
    COT_TRY(cot_origin_check(file, COT_STATISTICS_FORMAT, COT_STATISTICS_VERSION));
    COT_TRY(cot_h5_get_text(file, "/", "kind", &kind));
    if (strcmp(kind, COT_STATISTICS_TRAINING) != 0)
        status = cot_fail(COT_E_DATA, "%s: its kind is '%s', not '" COT_STATISTICS_TRAINING "'",
                          cot_h5_path(file), kind);
    cot_free(kind);
    if (status != COT_OK) return status;
    COT_TRY(cot_h5_shape_of(file, "/record", &record));
    *records_out = record.dims[0];
    return COT_OK;
}

/* What is to be done, whatever it is that differs. */
static cot_status differs(const cot_h5_file *file, const char *path, const char *how)
{
    return cot_fail(COT_E_DATA,
                    "%s: %s %s, so no record of this run fits; move the file away, or keep the "
                    "stats and the model of the recipe as they were",
                    cot_h5_path(file), path, how);
}

static cot_status check_axes(const cot_h5_file *file, const char *path, const char *axes)
{
    char *found = NULL;
    COT_TRY(cot_h5_axes_of(file, path, &found));
    char *expected = cot_strprintf("record%s%s", axes[0] != '\0' ? "," : "", axes);
    bool same = strcmp(found, expected) == 0;
    cot_free(expected);
    cot_free(found);
    return same ? COT_OK : differs(file, path, "has other axes");
}

static cot_status check_variable(const cot_h5_file *file, const cot_catalog *catalog,
                                 const cot_variable *variable, size_t records)
{
    char path[PATH_SIZE];
    cot_h5_shape found = {0};
    const cot_h5_shape expected = cot_statistics_shape(catalog, variable, records);
    snprintf(path, sizeof path, "/%s", variable->name);
    if (cot_h5_kind_of(file, path) != COT_H5_DATASET) return differs(file, path, "is missing");
    COT_TRY(cot_h5_shape_of(file, path, &found));
    if (found.type != expected.type) return differs(file, path, "has another type");
    bool same = found.extensible && found.axis_count == expected.axis_count &&
                memcmp(found.dims, expected.dims, found.axis_count * sizeof *found.dims) == 0;
    return same ? check_axes(file, path, variable->axes) : differs(file, path, "has another shape");
}

static cot_status check_dimension(const cot_h5_file *file, const cot_dimension *dimension)
{
    bool equal = true;
    char path[PATH_SIZE];
    cot_h5_shape shape = {0};
    snprintf(path, sizeof path, "/%s", dimension->name);
    if (cot_h5_kind_of(file, path) != COT_H5_DATASET) return differs(file, path, "is missing");
    COT_TRY(cot_h5_shape_of(file, path, &shape));
    if (shape.type != dimension->type || shape.axis_count != 1 || shape.dims[0] != dimension->size)
        return differs(file, path, "has another size");
    if (dimension->values != NULL)
        COT_TRY(rows_equal(file, path, &shape, 0, dimension->size, dimension->values, &equal));
    return equal ? COT_OK : differs(file, path, "has other coordinates");
}

static bool is_known(const cot_catalog *catalog, const char *name)
{
    return strcmp(name, "record") == 0 || cot_catalog_dimension(catalog, name) != NULL ||
           cot_catalog_variable(catalog, name) != NULL;
}

/* Members of a group are asked for as "timing/seconds". */
static cot_status check_members(const cot_h5_file *file, const cot_catalog *catalog,
                                const char *group)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    COT_TRY(cot_h5_members(file, group, &names));
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        char *path = cot_strprintf("%s/%s", group[1] == '\0' ? "" : group, names.names[i]);
        if (group[1] == '\0' && cot_h5_kind_of(file, path) == COT_H5_GROUP)
            status = check_members(file, catalog, path);
        else if (!is_known(catalog, path + 1))
            status = differs(file, path, "is unknown here");
        cot_free(path);
    }
    cot_h5_names_free(&names);
    return status;
}

cot_status cot_statistics_check_layout(const cot_h5_file *file, const cot_catalog *catalog,
                                       size_t records)
{
    for (size_t i = 0; i < catalog->dimension_count; i++)
        COT_TRY(check_dimension(file, &catalog->dimensions[i]));
    for (size_t i = 0; i < catalog->variable_count; i++)
        COT_TRY(check_variable(file, catalog, &catalog->variables[i], records));
    return check_members(file, catalog, "/");
}
