#include "run/batch_parts.h"
#include "support/test.h"

/* The MNIST recipe: four tokens of 196 pixels, 784 hidden units over all experts. */
static size_t of_mnist(size_t experts, size_t batch, size_t grains)
{
    const cot_moe_shape shape = {.T = 4, .D = 196, .E = experts, .P = 1, .H = 784 / experts};
    return parts_by_slots(&shape, batch, grains, 1);
}

/* 2 B S D numbers, by hand: 0.77, 1.5 and 3.1 times 2^20 for 8, 16 and 32 experts. */
static void until_the_cache_holds_a_part(void **state)
{
    (void)state;
    assert_int_equal(of_mnist(8, 256, 8), 1);
    assert_int_equal(of_mnist(16, 256, 8), 2);
    assert_int_equal(of_mnist(32, 256, 8), 4);
    assert_int_equal(of_mnist(64, 1024, 8), 16);
}

/* 64 experts would want 8 parts of 256 samples, which leave 4 samples to each of 8 grains. */
static void no_fewer_samples_than_a_grain_needs(void **state)
{
    (void)state;
    assert_int_equal(of_mnist(64, 256, 8), 4);
    assert_int_equal(of_mnist(64, 256, 4), 8);
    assert_int_equal(of_mnist(64, 256, 64), 1);
    assert_int_equal(of_mnist(64, 100, 8), 1);
}

/* A layer of a vision transformer's size: 256 rows an expert of 1536 hidden units. */
static void no_fewer_rows_than_an_expert_is_wide(void **state)
{
    (void)state;
    cot_moe_shape shape = {.T = 64, .D = 384, .E = 16, .P = 4, .H = 1536};
    assert_int_equal(parts_by_slots(&shape, 64, 8, 1), 1);
    shape.H = 256;
    assert_int_equal(parts_by_slots(&shape, 64, 1, 1), 1);
    shape.H = 128;
    assert_int_equal(parts_by_slots(&shape, 64, 1, 1), 2);
    assert_int_equal(parts_by_slots(&shape, 64, 1, 2), 1);
    shape.H = 1;
    assert_int_equal(parts_by_slots(&shape, 64, 1, 1), 4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(until_the_cache_holds_a_part),
    cmocka_unit_test(no_fewer_samples_than_a_grain_needs),
    cmocka_unit_test(no_fewer_rows_than_an_expert_is_wide),
};

RUN_UNIT_TESTS(tests)
