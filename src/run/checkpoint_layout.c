#include "run/checkpoint_layout.h"

#include "run/origin.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>

size_t cot_checkpoint_array_count(const cot_training_state *state)
{
    COT_ASSERT(state->moment_count <= COT_MAX_MOMENTS);
    return 1 + state->moment_count;
}

cot_real *cot_checkpoint_array(const cot_training_state *state, size_t array)
{
    return array == 0 ? cot_params_values(state->params) : state->moments[array - 1];
}

void cot_checkpoint_group(const cot_training_state *state, size_t array,
                          char path[COT_CHECKPOINT_PATH_SIZE])
{
    if (array == 0)
        snprintf(path, COT_CHECKPOINT_PATH_SIZE, "/params");
    else
        snprintf(path, COT_CHECKPOINT_PATH_SIZE, "/optimizer/%s", state->moment_names[array - 1]);
}

void cot_checkpoint_dataset(const cot_training_state *state, size_t array, const cot_param *param,
                            char path[COT_CHECKPOINT_PATH_SIZE])
{
    cot_checkpoint_group(state, array, path);
    size_t used = strlen(path);
    snprintf(path + used, COT_CHECKPOINT_PATH_SIZE - used, "/%s", param->name);
}

cot_h5_shape cot_checkpoint_shape(const cot_param *param)
{
    cot_h5_shape shape = {.type = COT_H5_REAL, .axis_count = param->axis_count};
    for (size_t i = 0; i < param->axis_count; i++) shape.dims[i] = param->dims[i];
    shape.chunk_rows = param->placement == COT_SHARDED ? 1 : 0;
    return shape;
}

/* ---- progress ---- */

static const struct {
    const char *name;
    size_t offset;
} counters[] = {{"step", offsetof(cot_progress, step)},
                {"epoch", offsetof(cot_progress, epoch)},
                {"batch", offsetof(cot_progress, batch)},
                {"samples_seen", offsetof(cot_progress, samples_seen)},
                {"epoch_correct", offsetof(cot_progress, epoch_correct)},
                {"epoch_samples", offsetof(cot_progress, epoch_samples)},
                {"best_step", offsetof(cot_progress, best_step)}};
enum { COUNTERS = sizeof counters / sizeof counters[0] };

cot_status cot_checkpoint_write_progress(cot_h5_file *file, const cot_progress *progress)
{
    COT_TRY(cot_h5_create_group(file, "/progress"));
    for (size_t i = 0; i < COUNTERS; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)progress + counters[i].offset, sizeof value);
        COT_TRY(cot_h5_set_uint(file, "/progress", counters[i].name, value));
    }
    COT_TRY(cot_h5_set_uint(file, "/progress", "has_best", progress->has_best));
    COT_TRY(cot_h5_set_double(file, "/progress", "best_metric", progress->best_metric));
    return cot_h5_set_double(file, "/progress", "epoch_loss", progress->epoch_loss);
}

cot_status cot_checkpoint_read_progress(const cot_h5_file *file, cot_progress *progress_out)
{
    cot_progress progress = {0};
    for (size_t i = 0; i < COUNTERS; i++) {
        uint64_t value = 0;
        COT_TRY(cot_h5_get_uint(file, "/progress", counters[i].name, &value));
        memcpy((char *)&progress + counters[i].offset, &value, sizeof value);
    }
    uint64_t has_best = 0;
    COT_TRY(cot_h5_get_uint(file, "/progress", "has_best", &has_best));
    COT_TRY(cot_h5_get_double(file, "/progress", "best_metric", &progress.best_metric));
    COT_TRY(cot_h5_get_double(file, "/progress", "epoch_loss", &progress.epoch_loss));
    progress.has_best = has_best != 0;
    *progress_out = progress;
    return COT_OK;
}

/* ---- checks ---- */

cot_status cot_checkpoint_check_format(const cot_h5_file *file)
{
    return cot_origin_check(file, COT_CHECKPOINT_FORMAT, COT_CHECKPOINT_VERSION);
}

enum { SHAPE_TEXT_SIZE = 128 };

