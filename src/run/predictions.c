#include "run/replace.h"

#include <coterie/memory.h>
#include <coterie/predictions.h>

#include <string.h>
#include <unistd.h>

struct cot_predictions {
    const cot_comm *comm;
    char *path, *partial;
    cot_h5_file *file;
    size_t layers, experts;
    bool classifies;
    /* One batch's rows. */
    int32_t *labels;
    cot_real *values;
    uint8_t *kept; /* [b,layers,E] */
};

static cot_status create_datasets(const cot_predictions *p, const cot_experiment *ex,
                                  cot_split split)
{
    const size_t samples = cot_dataset_info_of(ex->dataset)->samples[split];
    const size_t rows = ex->batching.max_batch < samples ? ex->batching.max_batch : samples;
    cot_h5_shape logits = {
        .type = COT_H5_REAL, .axis_count = 2, .dims = {samples, ex->outputs}, .chunk_rows = rows};
    cot_h5_shape labels = {.type = p->classifies ? COT_H5_INT32 : COT_H5_REAL,
                           .axis_count = 1,
                           .dims = {samples},
                           .chunk_rows = rows};
    cot_h5_shape kept = {.type = COT_H5_UINT8,
                         .axis_count = 3,
                         .dims = {samples, p->layers, p->experts},
                         .chunk_rows = rows};
    COT_TRY(cot_h5_set_text(p->file, "/", "format", "coterie-predictions"));
    COT_TRY(cot_h5_set_uint(p->file, "/", "format_version", 1));
    COT_TRY(cot_h5_set_text(p->file, "/", "split", cot_split_name(split)));
    COT_TRY(cot_h5_create_dataset(p->file, "logits", &logits));
    COT_TRY(cot_h5_create_dataset(p->file, "labels", &labels));
    return cot_h5_create_dataset(p->file, "kept", &kept);
}

cot_status cot_predictions_create(cot_experiment *ex, cot_split split, const char *path,
                                  cot_predictions **predictions_out)
{
    COT_TRY(cot_comm_agree(ex->comm, ex->comm->rank == 0 ? cot_replace_check(path) : COT_OK));
    cot_predictions *p = cot_alloc(1, sizeof *p);
    size_t capacity = cot_grains_capacity(ex->batching.max_batch, ex->batching.grains,
                                          (size_t)ex->comm->size, (size_t)ex->comm->rank);
    p->comm = ex->comm;
    p->path = cot_strdup(path);
    p->partial = cot_replace_partial(path);
    p->layers = cot_model_layers(ex->model);
    p->experts = cot_model_shape(ex->model)->E;
    p->classifies = cot_experiment_classifies(ex);
    p->labels = cot_alloc(capacity, sizeof *p->labels);
    p->values = cot_alloc(capacity, sizeof *p->values);
    p->kept = cot_alloc(capacity * p->layers * p->experts, sizeof *p->kept);
    cot_status status = cot_h5_create(ex->comm, p->partial, &p->file);
    if (status == COT_OK) status = cot_comm_agree(ex->comm, create_datasets(p, ex, split));
    if (status == COT_OK) {
        *predictions_out = p;
        return COT_OK;
    }
    cot_status finished = cot_predictions_finish(&p, false);
    (void)finished; /* the first failure counts */
    return status;
}

/* Without a selector every expert is kept. */
static void gather_kept(cot_predictions *p, const cot_experiment *ex, size_t count)
{
    for (size_t layer = 0; layer < p->layers; layer++) {
        const uint8_t *kept = cot_soft_moe_kept(cot_model_layer(ex->model, layer));
        for (size_t i = 0; i < count; i++) {
            uint8_t *row = p->kept + (i * p->layers + layer) * p->experts;
            if (kept != NULL)
                memcpy(row, kept + i * p->experts, p->experts);
            else
                memset(row, 1, p->experts);
        }
    }
}

static cot_status write_batch(void *context, const cot_experiment *ex, size_t first, size_t count,
                              const cot_real *outputs)
{
    cot_predictions *p = context;
    for (size_t i = 0; i < count; i++) {
        p->labels[i] = ex->targets[i].label;
        p->values[i] = ex->targets[i].value;
    }
    gather_kept(p, ex, count);
    cot_h5_type label_type = p->classifies ? COT_H5_INT32 : COT_H5_REAL;
    const void *labels = p->classifies ? (const void *)p->labels : (const void *)p->values;
    /* All ranks write all of it, whatever has failed on one. */
    cot_status status[3];
    status[0] = cot_h5_write_rows(p->file, "logits", COT_H5_REAL, first, count, outputs);
    status[1] = cot_h5_write_rows(p->file, "labels", label_type, first, count, labels);
    status[2] = cot_h5_write_rows(p->file, "kept", COT_H5_UINT8, first, count, p->kept);
    for (size_t i = 0; i < 2; i++)
        if (status[i] != COT_OK) return cot_comm_agree(p->comm, status[i]);
    return cot_comm_agree(p->comm, status[2]);
}

cot_observer cot_predictions_observer(cot_predictions *predictions)
{
    return (cot_observer){.batch = write_batch, .context = predictions};
}

cot_status cot_predictions_finish(cot_predictions **predictions, bool keep)
{
    cot_predictions *p = *predictions;
    if (p == NULL) return COT_OK;
    const cot_comm *comm = p->comm;
    cot_status status = p->file != NULL ? cot_h5_finish(&p->file) : COT_OK;
    status = cot_comm_agree(comm, status);
    if (status == COT_OK && keep)
        status = cot_comm_agree(comm, comm->rank == 0 ? cot_replace_publish(p->partial, p->path)
                                                      : COT_OK);
    if ((status != COT_OK || !keep) && comm->rank == 0) unlink(p->partial);
    cot_free(p->kept);
    cot_free(p->values);
    cot_free(p->labels);
    cot_free(p->partial);
    cot_free(p->path);
    cot_free(p);
    *predictions = NULL;
    return status;
}
