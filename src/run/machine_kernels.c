#include "run/machine_kernels.h"

#include "math/fused.h"
#include "moe/fused_experts.h"
#include "moe/mix.h"

#include <coterie/bench.h>
#include <coterie/blas.h>
#include <coterie/clock.h>
#include <coterie/dataset.h>
#include <coterie/expert_bank.h>
#include <coterie/memory.h>
#include <coterie/normalize.h>
#include <coterie/optimizer.h>
#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <math.h>

/* Larger than the second-level cache, smaller than the third: what a run works on is about so large
 * for small shapes too, because in a step other operands have come between. */
static const size_t window = ((size_t)4 << 20) / sizeof(cot_real);

machine_arena machine_arena_create(size_t operand)
{
    machine_arena arena = {.numbers = cot_alloc(3 * operand, sizeof(cot_real)),
                           .count = 3 * operand,
                           .region = operand};
    for (size_t i = 0; i < arena.count; i++)
        arena.numbers[i] = (cot_real)(i * 7919 % 1009) / 1009 - (cot_real)0.5;
    return arena;
}

void machine_arena_destroy(machine_arena *arena)
{
    cot_free(arena->numbers);
    arena->numbers = NULL;
}

void machine_arena_warm(const machine_arena *arena)
{
    const cot_real *results = arena->numbers + 2 * arena->region;
    volatile double sum = (double)cot_sum(window, arena->numbers);
    sum += (double)cot_sum(window, results);
    (void)sum;
}

/* One kernel at one shape. */
typedef struct subject {
    const machine_arena *arena;
    cot_kernel kernel;
    size_t m, n, k;
    size_t next, next_result; /* where the next operands lie in the arena */
    size_t units;             /* kernels in one run */
    double sum;               /* so that nothing is computed for nothing */
    /* Of the mixing products and the experts. */
    cot_moe_shape shape;
    cot_slots slots;
    size_t *samples, *first;
    cot_params *params;
    cot_expert_bank *bank;
    cot_fused *fused;
    cot_optimizer *optimizer;
    cot_dataset *dataset;
} subject;

/* The last third of the arena, the regions of operands in front of it, is for results, which are
 * never operands again: what is multiplied over and over dies away, and denormal numbers are slow.
 */

/* Operands of one run after the other, each at another place of the window. */
static const cot_real *operand(subject *s, size_t numbers)
{
    if (s->next + numbers > (numbers > window ? s->arena->region : window)) s->next = 0;
    COT_ASSERT(numbers <= s->arena->region);
    const cot_real *at = s->arena->numbers + s->next;
    s->next += numbers;
    return at;
}

static cot_real *result(subject *s, size_t numbers)
{
    if (s->next_result + numbers > (numbers > window ? s->arena->region : window))
        s->next_result = 0;
    COT_ASSERT(numbers <= s->arena->region);
    cot_real *at = s->arena->numbers + 2 * s->arena->region + s->next_result;
    s->next_result += numbers;
    return at;
}

/* The same in every run. */
static const cot_real *fixed(const subject *s, size_t numbers)
{
    COT_ASSERT(numbers <= s->arena->region);
    return s->arena->numbers + s->arena->region;
}

/* ---- products ---- */

/* B stays, as weights do, but where A is transposed: that is a sum over samples. */
static void multiply(subject *s)
{
    const size_t m = s->m;
    const size_t n = s->n;
    const size_t k = s->k;
    if (s->kernel == COT_KERNEL_GEMM_TN) {
        const cot_real *a = operand(s, k * m);
        cot_gemm(COT_T, COT_N, m, n, k, 1, a, m, operand(s, k * n), n, 0, result(s, m * n), n);
        return;
    }
    bool transposed = s->kernel == COT_KERNEL_GEMM_NT;
    const cot_real *a = operand(s, m * k);
    cot_gemm(COT_N, transposed ? COT_T : COT_N, m, n, k, 1, a, k, fixed(s, n * k),
             transposed ? k : n, 0, result(s, m * n), n);
}

/* As many samples, experts or parameters as make up a window. */
static size_t fitting(size_t numbers_each)
{
    size_t room = window / numbers_each;
    return room > 0 ? room : 1;
}

static void prepare_mix(subject *s)
{
    s->shape = (cot_moe_shape){.T = s->m, .D = s->k, .E = s->n, .P = 1};
    s->units = fitting(s->m * s->n + (s->m + s->n) * s->k);
    s->samples = cot_alloc(s->n, sizeof *s->samples);
    s->first = cot_alloc(s->n, sizeof *s->first);
    for (size_t e = 0; e < s->n; e++) {
        s->samples[e] = s->units;
        s->first[e] = e * s->units;
    }
    s->slots = (cot_slots){s->n, 1, s->samples, s->first};
}

