/* The regression source: X of N(0,1), its norm, fresh training samples. */
#include "support/test.h"

#include <coterie/data_summary.h>
#include <coterie/dataset.h>
#include <coterie/status.h>

#include <math.h>
#include <string.h>

enum { TOKENS = 4, WIDTH = 8, SIZE = TOKENS * WIDTH, COUNT = 2000 };

static cot_dataset_options l2norm_options(void)
{
    return (cot_dataset_options){.source = COT_DATA_L2NORM,
                                 .path = "",
                                 .seed = 9,
                                 .train_samples = COUNT,
                                 .test_samples = COUNT,
                                 .validation = 50,
                                 .tokens = TOKENS,
                                 .width = WIDTH};
}

static cot_dataset *create(void)
{
    cot_dataset_options options = l2norm_options();
    cot_dataset *dataset = NULL;
    assert_int_equal(cot_dataset_create(&options, &dataset), COT_OK);
    return dataset;
}

static void test_shape(void **state)
{
    (void)state;
    cot_dataset *dataset = create();
    const cot_dataset_info *info = cot_dataset_info_of(dataset);
    assert_int_equal(info->channels, 1);
    assert_int_equal(info->height, TOKENS);
    assert_int_equal(info->width, WIDTH);
    assert_int_equal(info->classes, 0);
    assert_int_equal(info->samples[COT_SPLIT_TRAIN], COUNT);
    assert_int_equal(info->samples[COT_SPLIT_VALIDATION], 50);
    assert_int_equal(info->samples[COT_SPLIT_TEST], COUNT);
    cot_dataset_destroy(&dataset);
}

static void test_target_is_the_norm(void **state)
{
    (void)state;
    cot_dataset *dataset = create();
    for (size_t i = 0; i < 20; i++) {
        cot_real x[SIZE];
        cot_target target;
        cot_dataset_get(dataset, COT_SPLIT_TEST, 0, i, x, &target);
        double squares = 0.0;
        for (int j = 0; j < SIZE; j++) squares += (double)x[j] * (double)x[j];
        /* One rounding to cot_real. */
        assert_close_double((double)target.value, sqrt(squares), COT_REAL_EPSILON, 0);
    }
    cot_dataset_destroy(&dataset);
}

/* Is sample i of one split and epoch the same as sample j of another? */
static int same(cot_dataset *dataset, cot_split split, uint64_t epoch, size_t i, cot_split other,
                uint64_t other_epoch, size_t j)
{
    cot_real a[SIZE];
    cot_real b[SIZE];
    cot_target target;
    cot_dataset_get(dataset, split, epoch, i, a, &target);
    cot_dataset_get(dataset, other, other_epoch, j, b, &target);
    return memcmp(a, b, sizeof a) == 0;
}

static void test_only_training_samples_change_with_the_epoch(void **state)
{
    (void)state;
    const cot_split train = COT_SPLIT_TRAIN;
    const cot_split validation = COT_SPLIT_VALIDATION;
    const cot_split test = COT_SPLIT_TEST;
    cot_dataset *dataset = create();
    assert_true(same(dataset, train, 2, 7, train, 2, 7));
    assert_false(same(dataset, train, 2, 7, train, 3, 7));
    assert_false(same(dataset, train, 2, 7, train, 2, 8));
    assert_true(same(dataset, test, 0, 7, test, 5, 7));
    assert_true(same(dataset, validation, 0, 7, validation, 5, 7));
    /* No split meets another, in any epoch. */
    for (uint64_t epoch = 0; epoch < 6; epoch++) {
        assert_false(same(dataset, train, epoch, 7, test, 0, 7));
        assert_false(same(dataset, train, epoch, 7, validation, 0, 7));
    }
    assert_false(same(dataset, validation, 0, 7, test, 0, 7));
    cot_dataset_destroy(&dataset);
}

static void test_moments(void **state)
{
    (void)state;
    cot_dataset *dataset = create();
    cot_data_summary summary;
    cot_data_summarize(dataset, &summary);
    const cot_split_summary *split = &summary.splits[COT_SPLIT_TEST];
    /* Five standard errors of 64,000 values of N(0,1). */
    double error = 5.0 / sqrt((double)COUNT * SIZE);
    assert_close_double(split->values.mean, 0.0, 0, error);
    assert_close_double(split->values.deviation, 1.0, 0, error);
    /* The chi distribution with 32 degrees of freedom: mean 5.613, deviation 0.7043. */
    assert_close_double(split->target.mean, 5.613, 0, 5 * 0.7043 / sqrt(COUNT));
    assert_close_double(split->target.deviation, 0.7043, 0, 5 * 0.7043 / sqrt(2.0 * COUNT));
    cot_data_summary_free(&summary);
    cot_dataset_destroy(&dataset);
}

static void test_impossible_options_are_refused(void **state)
{
    (void)state;
    cot_dataset *dataset = NULL;
    cot_dataset_options options = l2norm_options();
    options.tokens = 0;
    assert_failure(cot_dataset_create(&options, &dataset), COT_E_CONFIG, "data.tokens");
    options = l2norm_options();
    options.width = 0;
    assert_failure(cot_dataset_create(&options, &dataset), COT_E_CONFIG, "data.width");
    options = l2norm_options();
    options.test_samples = 0;
    assert_failure(cot_dataset_create(&options, &dataset), COT_E_CONFIG, "data.test_samples");
}

static void test_checksum_tells_shapes_apart(void **state)
{
    (void)state;
    cot_dataset *dataset = create();
    uint64_t checksum = cot_dataset_info_of(dataset)->checksum;
    cot_dataset_destroy(&dataset);
    cot_dataset_options options = l2norm_options();
    options.tokens = WIDTH;
    options.width = TOKENS;
    assert_int_equal(cot_dataset_create(&options, &dataset), COT_OK);
    assert_true(cot_dataset_info_of(dataset)->checksum != checksum);
    cot_dataset_destroy(&dataset);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_shape),
    cmocka_unit_test(test_target_is_the_norm),
    cmocka_unit_test(test_only_training_samples_change_with_the_epoch),
    cmocka_unit_test(test_moments),
    cmocka_unit_test(test_impossible_options_are_refused),
    cmocka_unit_test(test_checksum_tells_shapes_apart),
};
RUN_UNIT_TESTS(tests)
