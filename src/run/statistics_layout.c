#include "run/statistics_layout.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>

/* A chunk of a growing variable holds this many bytes where its records are smaller: so a file of
 * many small records is not made of many small chunks. */
enum { CHUNK_BYTES = 4096, PATH_SIZE = 128, TEXT_SIZE = 256 };

/* ---- names and shapes ---- */

static void path_of(const char *name, char path[PATH_SIZE])
{
    int length = snprintf(path, PATH_SIZE, "/%s", name);
    COT_ASSERT(length < PATH_SIZE);
}

/* Append the sizes of the dimensions that `axes` names, "layer,expert", to a shape. */
static void append_axes(const cot_catalog *catalog, const char *axes, cot_h5_shape *shape)
{
    char name[PATH_SIZE];
    for (const char *rest = axes; *rest != '\0';) {
        size_t length = strcspn(rest, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, rest);
        const cot_dimension *dimension = cot_catalog_dimension(catalog, name);
        if (dimension == NULL)
            cot_abort(__FILE__, __LINE__, "no dimension '%s' in the catalog", name);
        COT_ASSERT(shape->axis_count < COT_H5_MAX_AXES);
        shape->dims[shape->axis_count++] = dimension->size;
        rest += rest[length] == ',' ? length + 1 : length;
    }
}

cot_h5_shape cot_statistics_shape(const cot_catalog *catalog, const cot_variable *variable,
                                  size_t records)
{
    cot_h5_shape shape = {
        .type = variable->type, .axis_count = 1, .dims = {records}, .extensible = true};
    append_axes(catalog, variable->axes, &shape);
    return shape;
}

static size_t record_bytes(const cot_h5_shape *shape)
{
    size_t bytes = cot_h5_type_size(shape->type);
    for (size_t i = 1; i < shape->axis_count; i++) bytes *= shape->dims[i];
    return bytes;
}

/* ---- attributes ---- */

cot_status cot_statistics_write_attributes(cot_h5_file *file, const cot_origin *origin,
                                           const cot_statistics_info *info)
{
    COT_TRY(cot_origin_write(file, origin, COT_STATISTICS_FORMAT, COT_STATISTICS_VERSION,
                             info->origin));
    COT_TRY(cot_h5_set_text(file, "/", "kind", info->kind));
    COT_TRY(cot_h5_set_text(file, "/", "split", info->split));
    if (info->selectors == NULL) return COT_OK;
    return cot_h5_set_text(file, "/", "selectors", info->selectors);
}

static cot_status describe(cot_h5_file *file, const char *path, const char *units,
                           const char *meaning)
{
    COT_TRY(cot_h5_set_text(file, path, "units", units));
    return cot_h5_set_text(file, path, "long_name", meaning);
}

/* ---- dimensions ---- */

static cot_status write_coordinates(cot_h5_file *file, const char *path, bool writes,
                                    const cot_dimension *dimension)
{
    int64_t *counted = NULL;
    if (dimension->values == NULL) {
        counted = cot_alloc(dimension->size, sizeof *counted);
        for (size_t i = 0; i < dimension->size; i++) counted[i] = (int64_t)i;
    }
    cot_status status =
        cot_h5_write_rows(file, path, dimension->type, 0, writes ? dimension->size : 0,
                          counted != NULL ? counted : dimension->values);
    cot_free(counted);
    return status;
}

static cot_status create_dimension(cot_h5_file *file, bool writes, const cot_dimension *dimension)
{
    char path[PATH_SIZE];
    cot_h5_shape shape = {.type = dimension->type, .axis_count = 1, .dims = {dimension->size}};
    path_of(dimension->name, path);
    if (cot_h5_kind_of(file, path) != COT_H5_MISSING) return COT_OK;
    COT_TRY(cot_h5_create_dataset(file, path, &shape));
    COT_TRY(cot_h5_make_dimension(file, path));
    COT_TRY(describe(file, path, "1", dimension->meaning));
    return write_coordinates(file, path, writes, dimension);
}

cot_status cot_statistics_create_dimensions(cot_h5_file *file, bool writes,
                                            const cot_catalog *catalog)
{
    for (size_t i = 0; i < catalog->dimension_count; i++)
        COT_TRY(create_dimension(file, writes, &catalog->dimensions[i]));
    return COT_OK;
}

