/* The order of an epoch. */
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/sampler.h>

#include <string.h>

enum { SAMPLES = 1003, BATCH = 64 };

/* The whole order of an epoch; asserts that batches add up. */
static size_t read_order(cot_sampler *sampler, uint64_t epoch, size_t order[SAMPLES])
{
    size_t count = 0;
    cot_sampler_start_epoch(sampler, epoch);
    for (size_t b = 0; b < cot_sampler_batches(sampler); b++)
        for (size_t i = 0; i < cot_sampler_batch_size(sampler, b); i++) {
            assert_true(count < SAMPLES);
            order[count++] = cot_sampler_index(sampler, b, i);
        }
    return count;
}

static void test_unshuffled_order_is_the_identity(void **state)
{
    (void)state;
    size_t order[SAMPLES];
    cot_sampler *sampler = cot_sampler_create(SAMPLES, BATCH, false, false, 1);
    assert_int_equal(cot_sampler_batches(sampler), 16);
    assert_int_equal(cot_sampler_batch_size(sampler, 15), 1003 - 15 * 64);
    assert_int_equal(read_order(sampler, 3, order), SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) assert_int_equal(order[i], i);
    cot_sampler_destroy(&sampler);
    assert_null(sampler);
}

static void test_shuffled_order_is_a_permutation(void **state)
{
    (void)state;
    size_t order[SAMPLES];
    char seen[SAMPLES] = {0};
    cot_sampler *sampler = cot_sampler_create(SAMPLES, BATCH, true, false, 1);
    assert_int_equal(read_order(sampler, 0, order), SAMPLES);
    size_t fixed = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        if (order[i] < SAMPLES) seen[order[i]]++;
        fixed += order[i] == i;
    }
    for (size_t i = 0; i < SAMPLES; i++) assert_int_equal(seen[i], 1);
    /* A random permutation leaves 1 in place on average; over 10 has a chance of one in 10^8. */
    assert_true(fixed <= 10);
    cot_sampler_destroy(&sampler);
}

static void test_an_epoch_is_a_function_of_seed_and_number(void **state)
{
    (void)state;
    size_t first[SAMPLES];
    size_t again[SAMPLES];
    cot_sampler *sampler = cot_sampler_create(SAMPLES, BATCH, true, false, 1);
    read_order(sampler, 4, first);
    read_order(sampler, 5, again);
    assert_memory_not_equal(first, again, sizeof first);
    read_order(sampler, 4, again);
    assert_memory_equal(first, again, sizeof first);
    cot_sampler_destroy(&sampler);

    /* A run resumed in epoch 4, and with another batch. */
    sampler = cot_sampler_create(SAMPLES, 17, true, false, 1);
    read_order(sampler, 4, again);
    assert_memory_equal(first, again, sizeof first);
    cot_sampler_destroy(&sampler);

    sampler = cot_sampler_create(SAMPLES, BATCH, true, false, 2);
    read_order(sampler, 4, again);
    assert_memory_not_equal(first, again, sizeof first);
    cot_sampler_destroy(&sampler);
}

/* All 6 orders of 3 samples, equally often. */
static void test_permutations_are_uniform(void **state)
{
    (void)state;
    enum { EPOCHS = 6000 };
    size_t histogram[27] = {0};
    cot_sampler *sampler = cot_sampler_create(3, 3, true, false, 7);
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        cot_sampler_start_epoch(sampler, epoch);
        size_t code = 0;
        for (size_t i = 0; i < 3; i++) code = 3 * code + cot_sampler_index(sampler, 0, i);
        histogram[code]++;
    }
    cot_sampler_destroy(&sampler);
    const size_t orders[] = {5, 7, 11, 15, 19, 21};
    /* 1000 each with a standard deviation of 29: five of them are allowed. */
    for (size_t i = 0; i < 6; i++) assert_in_range(histogram[orders[i]], 855, 1145);
}

static void test_drop_last(void **state)
{
    (void)state;
    cot_sampler *sampler = cot_sampler_create(SAMPLES, BATCH, true, true, 1);
    assert_int_equal(cot_sampler_batches(sampler), 15);
    for (size_t b = 0; b < 15; b++) assert_int_equal(cot_sampler_batch_size(sampler, b), BATCH);
    cot_sampler_destroy(&sampler);

    sampler = cot_sampler_create(2 * BATCH, BATCH, false, true, 1);
    assert_int_equal(cot_sampler_batches(sampler), 2);
    cot_sampler_destroy(&sampler);

    sampler = cot_sampler_create(BATCH - 1, BATCH, false, true, 1);
    assert_int_equal(cot_sampler_batches(sampler), 0);
    cot_sampler_destroy(&sampler);

    sampler = cot_sampler_create(BATCH - 1, BATCH, false, false, 1);
    assert_int_equal(cot_sampler_batches(sampler), 1);
    assert_int_equal(cot_sampler_batch_size(sampler, 0), BATCH - 1);
    cot_sampler_destroy(&sampler);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_unshuffled_order_is_the_identity),
    cmocka_unit_test(test_shuffled_order_is_a_permutation),
    cmocka_unit_test(test_an_epoch_is_a_function_of_seed_and_number),
    cmocka_unit_test(test_permutations_are_uniform),
    cmocka_unit_test(test_drop_last),
};
RUN_UNIT_TESTS(tests)
