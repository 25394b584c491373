#include "cli/inspect_report.h"

#include <coterie/checkpoint.h>
#include <coterie/memory.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- attributes ---- */

/* JSON's integers are signed here: what does not fit becomes text. */
static json_t *json_of_uint(uint64_t value)
{
    char text[24];
    if (value <= INT64_MAX) return json_integer((json_int_t)value);
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return json_string(text);
}

static json_t *json_of_double(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_of_element(const cot_h5_value *value, size_t i)
{
    switch (value->type) {
    case COT_H5_FLOAT32:
        return json_of_double((double)((const float *)value->data)[i]);
    case COT_H5_FLOAT64:
        return json_of_double(((const double *)value->data)[i]);
    case COT_H5_INT32:
        return json_integer(((const int32_t *)value->data)[i]);
    case COT_H5_INT64:
        return json_integer(((const int64_t *)value->data)[i]);
    case COT_H5_UINT8:
        return json_integer(((const uint8_t *)value->data)[i]);
    case COT_H5_UINT64:
        return json_of_uint(((const uint64_t *)value->data)[i]);
    default:
        return json_null();
    }
}

json_t *cot_inspect_value(const cot_h5_value *value)
{
    if (value->type == COT_H5_TEXT) {
        json_t *text = json_string(value->data);
        return text != NULL ? text : json_null(); /* not UTF-8: written by somebody else */
    }
    if (value->type == COT_H5_OTHER) return json_null();
    if (value->count == 1) return json_of_element(value, 0);
    json_t *list = json_array();
    for (size_t i = 0; i < value->count; i++)
        json_array_append_new(list, json_of_element(value, i));
    return list;
}

cot_status cot_inspect_attributes(const cot_h5_file *file, const char *object, json_t *parent,
                                  const char *key)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    COT_TRY(cot_h5_attributes(file, object, &names));
    json_t *attributes = json_object();
    json_object_set_new(parent, key, attributes);
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        cot_h5_value value = {0};
        status = cot_h5_get_value(file, object, names.names[i], &value);
        if (status == COT_OK)
            json_object_set_new(attributes, names.names[i], cot_inspect_value(&value));
        cot_h5_value_free(&value);
    }
    cot_h5_names_free(&names);
    return status;
}

json_t *cot_inspect_shape(const cot_h5_shape *shape)
{
    json_t *dims = json_array();
    for (size_t i = 0; i < shape->axis_count; i++)
        json_array_append_new(dims, json_integer((json_int_t)shape->dims[i]));
    return dims;
}

/* ---- checkpoints ---- */

typedef struct summary {
    size_t count;
    double squares, low, high;
} summary;

static void summarize(void *context, const void *data, size_t elements)
{
    summary *self = context;
    const float *x = data;
    if (self->count == 0 && elements > 0) self->low = self->high = (double)x[0];
    for (size_t i = 0; i < elements; i++) {
        self->squares += (double)x[i] * (double)x[i];
        self->low = fmin(self->low, (double)x[i]);
        self->high = fmax(self->high, (double)x[i]);
    }
    self->count += elements;
}

static cot_status describe_param(const cot_h5_file *file, const char *name, json_t *params,
                                 size_t *total)
{
    summary self = {0};
    cot_h5_shape shape = {0};
    char *path = cot_strprintf("/params/%s", name);
    json_t *param = json_pack("{s:s}", "name", name);
    json_array_append_new(params, param);
    cot_status status = cot_h5_shape_of(file, path, &shape);
    if (status == COT_OK && shape.type != COT_H5_FLOAT32)
        status = cot_fail(COT_E_DATA, "%s: %s holds %s, not float32", cot_h5_path(file), path,
                          cot_h5_type_name(shape.type));
    if (status == COT_OK)
        status = cot_h5_visit_rows(file, path, &shape, 0, shape.dims[0], summarize, &self);
    if (status == COT_OK) {
        json_object_set_new(param, "shape", cot_inspect_shape(&shape));
        json_object_set_new(param, "count", json_of_uint(self.count));
        json_object_set_new(param, "norm", json_of_double(sqrt(self.squares)));
        json_object_set_new(param, "min", json_of_double(self.low));
        json_object_set_new(param, "max", json_of_double(self.high));
        *total += self.count;
        status = cot_inspect_attributes(file, path, param, "attributes");
    }
    cot_free(path);
    return status;
}

