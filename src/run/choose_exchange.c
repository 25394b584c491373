#include "run/choose_exchange.h"

#include "run/batch_parts.h"
#include "run/chunk_tuner.h"

#include <coterie/bench.h>
#include <coterie/clock.h>
#include <coterie/gradients.h>
#include <coterie/memory.h>

#include <float.h>
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

/* Two plans, one of them in some numbers of chunks, take turns: so many times so many steps, of
 * which the first does not count, because the caches hold what the others left. */
enum { VISITS = 4, STEPS = 4, COUNTED = VISITS * (STEPS - 1), CHOICES = 1 + CHUNK_CANDIDATES };

typedef struct choice {
    trial *trial;
    size_t chunks;
    double seconds[COUNTED]; /* of steps, on the slowest rank */
    double typical, fastest;
    bool in_question;
} choice;

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
                               .training = true};
        if (pass.samples == 0) continue;
        cot_soft_moe_forward(t->layer, &pass, t->x, t->y);
        cot_soft_moe_backward(t->layer, t->dy, t->dx);
        cot_gradients_add_batch(t->gradients);
    }
    cot_gradients_finish(t->gradients);
    double seconds = cot_seconds() - started;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, t->comm->world));
    return seconds;
}

static void visit(choice *c, size_t visits)
{
    const size_t before = visits * (STEPS - 1);
    cot_soft_moe_set_chunks(c->trial->layer, c->chunks);
    (void)time_step(c->trial);
    for (size_t i = 0; i < STEPS - 1; i++) c->seconds[before + i] = time_step(c->trial);
    double times[COUNTED];
    for (size_t i = 0; i < before + STEPS - 1; i++) times[i] = c->seconds[i];
    c->typical = cot_spread_of(before + STEPS - 1, times).median;
    c->fastest = times[0]; /* sorted by now */
}

static const choice *fastest_of(size_t count, const choice *choices)
{
    const choice *best = &choices[0];
    for (size_t i = 1; i < count; i++)
        if (choices[i].typical < best->typical) best = &choices[i];
    return best;
}

/* What takes twice as long as another, even in its fastest step, is out: no moment in which
 * something else has the cores decides that. Where the other is the other plan, all numbers of
 * chunks are out with it: more chunks hide the messages or the work at best, and so save no more
 * than half. */
static void take_turns(size_t count, choice *choices)
{
    for (size_t visits = 0; visits < VISITS; visits++)
        for (size_t i = 0; i < count; i++) {
            choice *c = &choices[i];
            if (c->in_question) visit(c, visits);
            const choice *best = fastest_of(count, choices);
            if (c->typical == DBL_MAX || c->fastest <= 2 * best->typical) continue;
            for (size_t j = 0; j < count; j++)
                if (j == i || (choices[j].trial == c->trial && best->trial != c->trial))
                    choices[j].in_question = false;
        }
}

/* In how many chunks slots travel is found later, in a run, so here as well. */
static size_t list_choices(const cot_experiment *ex, trial *slots, trial *tokens, choice *choices)
{
    const size_t members = (size_t)ex->comm->group_size;
    const size_t most = (ex->recipe->model.experts + members - 1) / members;
    int nodes = cot_exchange_nodes(cot_soft_moe_exchange(slots->layer));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &nodes, 1, MPI_INT, MPI_MAX, ex->comm->world));
    const bool open = ex->batching.chunks == 0 && nodes > 1;
    size_t count = 0;
    choices[count++] = (choice){.trial = tokens, .chunks = 1};
    choices[count++] = (choice){.trial = slots, .chunks = open ? 1 : ex->batching.chunks};
    for (size_t i = 1; open && i < CHUNK_CANDIDATES && chunk_candidates[i] <= most; i++)
        choices[count++] = (choice){.trial = slots, .chunks = chunk_candidates[i]};
    for (size_t i = 0; i < count; i++) {
        choices[i].in_question = true;
        choices[i].typical = DBL_MAX;
    }
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
    choice choices[CHOICES];
    const size_t count = list_choices(ex, slots, tokens, choices);
    take_turns(count, choices);
    const choice *by_slots = fastest_of(count - 1, choices + 1);
    const bool wins = choices[0].typical < by_slots->typical;
    ex->batching.plan = wins ? COT_PLAN_TOKENS : COT_PLAN_SLOTS;
    snprintf(ex->why, sizeof ex->why,
             "as timed here: %.2f ms a step in layers and their sums by slots, %.2f by tokens",
             milliseconds * by_slots->typical, milliseconds * choices[0].typical);
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
