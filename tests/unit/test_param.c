#include "support/test.h"

#include <coterie/param.h>

#include <math.h>
#include <string.h>

enum { EXPERTS = 5, WIDTH = 3, HIDDEN = 2 };

static cot_params *make_registry(size_t first_expert, size_t end_expert)
{
    cot_params *params = cot_params_create(first_expert, end_expert);
    cot_params_add(params, &(cot_param_spec){.name = "moe.0.phi",
                                             .axes = "D,E,P",
                                             .dims = {WIDTH, EXPERTS, 1},
                                             .init = COT_INIT_UNIFORM,
                                             .init_scale = 1});
    cot_params_add(params, &(cot_param_spec){.name = "moe.0.experts.w1",
                                             .axes = "E,D,H",
                                             .dims = {EXPERTS, WIDTH, HIDDEN},
                                             .placement = COT_SHARDED,
                                             .init = COT_INIT_NORMAL,
                                             .init_scale = 0.5,
                                             .decay = true});
    cot_params_add(params, &(cot_param_spec){.name = "moe.0.experts.b1",
                                             .axes = "E,H",
                                             .dims = {EXPERTS, HIDDEN},
                                             .placement = COT_SHARDED,
                                             .init = COT_INIT_UNIFORM,
                                             .init_scale = 0.25});
    cot_params_add(
        params,
        &(cot_param_spec){.name = "moe.0.scale", .axes = "1", .dims = {1}, .init = COT_INIT_ONES});
    cot_params_allocate(params);
    return params;
}

static void layout_is_replicated_then_sharded(void **state)
{
    (void)state;
    cot_params *params = make_registry(1, 3);
    assert_int_equal(cot_params_count(params), 4);
    assert_int_equal(cot_params_replicated_size(params), WIDTH * EXPERTS + 1);
    assert_int_equal(cot_params_sharded_size(params), 2 * WIDTH * HIDDEN + 2 * HIDDEN);
    assert_int_equal(cot_params_total(params),
                     WIDTH * EXPERTS + 1 + EXPERTS * WIDTH * HIDDEN + EXPERTS * HIDDEN);
    const cot_param *phi = cot_params_find(params, "moe.0.phi");
    const cot_param *scale = cot_params_find(params, "moe.0.scale");
    const cot_param *w1 = cot_params_find(params, "moe.0.experts.w1");
    const cot_param *b1 = cot_params_find(params, "moe.0.experts.b1");
    assert_int_equal(phi->offset, 0);
    assert_int_equal(scale->offset, phi->count);
    assert_int_equal(w1->offset, cot_params_replicated_size(params));
    assert_int_equal(b1->offset, w1->offset + w1->count);
    assert_ptr_equal(b1->grad, cot_params_grads(params) + b1->offset);
    assert_ptr_equal(w1, cot_params_at(params, 1));
    assert_null(cot_params_find(params, "moe.0"));
    cot_params_destroy(&params);
    assert_null(params);
}

/* Gathered parameters lie behind those that are summed. */
static void gathered_behind_summed(void **state)
{
    (void)state;
    cot_params *params = cot_params_create(0, 2);
    const cot_param *sharded = cot_params_add(
        params,
        &(cot_param_spec){.name = "sharded", .axes = "E", .dims = {2}, .placement = COT_SHARDED});
    const cot_param *gathered =
        cot_params_add(params, &(cot_param_spec){.name = "gathered", .axes = "D", .dims = {5}});
    const cot_param *summed =
        cot_params_add(params, &(cot_param_spec){.name = "summed", .axes = "D", .dims = {3}});
    cot_params_gather(params, gathered);
    cot_params_gather(params, gathered); /* once is enough, twice the same */
    cot_params_allocate(params);
    assert_int_equal(cot_params_summed_size(params), 3);
    assert_int_equal(cot_params_replicated_size(params), 8);
    assert_int_equal(summed->offset, 0);
    assert_int_equal(gathered->offset, 3);
    assert_int_equal(sharded->offset, 8);
    assert_true(gathered->gathered && !summed->gathered && !sharded->gathered);
    cot_params_destroy(&params);
}

static void shape_is_the_whole_one(void **state)
{
    (void)state;
    cot_params *params = make_registry(1, 3);
    const cot_param *w1 = cot_params_find(params, "moe.0.experts.w1");
    assert_int_equal(w1->axis_count, 3);
    assert_int_equal(w1->dims[0], EXPERTS);
    assert_int_equal(w1->row_size, WIDTH * HIDDEN);
    assert_int_equal(w1->first_row, 1);
    assert_int_equal(w1->rows, 2);
    assert_true(w1->decay);
    const cot_param *phi = cot_params_find(params, "moe.0.phi");
    assert_int_equal(phi->first_row, 0);
    assert_int_equal(phi->rows, WIDTH);
    cot_params_destroy(&params);
}

static void assert_shard_is_slice(const cot_param *shard, const cot_param *whole)
{
    const cot_real *slice = whole->value + (shard->first_row - whole->first_row) * whole->row_size;
    assert_memory_equal(shard->value, slice, shard->count * sizeof *slice);
}

