/* precision: double. Every gradient of the whole model against central differences, for every
 * option of the layer and every way to compute it, on every number of ranks. */
#include "moe/tokens_rules.h"
#include "support/test.h"

#include <coterie/gradients.h>
#include <coterie/loss.h>
#include <coterie/memory.h>
#include <coterie/model.h>
#include <coterie/ordered_sum.h>
#include <coterie/rng.h>

#include <math.h>
#include <stdio.h>

enum { HEIGHT = 4, WIDTH = 6, CLASSES = 3 };

/* The five-point difference is off by h^4 of the fifth derivative / 30 and by rounding, about 1e-16
 * / h of the loss: 1e-12 at the most of either, against gradients of 1e-5 and more. */
static const double step = 1e-4;
static const double tolerance = 1e-6;

typedef struct fixture {
    const char *name;
    cot_model_options options;
    double label_smoothing;
    bool mean_squared_error;
    size_t accumulate; /* micro-batches */
    int replicas;
    cot_plan plan;
    cot_tokens_way way; /* by the plan tokens */
    size_t batch, grains;
} fixture;

typedef struct setup {
    const fixture *fixture;
    cot_comm *comm;
    cot_params *params;
    cot_model *model;
    cot_gradients *gradients;
    cot_ordered_sum *sums;
    cot_real *doutputs;
    size_t outputs;
} setup;

static cot_real pixel(size_t sample, size_t i)
{
    cot_real value;
    cot_stream stream = {.seed = 5, .purpose = COT_PURPOSE_TEST, .index = sample};
    cot_rng_normal(&stream, i, 1, 1, &value);
    return value;
}

static void assert_way(const setup *s)
{
    const fixture *f = s->fixture;
    const size_t grain = cot_shard_size(f->batch, f->grains, f->grains - 1);
    if (f->plan == COT_PLAN_TOKENS && cot_tokens_way_of(cot_model_shape(s->model), grain) != f->way)
        fail_msg("%s: another way than %d", f->name, (int)f->way);
}

static void create(setup *s, const fixture *f)
{
    *s = (setup){.fixture = f, .outputs = f->mean_squared_error ? 1 : CLASSES};
    assert_int_equal(cot_comm_create(MPI_COMM_WORLD, f->replicas, &s->comm), COT_OK);
    size_t members = (size_t)s->comm->group_size;
    size_t me = (size_t)s->comm->group_rank;
    s->params = cot_params_create(cot_shard_begin(f->options.experts, members, me),
                                  cot_shard_begin(f->options.experts, members, me + 1));
    cot_model_io io = {1, HEIGHT, WIDTH, s->outputs};
    cot_batching batching = {.max_batch = f->batch, .grains = f->grains, .plan = f->plan};
    assert_int_equal(cot_model_create(&f->options, &io, &batching, s->comm, s->params, &s->model),
                     COT_OK);
    assert_way(s);
    cot_params_allocate(s->params);
    cot_params_initialize(s->params, 3);
    cot_param *scale = cot_params_find(s->params, "moe.0.scale");
    if (scale != NULL) scale->value[0] = 1.7;
    s->gradients = cot_gradients_create(
        s->comm, s->params,
        &(cot_gradients_options){.ordered = true, .most_batches = f->accumulate});
    s->sums = cot_ordered_sum_create(s->comm->world, 1, true, 1);
    s->doutputs = cot_alloc(f->batch * s->outputs, sizeof(cot_real));
}

static void destroy(setup *s)
{
    cot_free(s->doutputs);
    cot_ordered_sum_destroy(&s->sums);
    cot_gradients_destroy(&s->gradients);
    cot_model_destroy(&s->model);
    cot_params_destroy(&s->params);
    cot_comm_destroy(&s->comm);
}

/* The mean loss over the batch, on every rank; with `backward` also its gradients. */
static double run_batch(setup *s, bool backward)
{
    const fixture *f = s->fixture;
    double loss = 0;
    const double share = 1.0 / (double)f->batch;
    if (backward) cot_gradients_begin(s->gradients);
    for (size_t piece = 0; piece < f->accumulate; piece++) {
        size_t begin = cot_shard_begin(f->batch, f->accumulate, piece);
        size_t samples = cot_shard_size(f->batch, f->accumulate, piece);
        cot_grains grains = cot_model_grains(s->model, samples);
        size_t first = begin + cot_grains_begin(&grains);
        size_t count = cot_grains_size(&grains);
        cot_real *images = cot_model_images(s->model);
        for (size_t i = 0; i < count * HEIGHT * WIDTH; i++)
            images[i] = pixel(first + i / (HEIGHT * WIDTH), i % (HEIGHT * WIDTH));
        cot_noise noise = {.seed = 9, .step = 2, .first_sample = begin};
        cot_pass pass = {.samples = samples,
                         .training = true,
                         .part = piece,
                         .parts = f->accumulate,
                         .noise = f->options.router.noise > 0 ? &noise : NULL};
        const cot_real *outputs = cot_model_forward(s->model, &pass);
        for (size_t i = 0; i < count; i++) {
            const cot_real *output = outputs + i * s->outputs;
            cot_real *gradient = s->doutputs + i * s->outputs;
            if (f->mean_squared_error)
                loss += cot_squared_error(output[0], pixel(first + i, 99), share, gradient);
            else
                loss += cot_cross_entropy(CLASSES, output, (first + i) % CLASSES,
                                          f->label_smoothing, share, gradient);
        }
        if (!backward) continue;
        cot_model_backward(s->model, s->doutputs);
        cot_gradients_add_batch(s->gradients);
    }
    if (backward) cot_gradients_finish(s->gradients);
    cot_ordered_sum_doubles(s->sums, 1, &loss);
    return loss / (double)f->batch;
}

