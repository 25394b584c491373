#include "support/test.h"

#include <coterie/bench.h>

#include <math.h>

/* The MNIST recipe: four tokens of 196 pixels, 784 hidden units over all experts, batches of 256.
 */
static const cot_model_options mnist = {.layers = 1, .pool = COT_POOL_FLATTEN};

static cot_flop of_mnist(size_t experts)
{
    cot_moe_shape shape = {.T = 4, .D = 196, .E = experts, .P = 1, .H = 784 / experts};
    return cot_flop_of_step(&mnist, &shape, 196, 10, 256);
}

/* What the formula gives by hand: 2 B (7 T S D + 6 S D H) in the layer. */
static void counts_of_mnist(void **state)
{
    (void)state;
    assert_close_double(of_mnist(8).layers, 494534656, 0, 0);
    assert_close_double(of_mnist(8).layers * 1e-9, 0.49, 0, 0.005);
    assert_close_double(of_mnist(128).layers * 1e-9, 0.82, 0, 0.005);
    assert_close_double(of_mnist(512).layers * 1e-9, 1.75, 0, 0.005);
    assert_close_double(of_mnist(8).embed, 0, 0, 0);
    assert_close_double(of_mnist(8).head, 2.0 * 256 * 3 * 784 * 10, 0, 0);
}

/* With an embedding the first layer's input has a gradient, as every further layer's: two products
 * more, one through the dispatch and one through the logits. */
static void counts_of_a_deep_model(void **state)
{
    (void)state;
    const cot_moe_shape shape = {.T = 3, .D = 5, .E = 2, .P = 2, .H = 7};
    const double n = 3 * 4 * 5;
    const double m = 4 * 5 * 7;
    cot_model_options model = {.layers = 2, .embed = 5, .pool = COT_POOL_MEAN};
    cot_flop flop = cot_flop_of_step(&model, &shape, 11, 10, 1);
    assert_close_double(flop.layers, 2 * 2 * (9 * n + 6 * m), 0, 0);
    assert_close_double(flop.embed, 2 * 2 * 3 * 11 * 5, 0, 0);
    assert_close_double(flop.head, 2 * 3 * 5 * 10, 0, 0);
    model.embed = 0;
    flop = cot_flop_of_step(&model, &shape, 5, 10, 1);
    assert_close_double(flop.layers, 2 * (7 * n + 6 * m) + 2 * (9 * n + 6 * m), 0, 0);
}

/* What nothing learns from need not be computed. */
static void counts_of_less(void **state)
{
    (void)state;
    const cot_moe_shape shape = {.T = 3, .D = 5, .E = 2, .P = 2, .H = 7};
    const double n = 3 * 4 * 5;
    const double m = 4 * 5 * 7;
    cot_model_options model = {.layers = 1, .router = {.freeze = true}};
    assert_close_double(cot_flop_of_step(&model, &shape, 5, 1, 1).layers, 2 * (4 * n + 5 * m), 0,
                        0);
    model.router = (cot_router_options){.uniform_dispatch = true};
    assert_close_double(cot_flop_of_step(&model, &shape, 5, 1, 1).layers, 2 * (6 * n + 5 * m), 0,
                        0);
    model.router.uniform_combine = true;
    assert_close_double(cot_flop_of_step(&model, &shape, 5, 1, 1).layers, 2 * (3 * n + 5 * m), 0,
                        0);
}

static void spread(void **state)
{
    (void)state;
    double one[] = {4};
    double five[] = {5, 1, 4, 2, 3};
    double two[] = {20, 10};
    cot_spread s = cot_spread_of(1, one);
    assert_true(s.lower == 4 && s.median == 4 && s.upper == 4);
    s = cot_spread_of(5, five);
    assert_true(s.lower == 2 && s.median == 3 && s.upper == 4);
    s = cot_spread_of(2, two);
    assert_true(s.lower == 12.5 && s.median == 15 && s.upper == 17.5);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(counts_of_mnist),
    cmocka_unit_test(counts_of_a_deep_model),
    cmocka_unit_test(counts_of_less),
    cmocka_unit_test(spread),
};

RUN_UNIT_TESTS(tests)
