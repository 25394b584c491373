/* What `coterie inspect` says of a statistics file. */
#include "cli/inspect_report.h"

#include <coterie/memory.h>

#include <string.h>

/* ---- dimensions ---- */

static bool counts_from_zero(const int64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] != (int64_t)i) return false;
    return true;
}

static cot_status describe_dimension(const cot_h5_file *file, const char *path,
                                     const cot_h5_shape *shape, json_t *dimensions)
{
    cot_h5_value value = {shape->type, shape->dims[0], NULL};
    json_t *dimension =
        json_pack("{s:s, s:I}", "name", path + 1, "size", (json_int_t)shape->dims[0]);
    json_array_append_new(dimensions, dimension);
    value.data = cot_alloc(value.count, cot_h5_type_size(value.type));
    cot_status status = cot_h5_read_rows(file, path, value.type, 0, value.count, value.data);
    bool counted = value.type == COT_H5_INT64 && counts_from_zero(value.data, value.count);
    if (status == COT_OK && !counted)
        json_object_set_new(dimension, "values", cot_inspect_value(&value));
    cot_h5_value_free(&value);
    return status;
}

/* ---- variables ---- */

/* An attribute of a variable, under a key of the report; text, as ours are. */
static cot_status lift_text(const cot_h5_file *file, const char *path, const char *name,
                            json_t *variable, const char *key)
{
    char *text = NULL;
    COT_TRY(cot_h5_get_text(file, path, name, &text));
    json_object_set_new(variable, key, json_string(text));
    cot_free(text);
    return COT_OK;
}

static cot_status describe_variable(const cot_h5_file *file, const char *path, const char *axes,
                                    const cot_h5_shape *shape, json_t *variables)
{
    json_t *variable =
        json_pack("{s:s, s:s, s:s, s:o}", "name", path + 1, "type", cot_h5_type_name(shape->type),
                  "axes", axes, "shape", cot_inspect_shape(shape));
    json_array_append_new(variables, variable);
    COT_TRY(lift_text(file, path, "units", variable, "units"));
    COT_TRY(lift_text(file, path, "long_name", variable, "meaning"));
    return cot_h5_visit_rows(file, path, shape, 0, shape->dims[0], NULL, NULL);
}

/* What has no named axes is a dimension itself. */
static cot_status describe_dataset(const cot_h5_file *file, const char *path, json_t *report)
{
    char *axes = NULL;
    cot_h5_shape shape = {0};
    COT_TRY(cot_h5_shape_of(file, path, &shape));
    if (shape.axis_count == 0 || shape.type >= COT_H5_TEXT)
        return cot_fail(COT_E_DATA, "%s: %s is no variable of a statistics file", cot_h5_path(file),
                        path);
    COT_TRY(cot_h5_axes_of(file, path, &axes));
    cot_status status =
        axes[0] != '\0' || shape.axis_count > 1
            ? describe_variable(file, path, axes, &shape, json_object_get(report, "variables"))
            : describe_dimension(file, path, &shape, json_object_get(report, "dimensions"));
    cot_free(axes);
    return status;
}

static cot_status describe_group(const cot_h5_file *file, const char *group, json_t *report)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    const bool is_root = strcmp(group, "/") == 0;
    COT_TRY(cot_h5_members(file, group, &names));
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        char *path = cot_strprintf("%s/%s", is_root ? "" : group, names.names[i]);
        cot_h5_kind kind = cot_h5_kind_of(file, path);
        if (kind == COT_H5_DATASET)
            status = describe_dataset(file, path, report);
        else if (kind == COT_H5_GROUP && is_root)
            status = describe_group(file, path, report);
        else
            status = cot_fail(COT_E_DATA, "%s: %s is damaged or none of a statistics file",
                              cot_h5_path(file), path);
        cot_free(path);
    }
    cot_h5_names_free(&names);
    return status;
}

/* ---- the file ---- */

static cot_status describe_steps(const cot_h5_file *file, json_t *report)
{
    cot_h5_shape shape = {0};
    json_t *steps = json_object_get(report, "steps");
    COT_TRY(cot_h5_shape_of(file, "/step", &shape));
    int64_t *values = cot_alloc(shape.dims[0], sizeof *values);
    cot_status status =
        shape.axis_count == 1
            ? cot_h5_read_rows(file, "/step", COT_H5_INT64, 0, shape.dims[0], values)
            : cot_fail(COT_E_DATA, "%s: /step has not one axis", cot_h5_path(file));
    for (size_t i = 0; i < shape.dims[0] && status == COT_OK; i++)
        json_array_append_new(steps, json_integer(values[i]));
    cot_free(values);
    json_object_set_new(report, "records", json_integer((json_int_t)shape.dims[0]));
    return status;
}

static cot_status fill_statistics(const cot_h5_file *file, json_t *report)
{
    COT_TRY(lift_text(file, "/", "kind", report, "kind"));
    COT_TRY(describe_steps(file, report));
    COT_TRY(cot_inspect_attributes(file, "/", report, "attributes"));
    COT_TRY(describe_group(file, "/", report));
    json_object_set_new(report, "verified", json_true());
    return COT_OK;
}

cot_status cot_inspect_statistics(const cot_h5_file *file, json_t **report_out)
{
    json_t *report = json_pack("{s:s, s:[], s:[], s:[]}", "file", cot_h5_path(file), "steps",
                               "dimensions", "variables");
    COT_ASSERT(report != NULL);
    return cot_inspect_finish(fill_statistics(file, report), report, report_out);
}