static void mix(subject *s)
{
    cot_mix mix = {.shape = &s->shape, .slots = &s->slots, .samples = s->units, .stride = s->n};
    const size_t rows = s->units * s->n * s->k;
    const size_t x = s->units * s->m * s->k;
    const size_t weights = s->units * s->m * s->n;
    s->next = s->next_result = 0;
    if (s->kernel == COT_KERNEL_TO_SLOTS)
        cot_mix_to_slots(&mix, fixed(s, weights), operand(s, x), result(s, rows));
    else if (s->kernel == COT_KERNEL_TO_TOKENS)
        cot_mix_to_tokens(&mix, fixed(s, weights), operand(s, rows), result(s, x));
    else
        cot_mix_to_weights(&mix, fixed(s, x), operand(s, rows), result(s, weights));
}

static void prepare_bank(subject *s, size_t tokens, size_t experts)
{
    s->shape = (cot_moe_shape){.T = tokens, .D = s->n, .E = experts, .P = 1, .H = s->k};
    s->params = cot_params_create(0, experts);
    s->bank = cot_expert_bank_create(&s->shape, COT_RELU, false, experts * s->m, s->m,
                                     COT_HIDDEN_KEPT, s->params, "bench");
    cot_params_allocate(s->params);
    cot_params_initialize(s->params, 0);
}

static void prepare_experts(subject *s)
{
    s->units = fitting(2 * s->m * s->n + s->m * s->k + 4 * s->n * s->k);
    prepare_bank(s, 1, s->units);
    /* So that gradients keep their size on the way back, which goes over itself: an eighteenth of
     * their variance is left by uniform weights on +-1/sqrt(fan_in), twice, and half the units. */
    cot_scale(cot_params_sharded_size(s->params), (cot_real)sqrt(sqrt(18)),
              cot_params_values(s->params), cot_params_values(s->params));
    cot_expert_bank_load(s->bank);
    s->samples = cot_alloc(s->units, sizeof *s->samples);
    s->first = cot_alloc(s->units, sizeof *s->first);
    for (size_t e = 0; e < s->units; e++) {
        s->samples[e] = s->m;
        s->first[e] = e * s->m;
    }
    s->slots = (cot_slots){s->units, 1, s->samples, s->first};
}

static void run_experts(subject *s)
{
    cot_bank_rows rows = {.slots = &s->slots};
    const size_t numbers = s->units * s->m * s->n;
    s->next = s->next_result = 0;
    const cot_real *in = operand(s, numbers);
    cot_real *out = result(s, numbers);
    if (s->kernel == COT_KERNEL_EXPERT_FORWARD)
        cot_expert_bank_forward(s->bank, &rows, in, out);
    else
        cot_expert_bank_backward(s->bank, &rows, in, out);
}

/* ---- fused experts ---- */

enum { FUSED_EXPERTS = 16, FUSED_GRAINS = 4 };

/* A block of experts for some grains, as in a step. */
static void prepare_fused(subject *s)
{
    const size_t tokens = s->m * COT_FUSED_TOKENS * s->n;
    COT_ASSERT(s->m % COT_FUSED_LANES == 0);
    s->units = (size_t)FUSED_EXPERTS * FUSED_GRAINS;
    prepare_bank(s, COT_FUSED_TOKENS, FUSED_EXPERTS);
    s->fused = cot_fused_create(s->bank, COT_RELU, &s->shape, FUSED_EXPERTS, FUSED_GRAINS, s->m,
                                COT_HIDDEN_KEPT);
    cot_fused_load(s->fused);
    for (size_t g = 0; g < FUSED_GRAINS; g++) {
        cot_fused_take_tokens(s->fused, g, s->m, operand(s, tokens));
        cot_fused_take_gradients(s->fused, g, s->m, operand(s, tokens));
    }
}

static void run_fused(subject *s)
{
    const size_t tokens = s->m * COT_FUSED_TOKENS * s->n;
    const size_t weights = s->m * COT_FUSED_TOKENS * FUSED_EXPERTS;
    s->next = s->next_result = 0;
    for (size_t g = 0; g < FUSED_GRAINS; g++) {
        const cot_fused_unit unit = {.grain = g,
                                     .n = s->m,
                                     .experts = FUSED_EXPERTS,
                                     .dispatch = operand(s, weights),
                                     .combine = operand(s, weights)};
        if (s->kernel == COT_KERNEL_FUSED_FORWARD)
            cot_fused_forward(s->fused, &unit, result(s, tokens));
        else
            cot_fused_backward(s->fused, &unit, result(s, weights), result(s, weights), NULL);
    }
}

