#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/optimizer.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

enum { SIZE = POSITIONS, STEPS = 6 };

/* A weight that decays, a bias that does not, a frozen weight, and a sharded weight. */
static cot_params *make_params(void)
{
    static const struct {
        const char *name;
        bool decay, frozen;
        cot_placement placement;
    } all[] = {{"w", true, false, COT_REPLICATED},
               {"b", false, false, COT_REPLICATED},
               {"frozen", true, true, COT_REPLICATED},
               {"experts", true, false, COT_SHARDED}};
    cot_params *params = cot_params_create(0, 1);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        cot_params_add(params, &(cot_param_spec){.name = all[i].name,
                                                 .axes = "E,D",
                                                 .dims = {1, SIZE},
                                                 .placement = all[i].placement,
                                                 .init = COT_INIT_NORMAL,
                                                 .init_scale = 1,
                                                 .decay = all[i].decay,
                                                 .frozen = all[i].frozen});
    cot_params_allocate(params);
    cot_params_initialize(params, 2);
    return params;
}

static void draw_grads(cot_params *params, size_t step)
{
    size_t n = cot_params_replicated_size(params) + cot_params_sharded_size(params);
    draw_normal(step, n, cot_params_grads(params));
}

/* One element in double: the published formulas, with weight decay as the header says. */
typedef struct element {
    double w, m, v;
} element;

static void step_directly(const cot_optimizer_options *o, uint64_t t, double rate, double grad,
                          bool decays, element *x)
{
    double decay = decays ? o->weight_decay : 0;
    if (o->kind == COT_ADAMW)
        x->w -= rate * decay * x->w;
    else
        grad += decay * x->w;
    if (o->kind == COT_SGD) {
        x->m = o->momentum * x->m + grad;
        x->w -= rate * x->m;
        return;
    }
    x->m = o->beta1 * x->m + (1 - o->beta1) * grad;
    x->v = o->beta2 * x->v + (1 - o->beta2) * grad * grad;
    double m_hat = x->m / (1 - pow(o->beta1, (double)t));
    double v_hat = x->v / (1 - pow(o->beta2, (double)t));
    x->w -= rate * m_hat / (sqrt(v_hat) + o->epsilon);
}

/* Every step adds some ten roundings to numbers of size 1 (weights, updates, m) at the most, and
 * beta2 = 0.999 in float is off by 3e-8, so 1 - beta2 by 3e-5 of itself; v / (1 - beta2^t) has the
 * correction in double, so v is off by that share, and the update by half of it. */
static void check_against_formula(const cot_optimizer_options *options, double tolerance)
{
    cot_params *params = make_params();
    cot_params *initial = make_params();
    cot_optimizer *optimizer = cot_optimizer_create(options, params);
    size_t n = cot_params_replicated_size(params) + cot_params_sharded_size(params);
    element *want = cot_alloc(n, sizeof *want);
    for (size_t i = 0; i < n; i++) want[i].w = (double)cot_params_values(params)[i];
    for (uint64_t t = 1; t <= STEPS; t++) {
        double rate = 0.1 / (double)t;
        double scale = t % 2 == 0 ? 0.25 : 1;
        draw_grads(params, t);
        cot_optimizer_step(optimizer, t, rate, scale);
        for (size_t p = 0; p < cot_params_count(params); p++) {
            const cot_param *param = cot_params_at(params, p);
            if (param->frozen) continue;
            for (size_t i = param->offset; i < param->offset + param->count; i++) {
                double grad = scale * (double)cot_params_grads(params)[i];
                step_directly(options, t, rate, grad, param->decay, want + i);
                assert_close_double((double)cot_params_values(params)[i], want[i].w, 0, tolerance);
            }
        }
    }
    const cot_param *frozen = cot_params_find(params, "frozen");
    assert_same_bits(frozen->value, cot_params_find(initial, "frozen")->value, SIZE);
    cot_free(want);
    cot_optimizer_destroy(&optimizer);
    assert_null(optimizer);
    cot_params_destroy(&initial);
    cot_params_destroy(&params);
}

