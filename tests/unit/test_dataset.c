/* The interface of data sets: normalization, splits, and options that cannot be. */
#include "support/test.h"

#include <coterie/data_summary.h>
#include <coterie/dataset.h>
#include <coterie/status.h>

#include <math.h>
#include <string.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE };

static cot_dataset_options glyph_options(void)
{
    return (cot_dataset_options){.source = COT_DATA_GLYPHS,
                                 .path = "",
                                 .seed = 5,
                                 .train_samples = 30,
                                 .test_samples = 20,
                                 .mean = 0.0,
                                 .deviation = 1.0};
}

static cot_dataset *create(const cot_dataset_options *options)
{
    cot_dataset *dataset = NULL;
    assert_int_equal(cot_dataset_create(options, &dataset), COT_OK);
    return dataset;
}

static void assert_refused(const cot_dataset_options *options, const char *text)
{
    cot_dataset *dataset = NULL;
    assert_failure(cot_dataset_create(options, &dataset), COT_E_CONFIG, text);
    assert_null(dataset);
}

static void test_pixels_are_normalized(void **state)
{
    (void)state;
    cot_dataset_options raw_options = glyph_options();
    cot_dataset_options options = raw_options;
    options.mean = 0.25;
    options.deviation = 0.5;
    cot_dataset *raw = create(&raw_options);
    cot_dataset *normalized = create(&options);
    cot_real pixels[PIXELS];
    cot_real x[PIXELS];
    cot_real expected[PIXELS];
    cot_target target;
    cot_dataset_get(raw, COT_SPLIT_TRAIN, 0, 3, pixels, &target);
    cot_dataset_get(normalized, COT_SPLIT_TRAIN, 0, 3, x, &target);
    for (int i = 0; i < PIXELS; i++) {
        assert_true(pixels[i] >= 0 && pixels[i] <= 1);
        expected[i] = (pixels[i] - (cot_real)0.25) / (cot_real)0.5;
    }
    /* Each side rounds twice, on values up to 1.5. */
    assert_close(x, expected, PIXELS, 4 * COT_REAL_EPSILON, 4 * COT_REAL_EPSILON);
    cot_dataset_destroy(&raw);
    cot_dataset_destroy(&normalized);
    assert_null(raw);
}

static void test_validation_is_the_end_of_the_training_data(void **state)
{
    (void)state;
    cot_dataset_options whole_options = glyph_options();
    cot_dataset_options cut_options = whole_options;
    cut_options.validation = 7;
    cot_dataset *whole = create(&whole_options);
    cot_dataset *cut = create(&cut_options);
    const cot_dataset_info *info = cot_dataset_info_of(cut);
    assert_int_equal(info->samples[COT_SPLIT_TRAIN], 23);
    assert_int_equal(info->samples[COT_SPLIT_VALIDATION], 7);
    assert_int_equal(info->samples[COT_SPLIT_TEST], 20);
    assert_true(info->checksum != cot_dataset_info_of(whole)->checksum);
    for (size_t i = 0; i < 30; i++) {
        cot_real a[PIXELS];
        cot_real b[PIXELS];
        cot_target of_a;
        cot_target of_b;
        cot_dataset_get(whole, COT_SPLIT_TRAIN, 0, i, a, &of_a);
        cot_split split = i < 23 ? COT_SPLIT_TRAIN : COT_SPLIT_VALIDATION;
        cot_dataset_get(cut, split, 0, i < 23 ? i : i - 23, b, &of_b);
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(of_a.label, of_b.label);
    }
    cot_dataset_destroy(&whole);
    cot_dataset_destroy(&cut);
}

static void test_impossible_options_are_refused(void **state)
{
    (void)state;
    cot_dataset_options options = glyph_options();
    options.train_samples = 0;
    assert_refused(&options, "data.train_samples: 0");
    options = glyph_options();
    options.test_samples = 0;
    assert_refused(&options, "data.test_samples: 0");
    options = glyph_options();
    options.train_samples = (size_t)1 << 32;
    assert_refused(&options, "data.train_samples");
    options = glyph_options();
    options.validation = 30;
    assert_refused(&options, "data.validation: 30 of 30");
    options = glyph_options();
    options.deviation = 0.0;
    assert_refused(&options, "data.deviation");
    options.deviation = (double)NAN;
    assert_refused(&options, "data.deviation");
    options = glyph_options();
    options.mean = (double)INFINITY;
    assert_refused(&options, "data.mean");
}

static void test_summary_counts_what_get_returns(void **state)
{
    (void)state;
    cot_dataset_options options = glyph_options();
    /* Normalization must not show in the summary. */
    options.mean = 0.5;
    options.deviation = 3.0;
    options.validation = 10;
    cot_dataset *dataset = create(&options);
    cot_data_summary summary;
    cot_data_summarize(dataset, &summary);
    assert_int_equal(summary.classes, 10);
    double sum = 0.0;
    double squares = 0.0;
    size_t histogram[10] = {0};
    for (size_t i = 0; i < 20; i++) {
        cot_real x[PIXELS];
        cot_target target;
        cot_dataset_get(dataset, COT_SPLIT_TRAIN, 0, i, x, &target);
        histogram[target.label]++;
        for (int j = 0; j < PIXELS; j++) {
            double pixel = (double)x[j] * 3.0 + 0.5;
            sum += pixel;
            squares += pixel * pixel;
        }
    }
    double count = 20.0 * PIXELS;
    double mean = sum / count;
    const cot_split_summary *train = &summary.splits[COT_SPLIT_TRAIN];
    assert_int_equal(train->samples, 20);
    assert_memory_equal(train->histogram, histogram, sizeof histogram);
    /* Every pixel was rounded once to a float below 1. */
    assert_close_double(train->values.mean, mean, 0, 4 * FLT_EPSILON);
    assert_close_double(train->values.deviation, sqrt(squares / count - mean * mean), 0,
                        16 * FLT_EPSILON);
    assert_int_equal(summary.splits[COT_SPLIT_VALIDATION].samples, 10);
    cot_data_summary_free(&summary);
    cot_dataset_destroy(&dataset);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(cot_split_name(COT_SPLIT_VALIDATION), "validation");
    assert_string_equal(cot_data_source_name(COT_DATA_GLYPHS), "glyphs");
    assert_string_equal(cot_data_source_name(COT_DATA_IDX), "idx");
    assert_string_equal(cot_data_source_name(COT_DATA_L2NORM), "l2norm");
    assert_null(cot_data_source_name((cot_data_source)(COT_DATA_L2NORM + 1)));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_pixels_are_normalized),
    cmocka_unit_test(test_validation_is_the_end_of_the_training_data),
    cmocka_unit_test(test_impossible_options_are_refused),
    cmocka_unit_test(test_summary_counts_what_get_returns),
    cmocka_unit_test(test_names),
};
RUN_UNIT_TESTS(tests)
