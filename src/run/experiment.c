#include "run/batch_parts.h"
#include "run/choose_exchange.h"

#include <coterie/blas.h>
#include <coterie/experiment.h>
#include <coterie/memory.h>
#include <coterie/tree.h>
#include <coterie/version.h>

#include <stdio.h>
#include <string.h>

bool cot_experiment_classifies(const cot_experiment *ex)
{
    return cot_dataset_info_of(ex->dataset)->classes > 0;
}

const char *cot_experiment_exchange(const cot_experiment *ex)
{
    return cot_plan_name(cot_plan_choose(ex->batching.plan, cot_model_shape(ex->model)));
}

/* Every rank opens the data set for itself; then all must have seen the same. */
static cot_status open_dataset(cot_experiment *ex)
{
    COT_TRY(cot_comm_agree(ex->comm, cot_dataset_create(&ex->recipe->data, &ex->dataset)));
    char checksum[32];
    snprintf(checksum, sizeof checksum, "%016lx",
             (unsigned long)cot_dataset_info_of(ex->dataset)->checksum);
    return cot_comm_agree_text(ex->comm, "the data's checksum", checksum);
}

/* The promise of equal bits holds for equal builds and kernels, so ranks that differ are
 * refused. */
static cot_status agree_on_machine(const cot_comm *comm)
{
    COT_TRY(cot_comm_agree_text(comm, "the build", cot_build()));
    return cot_comm_agree_text(comm, "the OpenBLAS kernel (OPENBLAS_CORETYPE chooses it)",
                               cot_blas_core());
}

/* Without the promise, a rank's samples are one grain: larger products, other bits on other numbers
 * of ranks. */
static void choose_batching(cot_experiment *ex)
{
    const cot_recipe *recipe = ex->recipe;
    bool reproducible = recipe->parallel.reproducible;
    ex->batching.grains = reproducible ? recipe->parallel.grains : (size_t)ex->comm->size;
    ex->batching.node_ranks = recipe->parallel.shared_memory ? recipe->parallel.node_ranks : 1;
    ex->batching.plan = recipe->parallel.exchange;
    ex->batching.chunks = recipe->parallel.chunks;
    ex->batching.hidden = recipe->train.activations;
}

/* The parameters have no values yet. */
static cot_status create_model(cot_experiment *ex)
{
    const cot_dataset_info *info = cot_dataset_info_of(ex->dataset);
    const cot_comm *comm = ex->comm;
    const cot_model_options *options = &ex->recipe->model;
    size_t members = (size_t)comm->group_size;
    size_t member = (size_t)comm->group_rank;
    ex->outputs = info->classes > 0 ? info->classes : 1;
    ex->params = cot_params_create(cot_shard_begin(options->experts, members, member),
                                   cot_shard_begin(options->experts, members, member + 1));
    cot_model_io io = {info->channels, info->height, info->width, ex->outputs};
    const cot_moe_shape shape = cot_model_shape_of(options, &io);
    ex->parts = parts_of_batch(ex->recipe, &shape, &ex->batching);
    ex->batching.max_batch = (ex->recipe->train.batch + ex->parts - 1) / ex->parts;
    COT_TRY(cot_model_create(options, &io, &ex->batching, comm, ex->params, &ex->model));
    cot_memory_mark(COT_MEMORY_ACTIVATIONS);
    cot_params_allocate(ex->params);
    return COT_OK;
}

static void take_batch_memory(cot_experiment *ex)
{
    size_t ranks = (size_t)ex->comm->size;
    size_t rank = (size_t)ex->comm->rank;
    size_t capacity = cot_grains_capacity(ex->batching.max_batch, ex->batching.grains, ranks, rank);
    ex->targets = cot_alloc(capacity, sizeof *ex->targets);
    ex->doutputs = cot_alloc(capacity * ex->outputs, sizeof *ex->doutputs);
    ex->scores = cot_alloc((cot_shard_size(ex->batching.grains, ranks, rank) + 1) * COT_SCORES,
                           sizeof *ex->scores);
    ex->sums = cot_ordered_sum_create(ex->comm->world, 0, true, 1);
    cot_memory_mark(COT_MEMORY_ACTIVATIONS);
}

cot_status cot_experiment_create(const cot_comm *world, const cot_recipe *recipe,
                                 cot_experiment **experiment_out)
{
    cot_experiment *ex = cot_alloc(1, sizeof *ex);
    ex->recipe = recipe;
    cot_blas_set_threads(recipe->parallel.blas_threads);
    cot_status status = agree_on_machine(world);
    if (status != COT_OK) goto destroy;
    status = cot_comm_create(world->world, (int)recipe->parallel.expert_replicas, &ex->comm);
    if (status != COT_OK) goto destroy;
    cot_memory_mark(COT_MEMORY_OTHER);
    status = open_dataset(ex);
    cot_memory_mark(COT_MEMORY_DATA);
    if (status != COT_OK) goto destroy;
    choose_batching(ex);
    status = choose_exchange(ex);
    if (status != COT_OK) goto destroy;
    status = create_model(ex);
    if (status != COT_OK) goto destroy;
    cot_params_initialize(ex->params, recipe->seed);
    take_batch_memory(ex);
    *experiment_out = ex;
    return COT_OK;

destroy:
    cot_experiment_destroy(&ex);
    return cot_comm_agree(world, status);
}