static void print_shape(const cot_h5_shape *shape, char text[SHAPE_TEXT_SIZE])
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < shape->axis_count && used < SHAPE_TEXT_SIZE; i++)
        used += (size_t)snprintf(text + used, SHAPE_TEXT_SIZE - used, "%s%zu", i == 0 ? "" : ",",
                                 shape->dims[i]);
}

static bool shapes_agree(const cot_h5_shape *left, const cot_h5_shape *right)
{
    if (left->axis_count != right->axis_count) return false;
    for (size_t i = 0; i < left->axis_count; i++)
        if (left->dims[i] != right->dims[i]) return false;
    return true;
}

static cot_status check_dataset(const cot_h5_file *file, const char *path, const cot_param *param)
{
    char found_text[SHAPE_TEXT_SIZE];
    char wanted_text[SHAPE_TEXT_SIZE];
    cot_h5_shape found = {0};
    if (cot_h5_kind_of(file, path) == COT_H5_MISSING)
        return cot_fail(COT_E_DATA, "%s: the data set %s is missing", cot_h5_path(file), path);
    COT_TRY(cot_h5_shape_of(file, path, &found));
    cot_h5_shape wanted = cot_checkpoint_shape(param);
    print_shape(&found, found_text);
    print_shape(&wanted, wanted_text);
    if (!shapes_agree(&found, &wanted))
        return cot_fail(COT_E_CONFIG,
                        "%s: parameter %s has the shape [%s] in the file but [%s] by the recipe; "
                        "use the recipe "
                        "that the file was written with",
                        cot_h5_path(file), param->name, found_text, wanted_text);
    if (found.type != COT_H5_FLOAT32)
        return cot_fail(COT_E_DATA, "%s: %s holds %s, not float32", cot_h5_path(file), path,
                        cot_h5_type_name(found.type));
    return COT_OK;
}

static cot_status find_unknown_param(const cot_h5_file *file, const char *group,
                                     const cot_params *params)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    COT_TRY(cot_h5_members(file, group, &names));
    for (size_t i = 0; i < names.count && status == COT_OK; i++)
        if (cot_params_find(params, names.names[i]) == NULL)
            status = cot_fail(COT_E_CONFIG,
                              "%s: holds the parameter %s, which the recipe's model has not",
                              cot_h5_path(file), names.names[i]);
    cot_h5_names_free(&names);
    return status;
}

static cot_status check_array(const cot_h5_file *file, const cot_training_state *state,
                              size_t array)
{
    char path[COT_CHECKPOINT_PATH_SIZE];
    for (size_t i = 0; i < cot_params_count(state->params); i++) {
        const cot_param *param = cot_params_at(state->params, i);
        cot_checkpoint_dataset(state, array, param, path);
        COT_TRY(check_dataset(file, path, param));
    }
    cot_checkpoint_group(state, array, path);
    return find_unknown_param(file, path, state->params);
}

static cot_status check_moment_names(const cot_h5_file *file, const cot_training_state *state)
{
    cot_h5_names names = {0};
    COT_TRY(cot_h5_members(file, "/optimizer", &names));
    bool same = names.count == state->moment_count;
    for (size_t i = 0; i < state->moment_count && same; i++) {
        bool found = false;
        for (size_t k = 0; k < names.count; k++)
            found = found || strcmp(names.names[k], state->moment_names[i]) == 0;
        same = found;
    }
    size_t count = names.count;
    cot_h5_names_free(&names);
    if (same) return COT_OK;
    return cot_fail(
        COT_E_CONFIG,
        "%s: holds %zu moments where the recipe's optimizer has %zu or others; resume with the "
        "optimizer that wrote it, or take the weights only (--init)",
        cot_h5_path(file), count, state->moment_count);
}

cot_status cot_checkpoint_check_layout(const cot_h5_file *file, const cot_training_state *state,
                                       bool weights_only)
{
    COT_TRY(cot_checkpoint_check_format(file));
    COT_TRY(check_array(file, state, 0));
    if (weights_only) return COT_OK;
    COT_TRY(check_moment_names(file, state));
    for (size_t array = 1; array < cot_checkpoint_array_count(state); array++)
        COT_TRY(check_array(file, state, array));
    return COT_OK;
}
