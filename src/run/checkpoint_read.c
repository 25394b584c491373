#include "run/checkpoint_layout.h"

#include <coterie/memory.h>

#include <string.h>

static cot_status read_array(const cot_h5_file *file, const cot_training_state *state, size_t array)
{
    char path[COT_CHECKPOINT_PATH_SIZE];
    for (size_t i = 0; i < cot_params_count(state->params); i++) {
        const cot_param *param = cot_params_at(state->params, i);
        cot_checkpoint_dataset(state, array, param, path);
        COT_TRY(cot_h5_read_rows(file, path, COT_H5_REAL, param->first_row, param->rows,
                                 cot_checkpoint_array(state, array) + param->offset));
    }
    return COT_OK;
}

static cot_status read_state(const cot_h5_file *file, bool weights_only,
                             const cot_training_state *state, cot_progress *progress_out)
{
    COT_TRY(cot_checkpoint_check_layout(file, state, weights_only));
    COT_TRY(cot_checkpoint_read_progress(file, progress_out));
    for (size_t array = 0; array < (weights_only ? 1 : cot_checkpoint_array_count(state)); array++)
        COT_TRY(read_array(file, state, array));
    return COT_OK;
}

cot_status cot_checkpoint_read(const cot_comm *comm, const char *path, bool weights_only,
                               cot_training_state *state)
{
    cot_h5_file *file = NULL;
    cot_progress progress = {0};
    cot_status status = COT_OK;
    /* A file that is damaged anywhere is not to be trusted in its weights either. */
    if (weights_only) status = cot_checkpoint_verify(path, (size_t)comm->rank, (size_t)comm->size);
    if (status == COT_OK) status = cot_h5_open(path, &file);
    if (status == COT_OK) {
        status = read_state(file, weights_only, state, &progress);
        cot_h5_close(&file);
    }
    COT_TRY(cot_comm_agree(comm, status));
    if (!weights_only) state->progress = progress;
    return COT_OK;
}

/* ---- attributes ---- */

static cot_status read_header(const cot_h5_file *file, cot_checkpoint_header *header)
{
    const struct {
        const char *name;
        char **value;
    } texts[] = {{"recipe", &header->recipe},   {"blas_core", &header->blas_core},
                 {"build", &header->build},     {"exchange", &header->exchange},
                 {"written", &header->written}, {"host", &header->host}};
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"step", &header->step},
                   {"epoch", &header->epoch},
                   {"samples_seen", &header->samples_seen},
                   {"seed", &header->seed},
                   {"data_checksum", &header->data_checksum},
                   {"blas_threads", &header->blas_threads},
                   {"grains", &header->grains},
                   {"expert_replicas", &header->expert_replicas},
                   {"ranks", &header->ranks}};
    COT_TRY(cot_checkpoint_check_format(file));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        COT_TRY(cot_h5_get_text(file, "/", texts[i].name, texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        COT_TRY(cot_h5_get_uint(file, "/", numbers[i].name, numbers[i].value));
    return COT_OK;
}

cot_status cot_checkpoint_read_header(const char *path, cot_checkpoint_header *header)
{
    cot_h5_file *file = NULL;
    cot_checkpoint_header found = {0};
    COT_TRY(cot_h5_open(path, &file));
    cot_status status = read_header(file, &found);
    cot_h5_close(&file);
    if (status == COT_OK)
        *header = found;
    else
        cot_checkpoint_header_free(&found);
    return status;
}

void cot_checkpoint_header_free(cot_checkpoint_header *header)
{
    cot_free(header->recipe);
    cot_free(header->blas_core);
    cot_free(header->build);
    cot_free(header->exchange);
    cot_free(header->written);
    cot_free(header->host);
    *header = (cot_checkpoint_header){0};
}
