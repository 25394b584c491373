/* The built-in digits: pure functions of (seed, split, index), balanced, the same everywhere. */
#include "data/checksum.h"
#include "data/glyph.h"
#include "support/test.h"

#include <coterie/dataset.h>
#include <coterie/status.h>

#include <stdlib.h>
#include <string.h>

enum { COUNT = 200 };

static cot_dataset *create(uint64_t seed)
{
    cot_dataset_options options = {.source = COT_DATA_GLYPHS,
                                   .path = "",
                                   .seed = seed,
                                   .train_samples = COUNT,
                                   .test_samples = COUNT,
                                   .mean = 0.0,
                                   .deviation = 1.0};
    cot_dataset *dataset = NULL;
    assert_int_equal(cot_dataset_create(&options, &dataset), COT_OK);
    return dataset;
}

static void test_every_stroke_is_well_formed(void **state)
{
    (void)state;
    for (size_t d = 0; d < COT_GLYPH_DIGITS; d++) {
        const cot_glyph_digit *digit = &cot_glyph_digits[d];
        assert_in_range(digit->count, 1, COT_GLYPH_MAX_FORMS);
        for (size_t f = 0; f < digit->count; f++) {
            const cot_glyph_form *form = &digit->forms[f];
            assert_in_range(form->count, 1, COT_GLYPH_MAX_STROKES);
            for (size_t s = 0; s < form->count; s++) {
                const cot_glyph_stroke *stroke = &form->strokes[s];
                assert_in_range(stroke->count, 2, COT_GLYPH_MAX_POINTS);
                for (size_t i = 0; i < stroke->count; i++) {
                    assert_true(abs(stroke->points[i].x) <= 60);
                    assert_true(abs(stroke->points[i].y) <= 100);
                }
            }
        }
    }
}

/* Counts that do not match the tables would draw strokes to the box's middle (zeros). */
static void test_no_stroke_repeats_a_point(void **state)
{
    (void)state;
    for (size_t d = 0; d < COT_GLYPH_DIGITS; d++)
        for (size_t f = 0; f < cot_glyph_digits[d].count; f++)
            for (size_t s = 0; s < cot_glyph_digits[d].forms[f].count; s++) {
                const cot_glyph_stroke *stroke = &cot_glyph_digits[d].forms[f].strokes[s];
                for (size_t i = 1; i < stroke->count; i++)
                    assert_memory_not_equal(&stroke->points[i], &stroke->points[i - 1],
                                            sizeof stroke->points[i]);
                cot_glyph_knot unused[COT_GLYPH_MAX_POINTS] = {{0, 0}};
                assert_memory_equal(&stroke->points[stroke->count], unused,
                                    (COT_GLYPH_MAX_POINTS - stroke->count) * sizeof unused[0]);
            }
}

static void test_a_sample_depends_on_nothing_but_its_place(void **state)
{
    (void)state;
    cot_dataset *forward = create(1);
    cot_dataset *backward = create(1);
    static cot_real seen[COUNT][COT_GLYPH_PIXELS];
    int labels[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        cot_target target;
        cot_dataset_get(forward, COT_SPLIT_TRAIN, 0, i, seen[i], &target);
        labels[i] = target.label;
    }
    for (size_t i = COUNT; i-- > 0;) {
        cot_real x[COT_GLYPH_PIXELS];
        cot_target target;
        cot_dataset_get(backward, COT_SPLIT_TEST, 0, i, x, &target);
        /* Twice, in other epochs: the kept copy is the drawn one. */
        for (uint64_t epoch = 3; epoch < 5; epoch++) {
            cot_dataset_get(backward, COT_SPLIT_TRAIN, epoch, i, x, &target);
            assert_memory_equal(x, seen[i], sizeof x);
            assert_int_equal(target.label, labels[i]);
        }
    }
    cot_dataset_destroy(&forward);
    cot_dataset_destroy(&backward);
}