static cot_status create_record_dimension(cot_h5_file *file, bool grows)
{
    cot_h5_shape shape = {.type = COT_H5_INT64,
                          .axis_count = 1,
                          .dims = {1},
                          .chunk_rows = grows ? CHUNK_BYTES / sizeof(int64_t) : 1,
                          .extensible = true};
    COT_TRY(cot_h5_create_dataset(file, "/record", &shape));
    COT_TRY(cot_h5_make_dimension(file, "/record"));
    return describe(file, "/record", "1", "evaluation, counted from 0");
}

/* ---- variables ---- */

/* The group of "timing/seconds", before the first of its members. */
static cot_status create_group(cot_h5_file *file, const char *name)
{
    char group[PATH_SIZE];
    const char *slash = strchr(name, '/');
    if (slash == NULL) return COT_OK;
    snprintf(group, sizeof group, "/%.*s", (int)(slash - name), name);
    return cot_h5_kind_of(file, group) == COT_H5_MISSING ? cot_h5_create_group(file, group)
                                                         : COT_OK;
}

static cot_status create_variable(cot_h5_file *file, const cot_variable *variable,
                                  const char *first_axis, const cot_h5_shape *shape)
{
    char path[PATH_SIZE];
    char axes[TEXT_SIZE];
    path_of(variable->name, path);
    snprintf(axes, sizeof axes, "%s%s%s", first_axis,
             first_axis[0] != '\0' && variable->axes[0] != '\0' ? "," : "", variable->axes);
    COT_TRY(create_group(file, variable->name));
    COT_TRY(cot_h5_create_dataset(file, path, shape));
    COT_TRY(cot_h5_name_axes(file, path, axes));
    return describe(file, path, variable->units, variable->meaning);
}

cot_status cot_statistics_create_rows(cot_h5_file *file, const cot_catalog *catalog,
                                      const cot_variable *variable, size_t batch)
{
    cot_h5_shape shape = {.type = variable->type, .chunk_rows = batch};
    append_axes(catalog, variable->axes, &shape);
    return create_variable(file, variable, "", &shape);
}

static cot_status create_variables(cot_h5_file *file, const cot_catalog *catalog, bool grows)
{
    for (size_t i = 0; i < catalog->variable_count; i++) {
        cot_h5_shape shape = cot_statistics_shape(catalog, &catalog->variables[i], 1);
        size_t fitting = CHUNK_BYTES / record_bytes(&shape);
        shape.chunk_rows = grows && fitting > 1 ? fitting : 1;
        COT_TRY(create_variable(file, &catalog->variables[i], "record", &shape));
    }
    return COT_OK;
}

cot_status cot_statistics_resize(cot_h5_file *file, const cot_catalog *catalog, size_t records)
{
    char path[PATH_SIZE];
    COT_TRY(cot_h5_resize(file, "/record", records));
    for (size_t i = 0; i < catalog->variable_count; i++) {
        path_of(catalog->variables[i].name, path);
        COT_TRY(cot_h5_resize(file, path, records));
    }
    return COT_OK;
}

cot_status cot_statistics_write_record(cot_h5_file *file, bool writes, const cot_catalog *catalog,
                                       size_t record)
{
    char path[PATH_SIZE];
    const int64_t number = (int64_t)record;
    const size_t first = writes ? record : 0;
    COT_TRY(cot_h5_write_rows(file, "/record", COT_H5_INT64, first, writes, &number));
    for (size_t i = 0; i < catalog->variable_count; i++) {
        const cot_variable *variable = &catalog->variables[i];
        path_of(variable->name, path);
        COT_TRY(cot_h5_write_rows(file, path, variable->type, first, writes, variable->data));
    }
    return COT_OK;
}

cot_status cot_statistics_write_first(cot_h5_file *file, bool writes, const cot_catalog *catalog,
                                      bool grows)
{
    COT_TRY(create_record_dimension(file, grows));
    COT_TRY(cot_statistics_create_dimensions(file, writes, catalog));
    COT_TRY(create_variables(file, catalog, grows));
    return cot_statistics_write_record(file, writes, catalog, 0);
}