static const cot_optimizer_options adam = {
    .kind = COT_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};

static void follows_the_formulas(void **state)
{
    (void)state;
    for (int decays = 0; decays < 2; decays++) {
        cot_optimizer_options options = {.kind = COT_SGD, .weight_decay = decays ? 0.05 : 0};
        check_against_formula(&options, 1e-6);
        options.momentum = 0.9;
        check_against_formula(&options, 1e-5); /* sums of up to six gradients */
        options = adam;
        options.weight_decay = decays ? 0.05 : 0;
        check_against_formula(&options, 1e-5);
        options.kind = COT_ADAMW;
        check_against_formula(&options, 1e-5);
    }
}

/* Decay acts on weights alone: with gradients of 0, biases stay and weights shrink as they should.
 */
static void decay_only_where_it_applies(void **state)
{
    (void)state;
    for (int kind = COT_SGD; kind <= COT_ADAMW; kind++) {
        cot_optimizer_options options = adam;
        options.kind = (cot_optimizer_kind)kind;
        options.weight_decay = 0.5;
        cot_params *params = make_params();
        cot_params *before = make_params();
        cot_optimizer *optimizer = cot_optimizer_create(&options, params);
        cot_optimizer_step(optimizer, 1, 0.1, 1);
        const char *const names[] = {"w", "b", "frozen", "experts"};
        for (int i = 0; i < 4; i++) {
            const cot_param *param = cot_params_find(params, names[i]);
            const cot_real *old = cot_params_find(before, names[i])->value;
            bool moves = i == 0 || i == 3;
            for (size_t j = 0; j < SIZE; j++) {
                if (!moves) assert_same_bits(param->value + j, old + j, 1);
                if (!moves || kind == COT_ADAM) continue; /* Adam's first step is the rate itself */
                assert_close_double((double)param->value[j], 0.95 * (double)old[j],
                                    2 * (double)COT_REAL_EPSILON, 0);
            }
            assert_int_equal(!same_bits(param->value, old, SIZE), moves);
        }
        cot_optimizer_destroy(&optimizer);
        cot_params_destroy(&before);
        cot_params_destroy(&params);
    }
}

static void moments(void **state)
{
    (void)state;
    cot_params *params = make_params();
    cot_optimizer_options options = {.kind = COT_SGD, .momentum = 0.5};
    cot_optimizer *optimizer = cot_optimizer_create(&options, params);
    assert_int_equal(cot_optimizer_moments(optimizer), 1);
    assert_string_equal(cot_optimizer_moment_name(optimizer, 0), "m");
    draw_grads(params, 1);
    cot_optimizer_step(optimizer, 1, 0.1, 1);
    const cot_param *experts = cot_params_find(params, "experts");
    /* The first step of SGD leaves the gradient in m, in the parameters' layout. */
    assert_same_bits(cot_optimizer_moment(optimizer, 0) + experts->offset, experts->grad, SIZE);
    cot_optimizer_destroy(&optimizer);

    optimizer = cot_optimizer_create(&adam, params);
    assert_int_equal(cot_optimizer_moments(optimizer), 2);
    assert_string_equal(cot_optimizer_moment_name(optimizer, 0), "m");
    assert_string_equal(cot_optimizer_moment_name(optimizer, 1), "v");
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < experts->offset + SIZE; j++)
            assert_true(cot_optimizer_moment(optimizer, i)[j] == 0);
    cot_optimizer_destroy(&optimizer);
    cot_optimizer_destroy(&optimizer);
    cot_params_destroy(&params);
}