/* ---- elementwise ---- */

static void softmax(subject *s)
{
    const size_t m = s->m;
    const size_t n = s->n;
    cot_real *scratch = result(s, 2 * n);
    const cot_real *x = operand(s, m * n);
    cot_real *y = result(s, m * n);
    switch (s->kernel) {
    case COT_KERNEL_SOFTMAX_ROWS:
        cot_softmax_rows(m, n, x, y);
        return;
    case COT_KERNEL_SOFTMAX_COLS:
        cot_softmax_cols(m, n, x, y, scratch);
        return;
    case COT_KERNEL_SOFTMAX_ROWS_BACKWARD:
        cot_softmax_rows_backward(m, n, x, operand(s, m * n), y);
        return;
    default:
        cot_softmax_cols_backward(m, n, x, operand(s, m * n), y, scratch);
    }
}

static void normalize(subject *s)
{
    const size_t m = s->m;
    const size_t n = s->n;
    cot_real *inverse = result(s, m + 2 * n);
    const cot_real *x = operand(s, m * n);
    cot_real *y = result(s, m * n);
    switch (s->kernel) {
    case COT_KERNEL_NORMALIZE_ROWS:
        cot_normalize_rows(COT_L2_MAX, m, n, x, y, inverse);
        return;
    case COT_KERNEL_NORMALIZE_COLS:
        cot_normalize_cols(COT_L2_MAX, m, n, x, y, inverse);
        return;
    case COT_KERNEL_NORMALIZE_ROWS_BACKWARD:
        cot_normalize_rows_backward(COT_L2_MAX, m, n, x, inverse, operand(s, m * n), y);
        return;
    default:
        cot_normalize_cols_backward(COT_L2_MAX, m, n, x, inverse, operand(s, m * n), y,
                                    inverse + n);
    }
}

static void stream(subject *s)
{
    const cot_real *x = operand(s, s->m);
    cot_real *y = result(s, s->m);
    if (s->kernel == COT_KERNEL_COPY)
        cot_scale(s->m, 1, x, y);
    else if (s->kernel == COT_KERNEL_ADD)
        cot_add(s->m, x, y);
    else
        s->sum += cot_dot_double(s->m, x, y);
}

/* Slot buffers are [S,B,D], and a sample's rows lie B D numbers apart: for the caches' prefetchers
 * and for the table of pages something else than one long array. */
static void visit_rows_of(subject *s, const cot_real *x)
{
    enum { SLOTS = 64, ROW = 256 };
    const size_t numbers = s->m < ROW ? s->m : ROW;
    const size_t slots = s->m < (size_t)SLOTS * ROW ? 1 : SLOTS;
    const size_t rows = s->m / numbers / slots;
    for (size_t i = 0; i < rows; i++)
        for (size_t slot = 0; slot < slots; slot++)
            s->sum += (double)cot_sum(numbers, x + (slot * rows + i) * numbers);
}

/* There are two such buffers, of inputs and of outputs: the caches hold both or neither, and so one
 * alone where two are more than the arena has. */
static void prepare_rows(subject *s)
{
    const size_t set = 2 * s->m < window ? window : 2 * s->m;
    COT_ASSERT(s->m <= s->arena->region);
    s->units = (set < s->arena->region ? set : s->arena->region) / s->m;
}

static void visit_rows(subject *s)
{
    for (size_t i = 0; i < s->units; i++) visit_rows_of(s, s->arena->numbers + i * s->m);
}

static void prepare_update(subject *s)
{
    cot_optimizer_options options = {.kind = s->kernel == COT_KERNEL_SGD ? COT_SGD : COT_ADAM,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .epsilon = 1e-8};
    s->units = fitting(s->m * (s->kernel == COT_KERNEL_SGD ? 2 : 4));
    s->params = cot_params_create(0, 1);
    for (size_t i = 0; i < s->units; i++) {
        char *name = cot_strprintf("w%zu", i);
        cot_params_add(s->params, &(cot_param_spec){.name = name, .axes = "N", .dims = {s->m}});
        cot_free(name);
    }
    cot_params_allocate(s->params);
    /* Moments that die away would end as denormal numbers, which are slow. */
    cot_fill(s->units * s->m, 1, cot_params_grads(s->params));
    s->optimizer = cot_optimizer_create(&options, s->params);
}

static void update(subject *s)
{
    cot_optimizer_step(s->optimizer, 1, 1e-3, 1);
}

/* ---- data ---- */

enum { DATA_SAMPLES = 256 };