static size_t count_different(cot_dataset *a, cot_split split_a, cot_dataset *b, cot_split split_b)
{
    size_t different = 0;
    for (size_t i = 0; i < COUNT; i++) {
        cot_real of_a[COT_GLYPH_PIXELS];
        cot_real of_b[COT_GLYPH_PIXELS];
        cot_target target;
        cot_dataset_get(a, split_a, 0, i, of_a, &target);
        cot_dataset_get(b, split_b, 0, i, of_b, &target);
        different += memcmp(of_a, of_b, sizeof of_a) != 0;
    }
    return different;
}

static void test_seeds_and_splits_differ(void **state)
{
    (void)state;
    cot_dataset *one = create(1);
    cot_dataset *two = create(2);
    assert_int_equal(count_different(one, COT_SPLIT_TRAIN, two, COT_SPLIT_TRAIN), COUNT);
    assert_int_equal(count_different(one, COT_SPLIT_TRAIN, one, COT_SPLIT_TEST), COUNT);
    assert_true(cot_dataset_info_of(one)->checksum != cot_dataset_info_of(two)->checksum);
    cot_dataset_destroy(&one);
    cot_dataset_destroy(&two);
}

static void test_classes_are_balanced(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    size_t histogram[COT_GLYPH_DIGITS] = {0};
    uint8_t pixels[COT_GLYPH_PIXELS];
    for (uint64_t i = 0; i < MANY; i++) {
        cot_stream stream = {3, i, COT_SPLIT_TRAIN, COT_PURPOSE_GLYPHS};
        int label = cot_glyph_draw(&stream, pixels);
        assert_in_range(label, 0, COT_GLYPH_DIGITS - 1);
        histogram[label]++;
    }
    /* 1000 each with a standard deviation of 30: five of them are allowed. */
    for (int d = 0; d < COT_GLYPH_DIGITS; d++) assert_in_range(histogram[d], 850, 1150);
}

static void test_a_glyph_has_ink_in_the_middle_and_paper_around(void **state)
{
    (void)state;
    double border = 0.0;
    double ink = 0.0;
    for (uint64_t i = 0; i < COUNT; i++) {
        uint8_t pixels[COT_GLYPH_PIXELS];
        cot_stream stream = {4, i, COT_SPLIT_TRAIN, COT_PURPOSE_GLYPHS};
        cot_glyph_draw(&stream, pixels);
        int brightest = 0;
        for (int j = 0; j < COT_GLYPH_PIXELS; j++) {
            if (pixels[j] > brightest) brightest = pixels[j];
            ink += pixels[j];
            if (j % COT_GLYPH_SIDE == 0) border += pixels[j];
        }
        /* The faintest ink is 0.7, its pen at least half a pixel wide. */
        assert_true(brightest > 100);
    }
    ink /= COUNT * (double)COT_GLYPH_PIXELS;
    border /= COUNT * (double)COT_GLYPH_SIDE;
    /* Seen: 29 of 255 overall and 7, all noise, at the left edge. */
    assert_true(ink > 20 && ink < 40);
    assert_true(border < ink / 2);
}

/* Bytes drawn by version 1 on x86-64 with gcc 12, seed 1: any machine, compiler and precision must
 * draw the same. */
static void test_bytes_are_the_same_everywhere(void **state)
{
    (void)state;
    uint64_t hash = cot_hash("glyphs");
    for (uint64_t i = 0; i < COUNT; i++) {
        uint8_t pixels[COT_GLYPH_PIXELS];
        cot_stream stream = {1, i, COT_SPLIT_TRAIN, COT_PURPOSE_GLYPHS};
        uint8_t label = (uint8_t)cot_glyph_draw(&stream, pixels);
        hash = cot_checksum_bytes(hash, pixels, sizeof pixels);
        hash = cot_checksum_bytes(hash, &label, 1);
    }
    assert_int_equal(hash, 0xbbb74b44905aa27a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_every_stroke_is_well_formed),
    cmocka_unit_test(test_no_stroke_repeats_a_point),
    cmocka_unit_test(test_a_sample_depends_on_nothing_but_its_place),
    cmocka_unit_test(test_seeds_and_splits_differ),
    cmocka_unit_test(test_classes_are_balanced),
    cmocka_unit_test(test_a_glyph_has_ink_in_the_middle_and_paper_around),
    cmocka_unit_test(test_bytes_are_the_same_everywhere),
};
RUN_UNIT_TESTS(tests)
