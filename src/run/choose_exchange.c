#include "run/choose_exchange.h"

#include "run/batch_parts.h"
#include "run/chunk_tuner.h"
#include "run/turns.h"

#include <coterie/clock.h>
#include <coterie/gradients.h>
#include <coterie/memory.h>

#include <stdio.h>

/* One layer by one plan, and the sums of its gradients: what a step does otherwise is nearly the
 * same by either plan. */
typedef struct trial {
    const cot_comm *comm;
    size_t batch, parts;
    cot_params *params;
    cot_soft_moe *layer;
    cot_gradients *gradients;
    cot_real *x, *y, *dy, *dx; /* [b,T,D] of a part; dx NULL where nothing wants it */
} trial;

/* Plan `tokens`, and `slots` in some numbers of chunks. */
enum { MOST_WAYS = 1 + CHUNK_CANDIDATES };

typedef struct way {
    trial *trial;
    size_t chunks;
} way;

static trial *create_trial(const cot_experiment *ex, const cot_model_io *io, cot_plan plan)
{
    const cot_recipe *recipe = ex->recipe;
    const cot_model_options *model = &recipe->model;
    const cot_soft_moe_options options = {cot_model_shape_of(model, io), model->router,
                                          model->activation, model->expert_bias};
    const cot_comm *comm = ex->comm;
    const size_t members = (size_t)comm->group_size;
    const size_t member = (size_t)comm->group_rank;
    cot_batching batching = ex->batching;
    trial *t = cot_alloc(1, sizeof *t);
    batching.plan = plan;
    t->comm = comm;
    t->batch = recipe->train.batch;
    t->parts = parts_of_batch(recipe, &options.shape, &batching);
    batching.max_batch = (t->batch + t->parts - 1) / t->parts;
    t->params = cot_params_create(cot_shard_begin(model->experts, members, member),
                                  cot_shard_begin(model->experts, members, member + 1));
    t->layer = cot_soft_moe_create(&options, 0, &batching, comm, t->params);
    cot_params_allocate(t->params);
    cot_params_initialize(t->params, recipe->seed);
    t->gradients = cot_gradients_create(comm, t->params,
                                        &(cot_gradients_options){.ordered = false,
                                                                 .node_ranks = batching.node_ranks,
                                                                 .most_batches = t->parts});
    const size_t samples = cot_grains_capacity(batching.max_batch, batching.grains,
                                               (size_t)comm->size, (size_t)comm->rank);
    const size_t numbers = samples * options.shape.T * options.shape.D;
    t->x = cot_alloc(numbers, sizeof *t->x);
    t->y = cot_alloc(numbers, sizeof *t->y);
    t->dy = cot_alloc(numbers, sizeof *t->dy);
    if (model->embed > 0 || model->layers > 1) t->dx = cot_alloc(numbers, sizeof *t->dx);
    for (size_t i = 0; i < numbers; i++)
        t->x[i] = t->dy[i] = (cot_real)(i * 7919 % 1009) / 1009 - (cot_real)0.5;
    return t;
}

static void destroy_trial(trial *t)
{
    cot_free(t->dx);
    cot_free(t->dy);
    cot_free(t->y);
    cot_free(t->x);
    cot_gradients_destroy(&t->gradients);
    cot_soft_moe_destroy(&t->layer);
    cot_params_destroy(&t->params);
    cot_free(t);
}

static double time_step(const trial *t)
{
    COT_MPI(MPI_Barrier(t->comm->world));
    double started = cot_seconds();
    cot_gradients_begin(t->gradients);
    for (size_t part = 0; part < t->parts; part++) {
        const cot_pass pass = {.samples = cot_shard_size(t->batch, t->parts, part),
                               .first = cot_shard_begin(t->batch, t->parts, part),
                               .training = true,
                               .part = part,
                               .parts = t->parts};
        cot_soft_moe_forward(t->layer, &pass, t->x, t->y);
        cot_soft_moe_backward(t->layer, t->dy, t->dx);
        cot_gradients_add_batch(t->gradients);
    }
    cot_gradients_finish(t->gradients);
    double seconds = cot_seconds() - started;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, t->comm->world));
    return seconds;
}

static double time_way(void *context, size_t i)
{
    const way *w = (const way *)context + i;
    cot_soft_moe_set_chunks(w->trial->layer, w->chunks);
    return time_step(w->trial);
}

/* In how many chunks slots travel is found later, in a run, so here as well. */
static size_t list_ways(const cot_experiment *ex, trial *slots, trial *tokens, way *ways)
{
    const size_t members = (size_t)ex->comm->group_size;
    const size_t most = (ex->recipe->model.experts + members - 1) / members;
    int nodes = cot_exchange_nodes(cot_soft_moe_exchange(slots->layer));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &nodes, 1, MPI_INT, MPI_MAX, ex->comm->world));
    const bool open = ex->batching.chunks == 0 && nodes > 1;
    size_t count = 0;
    ways[count++] = (way){tokens, 1};
    ways[count++] = (way){slots, open ? 1 : ex->batching.chunks};
    for (size_t i = 1; open && i < CHUNK_CANDIDATES && chunk_candidates[i] <= most; i++)
        ways[count++] = (way){slots, chunk_candidates[i]};
    return count;
}

static cot_status measure(cot_experiment *ex)
{
    const double milliseconds = 1e3 * (double)ex->recipe->model.layers;
    const cot_dataset_info *info = cot_dataset_info_of(ex->dataset);
    const cot_model_io io = {info->channels, info->height, info->width, 1};
    COT_TRY(cot_model_check(&ex->recipe->model, &io));
    trial *slots = create_trial(ex, &io, COT_PLAN_SLOTS);
    trial *tokens = create_trial(ex, &io, COT_PLAN_TOKENS);
    way ways[MOST_WAYS];
    turn_taker times[MOST_WAYS] = {{.kind = COT_PLAN_TOKENS}};
    const size_t count = list_ways(ex, slots, tokens, ways);
    /* More chunks hide the messages or the work at best, and so save no more than half. */
    for (size_t i = 1; i < count; i++) times[i].kind = COT_PLAN_SLOTS;
    turns_take(count, times, time_way, ways);
    ex->batching.plan = (cot_plan)times[turns_fastest(times, 0, count)].kind;
    const double by_tokens = times[0].typical;
    const double by_slots = times[turns_fastest(times, 1, count)].typical;
    snprintf(ex->why, sizeof ex->why,
             "as timed here: %.2f ms a step in layers and their sums by slots, %.2f by tokens",
             milliseconds * by_slots, milliseconds * by_tokens);
    destroy_trial(tokens);
    destroy_trial(slots);
    /* Parts of memory are told as differences between marks, and none begins before this one. */
    cot_memory_mark(COT_MEMORY_OTHER);
    return COT_OK;
}

cot_status choose_exchange(cot_experiment *ex)
{
    const cot_recipe *recipe = ex->recipe;
    if (recipe->parallel.exchange != COT_PLAN_AUTO) {
        snprintf(ex->why, sizeof ex->why, "as the recipe says");
        return COT_OK;
    }
    if (!recipe->parallel.reproducible) return measure(ex);
    snprintf(ex->why, sizeof ex->why, "by the shapes: tokens above eight slots for each token");
    return COT_OK;
}
