#include "support/checkpoint_state.h"

#include <coterie/memory.h>
#include <coterie/shard.h>

#include <string.h>

const cot_checkpoint_info test_info = {.recipe = "seed: 7\nmodel:\n  experts: 5\n",
                                       .seed = 7,
                                       .data_checksum = 0xfedcba9876543210u,
                                       .blas_core = "test",
                                       .blas_threads = 1,
                                       .grains = 8,
                                       .expert_replicas = 1,
                                       .exchange = "slots",
                                       .started = "2024-01-01T00:00:00Z"};

static cot_params *make_params(size_t first, size_t end)
{
    static const cot_param_spec specs[] = {
        {.name = "moe.0.phi", .axes = "D,E,P", .dims = {3, STATE_EXPERTS, 2}},
        {.name = "moe.0.experts.w1",
         .axes = "E,D,H",
         .dims = {STATE_EXPERTS, 3, 40},
         .placement = COT_SHARDED},
        {.name = "moe.0.scale", .axes = "1", .dims = {1}},
        {.name = "moe.0.experts.b1",
         .axes = "E,H",
         .dims = {STATE_EXPERTS, 40},
         .placement = COT_SHARDED}};
    cot_params *params = cot_params_create(first, end);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) cot_params_add(params, &specs[i]);
    cot_params_allocate(params);
    return params;
}

/* Numbers that a float32 holds exactly, different for each array, parameter and element. */
static void fill(cot_real *array, const cot_params *params, double salt)
{
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_param *param = cot_params_at((cot_params *)(uintptr_t)params, i);
        for (size_t k = 0; k < param->count; k++)
            array[param->offset + k] =
                (cot_real)(salt + (double)(1000 * i + param->first_row * param->row_size + k));
    }
}

static size_t size_of(const cot_params *params)
{
    return cot_params_replicated_size(params) + cot_params_sharded_size(params);
}

cot_training_state make_state(size_t first, size_t end, uint64_t step, double salt)
{
    cot_training_state state = {
        .params = make_params(first, end), .moment_count = 2, .moment_names = {"m", "v"}};
    fill(cot_params_values(state.params), state.params, salt);
    for (size_t i = 0; i < state.moment_count; i++) {
        state.moments[i] = cot_alloc(size_of(state.params), sizeof *state.moments[i]);
        fill(state.moments[i], state.params, salt + 10000.0 * (double)(i + 1));
    }
    state.progress = (cot_progress){.step = step,
                                    .epoch = 2,
                                    .batch = 3,
                                    .samples_seen = 1234,
                                    .epoch_loss = 0.1,
                                    .epoch_correct = 17,
                                    .epoch_samples = 64,
                                    .best_metric = 1.0 / 3,
                                    .best_step = 4,
                                    .has_best = true};
    return state;
}

cot_training_state make_shard(const cot_comm *comm, uint64_t step, double salt)
{
    size_t ranks = (size_t)comm->group_size;
    size_t rank = (size_t)comm->group_rank;
    return make_state(cot_shard_begin(STATE_EXPERTS, ranks, rank),
                      cot_shard_begin(STATE_EXPERTS, ranks, rank + 1), step, salt);
}

void free_state(cot_training_state *state)
{
    for (size_t i = 0; i < COT_MAX_MOMENTS; i++) cot_free(state->moments[i]);
    cot_params_destroy(&state->params);
}

static bool progress_equal(const cot_progress *left, const cot_progress *right)
{
    return left->step == right->step && left->epoch == right->epoch &&
           left->batch == right->batch && left->samples_seen == right->samples_seen &&
           left->epoch_loss == right->epoch_loss && left->epoch_correct == right->epoch_correct &&
           left->epoch_samples == right->epoch_samples && left->best_metric == right->best_metric &&
           left->best_step == right->best_step && left->has_best == right->has_best;
}

bool states_equal(const cot_training_state *left, const cot_training_state *right)
{
    size_t bytes = size_of(left->params) * sizeof(cot_real);
    bool equal =
        bytes == size_of(right->params) * sizeof(cot_real) &&
        memcmp(cot_params_values(left->params), cot_params_values(right->params), bytes) == 0;
    for (size_t i = 0; i < left->moment_count && equal; i++)
        equal = memcmp(left->moments[i], right->moments[i], bytes) == 0;
    return equal && progress_equal(&left->progress, &right->progress);
}
