#include "special/entropy.h"
#include "support/test.h"

#include <coterie/rng.h>

#include <math.h>

enum { ROWS = 7, COLS = 37 };

/* -w ln w in long arithmetic. */
static double term(cot_real w)
{
    return w > 0 ? (double)(-(long double)w * logl((long double)w)) : 0;
}

/* A term is off by some halves of a unit in its last place, and a sum of n of them by n roundings
 * at the most. */
static double tolerance(size_t n)
{
    return (double)n * 2 * (double)COT_REAL_EPSILON;
}

static void agrees_with_the_logarithm(void **state)
{
    (void)state;
    cot_real scratch[1];
    for (int power = 0; power > -126; power--)
        for (int i = 0; i < 64; i++) {
            cot_real w = (cot_real)ldexp(1 + i / 64.0, power - 1);
            double entropy = 0;
            cot_entropy_cols(1, 1, &w, &entropy);
            assert_close_double(entropy, term(w), 2 * (double)COT_REAL_EPSILON, 0);
            assert_close_double(cot_entropy_rows(1, 1, &w, scratch), entropy, 0, 0);
        }
}

static void sums_rows_and_columns(void **state)
{
    (void)state;
    cot_real w[ROWS * COLS];
    cot_real scratch[COLS];
    double cols[COLS];
    double want[COLS] = {0};
    double total = 0;
    cot_stream stream = {.seed = 3, .purpose = COT_PURPOSE_TEST};
    cot_rng_uniform(&stream, 0, ROWS * COLS, 0, 1, w);
    for (size_t i = 0; i < ROWS * COLS; i += 5) w[i] = 0;
    for (size_t i = 0; i < ROWS * COLS; i++) {
        want[i % COLS] += term(w[i]);
        total += term(w[i]);
    }
    cot_entropy_cols(ROWS, COLS, w, cols);
    for (size_t j = 0; j < COLS; j++) assert_close_double(cols[j], want[j], 0, tolerance(ROWS));
    assert_close_double(cot_entropy_rows(ROWS, COLS, w, scratch), total, 0,
                        tolerance((size_t)ROWS * COLS));
}

static void of_one_weight_and_of_equal_ones(void **state)
{
    (void)state;
    const cot_real one[] = {0, 0, 1, 0};
    const cot_real equal[] = {0.25, 0.25, 0.25, 0.25};
    cot_real scratch[4];
    double entropy = NAN;
    assert_true(cot_entropy_rows(1, 4, one, scratch) == 0);
    cot_entropy_cols(4, 1, one, &entropy);
    assert_true(entropy == 0);
    assert_close_double(cot_entropy_rows(1, 4, equal, scratch), log(4), tolerance(4), 0);
    cot_entropy_cols(4, 1, equal, &entropy);
    assert_close_double(entropy, log(4), tolerance(4), 0);
}

static void nan_shows(void **state)
{
    (void)state;
    const cot_real w[] = {0.5, NAN, 0.5, 0.5};
    cot_real scratch[2];
    double cols[2];
    assert_true(isnan(cot_entropy_rows(2, 2, w, scratch)));
    cot_entropy_cols(2, 2, w, cols);
    assert_false(isnan(cols[0]));
    assert_true(isnan(cols[1]));
}

/* Elements round alike wherever they stand in a vector. */
static void position_does_not_matter(void **state)
{
    (void)state;
    cot_real w[COLS];
    double cols[COLS];
    cot_stream stream = {.seed = 4, .purpose = COT_PURPOSE_TEST};
    cot_rng_uniform(&stream, 0, COLS, 0, 1, w);
    cot_entropy_cols(1, COLS, w, cols);
    for (size_t offset = 0; offset < COLS; offset++) {
        double shifted[COLS];
        cot_entropy_cols(1, COLS - offset, w + offset, shifted);
        for (size_t j = 0; j < COLS - offset; j++)
            assert_memory_equal(shifted + j, cols + offset + j, sizeof *cols);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(agrees_with_the_logarithm),       cmocka_unit_test(sums_rows_and_columns),
    cmocka_unit_test(of_one_weight_and_of_equal_ones), cmocka_unit_test(nan_shows),
    cmocka_unit_test(position_does_not_matter),
};

RUN_UNIT_TESTS(tests)