/* The loss with element `i` of the whole parameter moved by `by`, on every rank that holds it. */
static double loss_moved(setup *s, cot_param *param, size_t i, double by)
{
    size_t row = i / param->row_size;
    bool here = row >= param->first_row && row < param->first_row + param->rows;
    cot_real *value = param->value + (i - param->first_row * param->row_size);
    cot_real before = here ? *value : 0;
    if (here) *value = before + by;
    double loss = run_batch(s, false);
    if (here) *value = before;
    return loss;
}

/* The analytic gradient of that element, on every rank. */
static double gradient_of(const setup *s, const cot_param *param, size_t i)
{
    size_t row = i / param->row_size;
    bool here = row >= param->first_row && row < param->first_row + param->rows;
    double mine = here ? param->grad[i - param->first_row * param->row_size] : -INFINITY;
    double found = mine;
    COT_MPI(MPI_Allreduce(&mine, &found, 1, MPI_DOUBLE, MPI_MAX, s->comm->world));
    return found;
}

static double numeric_gradient(setup *s, cot_param *param, size_t i)
{
    double near = loss_moved(s, param, i, step) - loss_moved(s, param, i, -step);
    double far = loss_moved(s, param, i, 2 * step) - loss_moved(s, param, i, -2 * step);
    return (8 * near - far) / (12 * step);
}

/* ||numeric - analytic|| / ||analytic|| over some elements of the parameter; a frozen one must have
 * none. */
static void check_param(setup *s, cot_param *param, double *worst)
{
    enum { PROBES = 7 };
    size_t total = param->dims[0] * param->row_size;
    double error = 0;
    double norm = 0;
    for (size_t probe = 0; probe < PROBES; probe++) {
        size_t i = (probe * 7919 + 13) % total;
        double analytic = gradient_of(s, param, i);
        double numeric = param->frozen ? 0 : numeric_gradient(s, param, i);
        error += (numeric - analytic) * (numeric - analytic);
        norm += analytic * analytic;
    }
    if (!param->frozen && norm == 0)
        fail_msg("%s: %s has no gradient at all", s->fixture->name, param->name);
    double relative = norm > 0 ? sqrt(error / norm) : sqrt(error);
    if (!(relative < tolerance))
        fail_msg("%s: %s is off by %.3g", s->fixture->name, param->name, relative);
    if (relative > *worst) *worst = relative;
}

static void check_plan(const fixture *f)
{
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size % f->replicas != 0) return;
    setup s;
    double worst = 0;
    create(&s, f);
    run_batch(&s, true);
    for (size_t i = 0; i < cot_params_count(s.params); i++)
        check_param(&s, cot_params_at(s.params, i), &worst);
    if (s.comm->rank == 0) print_message("%-28s relative error %.1e\n", f->name, worst);
    destroy(&s);
}

/* By tokens, in grains of two or three samples, and in two that fill the lanes of vectors. */
static void check_tokens(const fixture *given)
{
    fixture f = *given;
    f.plan = COT_PLAN_TOKENS;
    f.way = f.options.slots == 1 ? COT_TOKENS_PROJECTED : COT_TOKENS_BY_SLOTS;
    check_plan(&f);
    f.way = COT_TOKENS_FUSED;
    f.batch = 27;
    f.grains = 2;
    check_plan(&f);
}

static void check(const fixture *f)
{
    check_plan(f);
    check_tokens(f);
}

static fixture base(const char *name)
{
    return (fixture){.name = name,
                     .options = {.patch_height = 2,
                                 .patch_width = 3,
                                 .layers = 1,
                                 .experts = 5,
                                 .slots = 1,
                                 .expert_hidden = 3,
                                 .activation = COT_GELU,
                                 .router = {.normalize = COT_NORMALIZE_NONE}},
                     .accumulate = 1,
                     .replicas = 1,
                     .batch = 11,
                     .grains = 4};
}

static void each_normalization(void **state)
{
    (void)state;
    static const char *names[] = {"normalize none", "normalize logits", "normalize inputs"};
    for (int mode = 0; mode < 3; mode++) {
        fixture f = base(names[mode]);
        f.options.router.normalize = (cot_normalize)mode;
        f.options.slots = 2;
        check(&f);
        f.options.layers = 2; /* through the input gradient of the second layer */
        f.options.embed = 7;
        check(&f);
    }
}