static void prepare_data(subject *s)
{
    cot_dataset_options options = {.source = s->kernel == COT_KERNEL_NORMALS ? COT_DATA_L2NORM
                                                                             : COT_DATA_GLYPHS,
                                   .train_samples = DATA_SAMPLES,
                                   .test_samples = 1,
                                   .mean = 0.5,
                                   .deviation = 0.5,
                                   .tokens = 1,
                                   .width = s->m};
    cot_status status = cot_dataset_create(&options, &s->dataset);
    COT_ASSERT(status == COT_OK);
    s->units = DATA_SAMPLES;
}

static void load(subject *s)
{
    cot_target target;
    for (size_t i = 0; i < DATA_SAMPLES; i++)
        cot_dataset_get(s->dataset, COT_SPLIT_TRAIN, 0, i, result(s, s->m), &target);
}

/* ---- timing ---- */

typedef struct method {
    void (*prepare)(subject *s); /* NULL: nothing to prepare */
    void (*run)(subject *s);
} method;

static const method methods[COT_KERNELS] = {
    [COT_KERNEL_GEMM_NN] = {NULL, multiply},
    [COT_KERNEL_GEMM_TN] = {NULL, multiply},
    [COT_KERNEL_GEMM_NT] = {NULL, multiply},
    [COT_KERNEL_TO_SLOTS] = {prepare_mix, mix},
    [COT_KERNEL_TO_TOKENS] = {prepare_mix, mix},
    [COT_KERNEL_TO_WEIGHTS] = {prepare_mix, mix},
    [COT_KERNEL_EXPERT_FORWARD] = {prepare_experts, run_experts},
    [COT_KERNEL_EXPERT_BACKWARD] = {prepare_experts, run_experts},
    [COT_KERNEL_FUSED_FORWARD] = {prepare_fused, run_fused},
    [COT_KERNEL_FUSED_BACKWARD] = {prepare_fused, run_fused},
    [COT_KERNEL_SOFTMAX_ROWS] = {NULL, softmax},
    [COT_KERNEL_SOFTMAX_ROWS_BACKWARD] = {NULL, softmax},
    [COT_KERNEL_SOFTMAX_COLS] = {NULL, softmax},
    [COT_KERNEL_SOFTMAX_COLS_BACKWARD] = {NULL, softmax},
    [COT_KERNEL_NORMALIZE_ROWS] = {NULL, normalize},
    [COT_KERNEL_NORMALIZE_ROWS_BACKWARD] = {NULL, normalize},
    [COT_KERNEL_NORMALIZE_COLS] = {NULL, normalize},
    [COT_KERNEL_NORMALIZE_COLS_BACKWARD] = {NULL, normalize},
    [COT_KERNEL_COPY] = {NULL, stream},
    [COT_KERNEL_ADD] = {NULL, stream},
    [COT_KERNEL_DOT] = {NULL, stream},
    [COT_KERNEL_ROWS] = {prepare_rows, visit_rows},
    [COT_KERNEL_SGD] = {prepare_update, update},
    [COT_KERNEL_ADAM] = {prepare_update, update},
    [COT_KERNEL_PIXELS] = {prepare_data, load},
    [COT_KERNEL_NORMALS] = {prepare_data, load},
};

static void release(subject *s)
{
    cot_dataset_destroy(&s->dataset);
    cot_optimizer_destroy(&s->optimizer);
    cot_fused_destroy(&s->fused);
    cot_expert_bank_destroy(&s->bank);
    cot_params_destroy(&s->params);
    cot_free(s->first);
    cot_free(s->samples);
}

/* Of one run, by `count` of them. */
static double time_runs(subject *s, void (*run)(subject *s), size_t count)
{
    double started = cot_seconds();
    for (size_t i = 0; i < count; i++) run(s);
    return (cot_seconds() - started) / (double)count;
}

double machine_time_kernel(const machine_arena *arena, cot_kernel kernel, size_t m, size_t n,
                           size_t k, double seconds)
{
    enum { MOST = 64 };
    const double worth_timing = 20e-6;
    const method *how = &methods[kernel];
    double times[MOST];
    subject s = {.arena = arena, .kernel = kernel, .m = m, .n = n, .k = k, .units = 1};
    COT_ASSERT(how->run != NULL);
    if (how->prepare != NULL) how->prepare(&s);
    (void)time_runs(&s, how->run, 1); /* into the caches */
    double once = time_runs(&s, how->run, 1);
    size_t count = once < worth_timing ? (size_t)(worth_timing / once) + 1 : 1;
    double started = cot_seconds();
    size_t timed = 0;
    while (timed == 0 || (timed < MOST && cot_seconds() - started < seconds))
        times[timed++] = time_runs(&s, how->run, count);
    double typical = cot_spread_of(timed, times).median / (double)s.units;
    release(&s);
    return typical;
}