/* The two attributes of a parameter stand beside its other properties. */
static void lift_attributes(json_t *param)
{
    static const char *const names[] = {"axes", "placement"};
    json_t *attributes = json_object_get(param, "attributes");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        json_object_set(param, names[i], json_object_get(attributes, names[i]));
    json_object_del(param, "attributes");
}

static cot_status describe_params(const cot_h5_file *file, json_t *report)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    size_t total = 0;
    COT_TRY(cot_h5_members(file, "/params", &names));
    json_t *params = json_array();
    json_object_set_new(report, "parameters", params);
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        status = describe_param(file, names.names[i], params, &total);
        if (status == COT_OK) lift_attributes(json_array_get(params, i));
    }
    json_object_set_new(report, "total_parameters", json_of_uint(total));
    cot_h5_names_free(&names);
    return status;
}

static cot_status describe_moments(const cot_h5_file *file, json_t *report)
{
    cot_h5_names names = {0};
    COT_TRY(cot_h5_members(file, "/optimizer", &names));
    json_t *moments = json_array();
    for (size_t i = 0; i < names.count; i++)
        json_array_append_new(moments, json_string(names.names[i]));
    json_object_set_new(report, "moments", moments);
    cot_h5_names_free(&names);
    return COT_OK;
}

static cot_status fill_checkpoint(const cot_h5_file *file, json_t *report)
{
    COT_TRY(cot_checkpoint_verify(cot_h5_path(file), 0, 1));
    COT_TRY(cot_inspect_attributes(file, "/", report, "attributes"));
    COT_TRY(cot_inspect_attributes(file, "/progress", report, "progress"));
    COT_TRY(describe_moments(file, report));
    COT_TRY(describe_params(file, report));
    json_object_set_new(report, "verified", json_true());
    return COT_OK;
}

cot_status cot_inspect_finish(cot_status status, json_t *report, json_t **report_out)
{
    if (status == COT_OK)
        *report_out = report;
    else
        json_decref(report);
    return status;
}

cot_status cot_inspect_checkpoint(const cot_h5_file *file, json_t **report_out)
{
    json_t *report = json_pack("{s:s}", "file", cot_h5_path(file));
    COT_ASSERT(report != NULL);
    return cot_inspect_finish(fill_checkpoint(file, report), report, report_out);
}

/* ---- any file ---- */

enum { MAX_DEPTH = 16 };

static cot_status describe_members(const cot_h5_file *file, const char *group, json_t *objects,
                                   int depth);

static cot_status describe_object(const cot_h5_file *file, const char *path, json_t *objects,
                                  int depth)
{
    static const char *const kinds[] = {"missing", "group", "dataset", "unknown"};
    cot_h5_kind kind = cot_h5_kind_of(file, path);
    json_t *object = json_pack("{s:s, s:s}", "path", path, "kind", kinds[kind]);
    json_array_append_new(objects, object);
    if (kind == COT_H5_DATASET) {
        cot_h5_shape shape = {0};
        COT_TRY(cot_h5_shape_of(file, path, &shape));
        json_object_set_new(object, "type", json_string(cot_h5_type_name(shape.type)));
        json_object_set_new(object, "shape", cot_inspect_shape(&shape));
    }
    if (kind == COT_H5_DATASET || kind == COT_H5_GROUP)
        COT_TRY(cot_inspect_attributes(file, path, object, "attributes"));
    return kind == COT_H5_GROUP ? describe_members(file, path, objects, depth + 1) : COT_OK;
}

static cot_status describe_members(const cot_h5_file *file, const char *group, json_t *objects,
                                   int depth)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    if (depth > MAX_DEPTH)
        return cot_fail(COT_E_DATA, "%s: groups are nested too deep", cot_h5_path(file));
    COT_TRY(cot_h5_members(file, group, &names));
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        char *path = cot_strprintf("%s/%s", strcmp(group, "/") == 0 ? "" : group, names.names[i]);
        status = describe_object(file, path, objects, depth);
        cot_free(path);
    }
    cot_h5_names_free(&names);
    return status;
}

cot_status cot_inspect_any(const cot_h5_file *file, json_t **report_out)
{
    json_t *objects = json_array();
    json_t *report = json_pack("{s:s, s:o}", "file", cot_h5_path(file), "objects", objects);
    COT_ASSERT(report != NULL);
    cot_status status = cot_inspect_attributes(file, "/", report, "attributes");
    if (status == COT_OK) status = describe_members(file, "/", objects, 0);
    return cot_inspect_finish(status, report, report_out);
}