static void relu_and_biases(void **state)
{
    (void)state;
    fixture f = base("relu, biases");
    f.options.activation = COT_RELU;
    f.options.expert_bias = f.options.head_bias = true;
    check(&f);
    f.name = "gelu, biases";
    f.options.activation = COT_GELU;
    check(&f);
}

static void embedding_residual_mean(void **state)
{
    (void)state;
    fixture f = base("embedding, residual, mean");
    f.options.embed = 4;
    f.options.embed_bias = f.options.residual = true;
    f.options.layers = 3;
    f.options.pool = COT_POOL_MEAN;
    f.options.router.normalize = COT_NORMALIZE_LOGITS;
    check(&f);
}

static void lecun_and_noise(void **state)
{
    (void)state;
    fixture f = base("lecun_normal, noise");
    f.options.router.init = COT_ROUTER_LECUN_NORMAL;
    f.options.router.noise = 0.5;
    f.options.layers = 2;
    check(&f);
}

static void uniform_weights(void **state)
{
    (void)state;
    fixture f = base("uniform dispatch");
    f.options.router.normalize = COT_NORMALIZE_INPUTS;
    f.options.layers = 2;
    f.options.embed = 5;
    f.options.router.uniform_dispatch = true;
    check(&f);
    /* All tokens that come out are alike then, so a second layer's router would have nothing to
     * learn from. */
    f.name = "uniform combine";
    f.options.layers = 1;
    f.options.router.uniform_dispatch = false;
    f.options.router.uniform_combine = true;
    check(&f);
}

/* Nothing depends on the router any more: frozen, so that its zero gradient is what is asked for.
 */
static void uniform_both_frozen(void **state)
{
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        fixture f = base("uniform both");
        f.options.router.normalize = (cot_normalize)mode;
        f.options.router.uniform_dispatch = f.options.router.uniform_combine = true;
        f.options.router.freeze = true;
        f.options.layers = 2;
        f.options.embed = 5;
        check(&f);
    }
}

static void frozen_router(void **state)
{
    (void)state;
    fixture f = base("frozen router");
    f.options.router.normalize = COT_NORMALIZE_LOGITS;
    f.options.router.freeze = true;
    f.options.layers = 2;
    check(&f);
}

static void losses(void **state)
{
    (void)state;
    fixture f = base("label smoothing");
    f.label_smoothing = 0.1;
    check(&f);
    f.name = "mean squared error";
    f.mean_squared_error = true;
    f.options.head_bias = true;
    check(&f);
}

static void accumulation_and_replicas(void **state)
{
    (void)state;
    fixture f = base("accumulation of 3");
    f.accumulate = 3;
    f.options.router.normalize = COT_NORMALIZE_INPUTS;
    check(&f);
    f.name = "two replicas";
    f.replicas = 2;
    check(&f);
    f.name = "accumulation of 3, two slots";
    f.options.slots = 2;
    check(&f);
}

static void few_experts(void **state)
{
    (void)state;
    fixture f = base("one expert");
    f.options.experts = 1;
    f.options.slots = 3;
    check(&f);
    f.name = "two experts, hidden total";
    f.options.experts = 2;
    f.options.expert_hidden = 0;
    f.options.expert_hidden_total = 7;
    check(&f);
}

/* Grains of more samples than a block of lanes has. */
static void two_blocks_of_lanes(void **state)
{
    (void)state;
    fixture f = base("two blocks of lanes");
    f.plan = COT_PLAN_TOKENS;
    f.way = COT_TOKENS_FUSED;
    f.batch = 53;
    f.grains = 2;
    f.options.slots = 2;
    f.options.layers = 2;
    f.options.embed = 7;
    f.options.expert_bias = true;
    f.options.router.normalize = COT_NORMALIZE_LOGITS;
    check_plan(&f);
}

/* Of experts so large that the cache holds only one at a time: one part of a block after the
 * other. */
static void fused_in_parts(void **state)
{
    (void)state;
    fixture f = base("fused in parts");
    f.plan = COT_PLAN_TOKENS;
    f.way = COT_TOKENS_FUSED;
    f.batch = 53;
    f.grains = 2;
    f.options.embed = 700;
    f.options.expert_hidden = 12;
    f.options.expert_bias = true;
    f.options.router.init = COT_ROUTER_LECUN_NORMAL;
    check_plan(&f);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(each_normalization),
                                          cmocka_unit_test(relu_and_biases),
                                          cmocka_unit_test(embedding_residual_mean),
                                          cmocka_unit_test(lecun_and_noise),
                                          cmocka_unit_test(uniform_weights),
                                          cmocka_unit_test(uniform_both_frozen),
                                          cmocka_unit_test(frozen_router),
                                          cmocka_unit_test(losses),
                                          cmocka_unit_test(accumulation_and_replicas),
                                          cmocka_unit_test(few_experts),
                                          cmocka_unit_test(two_blocks_of_lanes),
                                          cmocka_unit_test(fused_in_parts)};

RUN_MPI_TESTS(tests)