static void shard_holds_the_bits_of_the_whole(void **state)
{
    (void)state;
    cot_params *whole = make_registry(0, EXPERTS);
    cot_params_initialize(whole, 7);
    for (size_t first = 0; first <= EXPERTS; first++) {
        for (size_t end = first; end <= EXPERTS; end++) {
            cot_params *part = make_registry(first, end);
            cot_params_initialize(part, 7);
            for (size_t i = 0; i < cot_params_count(part); i++)
                assert_shard_is_slice(cot_params_at(part, i), cot_params_at(whole, i));
            cot_params_destroy(&part);
        }
    }
    cot_params_destroy(&whole);
}

static void initial_values_follow_their_kind(void **state)
{
    (void)state;
    cot_params *params = make_registry(0, EXPERTS);
    cot_params_initialize(params, 7);
    const cot_param *b1 = cot_params_find(params, "moe.0.experts.b1");
    double largest = 0;
    for (size_t i = 0; i < b1->count; i++) largest = fmax(largest, fabs((double)b1->value[i]));
    assert_true(largest <= 0.25 &&
                largest > 0.1); /* ten uniform draws: below 0.1 once in 10,000 seeds */
    assert_true(cot_params_find(params, "moe.0.scale")->value[0] == 1);
    cot_params_destroy(&params);
}

/* Mean and mean square of a parameter's values, within five standard errors of those of its
 * distribution: one seed in a million is further off. A square varies by kurtosis - 1. */
static void assert_moments(const cot_param *param, double variance, double kurtosis)
{
    const double n = (double)param->count;
    double sum = 0;
    double squares = 0;
    for (size_t i = 0; i < param->count; i++) {
        sum += (double)param->value[i];
        squares += pow((double)param->value[i], 2);
    }
    assert_close_double(sum / n, 0, 0, 5 * sqrt(variance / n));
    assert_close_double(squares / n, variance, 5 * sqrt((kurtosis - 1) / n), 0);
}

/* Places at which both hold the same number: by chance, once in 2^24. */
static size_t count_equal(size_t n, const cot_real *a, const cot_real *b)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += a[i] == b[i];
    return count;
}

static void many_values_are_spread_as_their_kind_says(void **state)
{
    (void)state;
    enum { ROWS = 8, ROW = 4096 };
    const double scale = 0.5;
    cot_params *params = cot_params_create(0, ROWS);
    cot_param_spec spec = {.axes = "E,D",
                           .dims = {ROWS, ROW},
                           .placement = COT_SHARDED,
                           .init = COT_INIT_UNIFORM,
                           .init_scale = scale};
    spec.name = "uniform";
    const cot_param *uniform = cot_params_add(params, &spec);
    spec.name = "uniform, too";
    const cot_param *other = cot_params_add(params, &spec);
    spec.name = "normal";
    spec.init = COT_INIT_NORMAL;
    const cot_param *normal = cot_params_add(params, &spec);
    cot_params_allocate(params);
    cot_params_initialize(params, 7);
    assert_moments(uniform, scale * scale / 3, 1.8);
    assert_moments(normal, scale * scale, 3);
    assert_int_equal(count_equal(uniform->count, uniform->value, other->value), 0);
    for (size_t row = 1; row < ROWS; row++) {
        assert_int_equal(count_equal(ROW, uniform->value, uniform->value + row * ROW), 0);
        assert_int_equal(count_equal(ROW, normal->value, normal->value + row * ROW), 0);
    }
    cot_params_destroy(&params);
}

static void names_and_seeds_have_their_own_numbers(void **state)
{
    (void)state;
    cot_params *params = make_registry(0, EXPERTS);
    cot_params *other = make_registry(0, EXPERTS);
    cot_params_initialize(params, 7);
    cot_params_initialize(other, 8);
    const cot_param *phi = cot_params_find(params, "moe.0.phi");
    const cot_param *b1 = cot_params_find(params, "moe.0.experts.b1");
    assert_memory_not_equal(phi->value, cot_params_find(other, "moe.0.phi")->value,
                            phi->count * sizeof *phi->value);
    assert_true(phi->value[0] / 4 != b1->value[0]);
    cot_params_destroy(&params);
    cot_params_destroy(&other);
}

static void no_experts_and_no_parameters(void **state)
{
    (void)state;
    cot_params *params = make_registry(EXPERTS, EXPERTS);
    cot_params_initialize(params, 7);
    assert_int_equal(cot_params_sharded_size(params), 0);
    cot_params_destroy(&params);
    params = cot_params_create(0, 0);
    cot_params_allocate(params);
    assert_int_equal(cot_params_total(params), 0);
    cot_params_destroy(&params);
    cot_params_destroy(&params);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(layout_is_replicated_then_sharded),
    cmocka_unit_test(gathered_behind_summed),
    cmocka_unit_test(shape_is_the_whole_one),
    cmocka_unit_test(shard_holds_the_bits_of_the_whole),
    cmocka_unit_test(initial_values_follow_their_kind),
    cmocka_unit_test(many_values_are_spread_as_their_kind_says),
    cmocka_unit_test(names_and_seeds_have_their_own_numbers),
    cmocka_unit_test(no_experts_and_no_parameters),
};

RUN_UNIT_TESTS(tests)