/* Where gradients stay 0, moments end as 0, and are no denormal numbers on the way. */
static void moments_die_away(void **state)
{
    (void)state;
    enum { HALVINGS = 1200 };
    for (int kind = COT_SGD; kind <= COT_ADAMW; kind++) {
        const cot_optimizer_options options = {.kind = (cot_optimizer_kind)kind,
                                               .momentum = 0.5,
                                               .beta1 = 0.5,
                                               .beta2 = 0.5,
                                               .epsilon = 1e-8};
        cot_params *params = make_params();
        cot_optimizer *optimizer = cot_optimizer_create(&options, params);
        size_t n = cot_params_replicated_size(params) + cot_params_sharded_size(params);
        draw_grads(params, 1);
        for (uint64_t t = 1; t <= HALVINGS; t++) {
            cot_optimizer_step(optimizer, t, 1e-3, 1);
            cot_fill(n, 0, cot_params_grads(params));
            for (size_t i = 0; i < cot_optimizer_moments(optimizer); i++)
                for (size_t j = 0; j < n; j++)
                    assert_int_not_equal(fpclassify(cot_optimizer_moment(optimizer, i)[j]),
                                         FP_SUBNORMAL);
        }
        for (size_t i = 0; i < cot_optimizer_moments(optimizer); i++)
            for (size_t j = 0; j < n; j++) assert_true(cot_optimizer_moment(optimizer, i)[j] == 0);
        cot_optimizer_destroy(&optimizer);
        cot_params_destroy(&params);
    }
}

/* One parameter of n elements from `grad` and `value`, behind one of `before` elements that shifts
 * it in memory; three steps. */
static void steps_at(cot_optimizer_kind kind, size_t before, size_t n, const cot_real *grad,
                     const cot_real *value, cot_real *out)
{
    cot_optimizer_options options = adam;
    options.kind = kind;
    options.momentum = 0.9;
    options.weight_decay = 0.1;
    cot_params *params = cot_params_create(0, 0);
    cot_param_spec spec = {.name = "first", .axes = "D", .dims = {before}};
    if (before > 0) cot_params_add(params, &spec);
    spec = (cot_param_spec){.name = "w", .axes = "D", .dims = {n}, .decay = true};
    const cot_param *w = cot_params_add(params, &spec);
    cot_params_allocate(params);
    cot_optimizer *optimizer = cot_optimizer_create(&options, params);
    memcpy(w->value, value, n * sizeof *value);
    for (uint64_t t = 1; t <= 3; t++) {
        memcpy(w->grad, grad, n * sizeof *grad);
        cot_optimizer_step(optimizer, t, 0.01, 0.7);
    }
    memcpy(out, w->value, n * sizeof *out);
    cot_optimizer_destroy(&optimizer);
    cot_params_destroy(&params);
}

/* So a shard is updated as the whole would be. */
static void same_bits_at_any_position(void **state)
{
    (void)state;
    cot_real grad[POSITIONS];
    cot_real value[POSITIONS];
    cot_real alone[POSITIONS];
    cot_real there[POSITIONS];
    draw_normal(8, POSITIONS, grad);
    draw_normal(9, POSITIONS, value);
    for (int kind = COT_SGD; kind <= COT_ADAMW; kind++) {
        for (size_t i = 0; i < POSITIONS; i++)
            steps_at((cot_optimizer_kind)kind, 0, 1, grad + i, value + i, alone + i);
        for (size_t offset = 0; offset <= MOST_OFFSET; offset++)
            for (size_t n = 1; n <= MOST_LENGTH; n++) {
                size_t first = (n + 3 * offset) % (POSITIONS - n + 1);
                steps_at((cot_optimizer_kind)kind, offset, n, grad + first, value + first, there);
                assert_same_bits(there, alone + first, n);
            }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(follows_the_formulas),
    cmocka_unit_test(decay_only_where_it_applies),
    cmocka_unit_test(moments),
    cmocka_unit_test(moments_die_away),
    cmocka_unit_test(same_bits_at_any_position),
};

RUN_UNIT_TESTS(tests)