cot_status cot_experiment_sketch(const cot_recipe *recipe, cot_dataset *dataset,
                                 const cot_sketch_place *place, cot_experiment **experiment_out)
{
    cot_experiment *ex = cot_alloc(1, sizeof *ex);
    *ex = (cot_experiment){.recipe = recipe, .dataset = dataset, .is_sketch = true};
    cot_status status = cot_comm_sketch(place->ranks, place->rank, place->nodes,
                                        (int)recipe->parallel.expert_replicas, &ex->comm);
    if (status != COT_OK) goto destroy;
    choose_batching(ex);
    status = create_model(ex);
    if (status != COT_OK) goto destroy;
    take_batch_memory(ex);
    *experiment_out = ex;
    return COT_OK;

destroy:
    cot_experiment_destroy(&ex);
    return status;
}

void cot_experiment_destroy(cot_experiment **experiment)
{
    cot_experiment *ex = *experiment;
    if (ex == NULL) return;
    cot_ordered_sum_destroy(&ex->sums);
    cot_free(ex->scores);
    cot_free(ex->doutputs);
    cot_free(ex->targets);
    cot_model_destroy(&ex->model);
    cot_params_destroy(&ex->params);
    if (!ex->is_sketch) cot_dataset_destroy(&ex->dataset);
    cot_comm_destroy(&ex->comm);
    cot_free(ex);
    *experiment = NULL;
}

const cot_real *cot_experiment_forward(cot_experiment *ex, const cot_batch *batch,
                                       const cot_noise *noise, cot_selector *selector)
{
    const cot_dataset_info *info = cot_dataset_info_of(ex->dataset);
    const size_t pixels = info->channels * info->height * info->width;
    cot_grains grains = cot_model_grains(ex->model, batch->samples);
    size_t begin = batch->first + cot_grains_begin(&grains);
    cot_real *images = cot_model_images(ex->model);
    for (size_t i = 0; i < cot_grains_size(&grains); i++) {
        size_t index = begin + i;
        if (batch->order != NULL)
            index = cot_sampler_index(batch->order, batch->order_batch, index);
        cot_dataset_get(ex->dataset, batch->split, batch->epoch, index, images + i * pixels,
                        ex->targets + i);
    }
    cot_ledger_mark(ex->ledger, COT_PHASE_DATA);
    cot_pass pass = {.samples = batch->samples,
                     .first = batch->first,
                     .training = batch->training,
                     .part = batch->part,
                     .parts = batch->parts,
                     .slot_norms = batch->slot_norms,
                     .noise = noise,
                     .selector = selector,
                     .ledger = ex->ledger};
    return cot_model_forward(ex->model, &pass);
}

/* One sample: adds to its grain's sums, and its output's gradient is overwritten unless
 * gradient_scale is 0. */
static void score_sample(cot_experiment *ex, size_t i, const cot_real *outputs,
                         double gradient_scale, double sums[COT_SCORES])
{
    const cot_loss_options *loss = &ex->recipe->loss;
    const size_t n = ex->outputs;
    const cot_real *output = outputs + i * n;
    cot_real *gradient = gradient_scale != 0 ? ex->doutputs + i * n : NULL;
    if (loss->kind == COT_CROSS_ENTROPY) {
        size_t label = (size_t)ex->targets[i].label;
        sums[COT_SCORE_LOSS] +=
            cot_cross_entropy(n, output, label, loss->label_smoothing, gradient_scale, gradient);
        sums[COT_SCORE_CORRECT] += cot_argmax(n, output) == label;
    } else {
        double value = (double)ex->targets[i].value;
        sums[COT_SCORE_LOSS] +=
            cot_squared_error(output[0], ex->targets[i].value, gradient_scale, gradient);
        sums[COT_SCORE_TARGET] += value;
        sums[COT_SCORE_TARGET_SQUARES] += value * value;
    }
}

void cot_experiment_score(cot_experiment *ex, const cot_batch *batch, const cot_real *outputs,
                          double gradient_scale, double sums[COT_SCORES])
{
    cot_grains grains = cot_model_grains(ex->model, batch->samples);
    size_t count = grains.end - grains.first;
    size_t i = 0;
    memset(ex->scores, 0, (count + 1) * COT_SCORES * sizeof *ex->scores);
    for (size_t g = 0; g < count; g++)
        for (size_t n = cot_grain_size(&grains, grains.first + g); n > 0; n--)
            score_sample(ex, i++, outputs, gradient_scale, ex->scores + g * COT_SCORES);
    cot_tree_reduce_double(count, COT_SCORES, ex->scores);
    memcpy(sums, ex->scores, COT_SCORES * sizeof *sums);
}
