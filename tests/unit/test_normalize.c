#include "support/numbers.h"
#include "support/test.h"

#include <coterie/normalize.h>

#include <math.h>
#include <string.h>

enum { ROWS = 9, COLS = 21, SIZE = ROWS * COLS };

static double factor_of(cot_l2 form, double squares)
{
    return form == COT_L2_SUM ? 1 / sqrt(squares + 1e-6) : 1 / fmax(sqrt(squares), 1e-12);
}

/* The squares' sum rounds at most n times (n of them one by one), half of which its root passes on;
 * root, quotient and product are three roundings more. */
static const double tolerance = COT_REAL_EPSILON * (COLS / 4.0 + 2);

static void rows_and_columns_follow_the_formula(void **state)
{
    (void)state;
    cot_real x[SIZE];
    cot_real y[SIZE];
    cot_real want[SIZE];
    cot_real inverse[COLS];
    for (int form = COT_L2_MAX; form <= COT_L2_SUM; form++)
        for (int small = 0; small < 2; small++) {
            draw_normal(1, SIZE, x);
            /* So small that the epsilon of COT_L2_SUM counts. */
            for (size_t i = 0; i < SIZE; i++) x[i] *= small ? (cot_real)1e-4 : 1;
            for (size_t i = 0; i < ROWS; i++) {
                double squares = 0;
                for (size_t j = 0; j < COLS; j++) squares += pow((double)x[i * COLS + j], 2);
                for (size_t j = 0; j < COLS; j++)
                    want[i * COLS + j] =
                        (cot_real)((double)x[i * COLS + j] * factor_of((cot_l2)form, squares));
            }
            cot_normalize_rows((cot_l2)form, ROWS, COLS, x, y, inverse);
            assert_close(y, want, SIZE, tolerance, 0);
            for (size_t j = 0; j < COLS; j++) {
                double squares = 0;
                for (size_t i = 0; i < ROWS; i++) squares += pow((double)x[i * COLS + j], 2);
                for (size_t i = 0; i < ROWS; i++)
                    want[i * COLS + j] =
                        (cot_real)((double)x[i * COLS + j] * factor_of((cot_l2)form, squares));
            }
            cot_normalize_cols((cot_l2)form, ROWS, COLS, x, y, inverse);
            assert_close(y, want, SIZE, tolerance, 0);
        }
}

static void zero_becomes_zero(void **state)
{
    (void)state;
    for (int form = COT_L2_MAX; form <= COT_L2_SUM; form++) {
        cot_real x[SIZE] = {0};
        cot_real y[SIZE];
        cot_real dy[SIZE];
        cot_real dx[SIZE] = {0};
        cot_real inverse[COLS];
        cot_real scratch[COLS];
        const cot_real zeros[SIZE] = {0};
        draw_normal(2, SIZE, dy);
        draw_normal(3, SIZE, y);
        cot_normalize_rows((cot_l2)form, ROWS, COLS, x, y, inverse);
        assert_close(y, zeros, SIZE, 0, 0);
        cot_normalize_rows_backward((cot_l2)form, ROWS, COLS, y, inverse, dy, dx);
        assert_close(dx, zeros, SIZE, 0, 0);
        draw_normal(3, SIZE, y);
        cot_normalize_cols((cot_l2)form, ROWS, COLS, x, y, inverse);
        assert_close(y, zeros, SIZE, 0, 0);
        cot_normalize_cols_backward((cot_l2)form, ROWS, COLS, y, inverse, dy, dx, scratch);
        assert_close(dx, zeros, SIZE, 0, 0);
    }
}

/* |v| < 1e-12: COT_L2_MAX divides by 1e-12. */
static void tiny_vectors_are_scaled_alike(void **state)
{
    (void)state;
    cot_real x[2] = {(cot_real)3e-14, (cot_real)-4e-14};
    const cot_real want[2] = {(cot_real)3e-2, (cot_real)-4e-2};
    cot_real y[2];
    cot_real inverse[2];
    cot_normalize_rows(COT_L2_MAX, 1, 2, x, y, inverse);
    assert_close(y, want, 2, 2 * COT_REAL_EPSILON, 0);
    cot_normalize_cols(COT_L2_MAX, 2, 1, x, y, inverse);
    assert_close(y, want, 2, 2 * COT_REAL_EPSILON, 0);
}

static void rows_and_columns_at_any_position(void **state)
{
    (void)state;
    cot_real x[SIZE];
    cot_real by_rows[SIZE];
    cot_real by_cols[SIZE];
    cot_real inverse[COLS];
    cot_real memory[SIZE + MOST_OFFSET];
    draw_normal(4, SIZE, x);
    cot_normalize_rows(COT_L2_MAX, ROWS, COLS, x, by_rows, inverse);
    cot_normalize_cols(COT_L2_MAX, ROWS, COLS, x, by_cols, inverse);
    for (size_t offset = 0; offset <= MOST_OFFSET; offset++) {
        cot_real *there = memory + offset;
        memcpy(there, x, sizeof x);
        cot_normalize_rows(COT_L2_MAX, ROWS, COLS, there, there, inverse);
        assert_same_bits(there, by_rows, SIZE);
        memcpy(there, x, sizeof x);
        cot_normalize_cols(COT_L2_MAX, ROWS, COLS, there, there, inverse);
        assert_same_bits(there, by_cols, SIZE);
        memcpy(there, x + 5 * COLS, COLS * sizeof *x);
        cot_normalize_rows(COT_L2_MAX, 1, COLS, there, there, inverse);
        assert_same_bits(there, by_rows + 5 * COLS, COLS);
    }
    for (size_t j = 0; j < COLS; j++) {
        cot_real column[ROWS];
        for (size_t i = 0; i < ROWS; i++) column[i] = x[i * COLS + j];
        cot_normalize_cols(COT_L2_MAX, ROWS, 1, column, column, inverse);
        for (size_t i = 0; i < ROWS; i++) assert_same_bits(column + i, by_cols + i * COLS + j, 1);
    }
}

static void not_a_number_shows(void **state)
{
    (void)state;
    cot_real x[SIZE];
    cot_real y[SIZE];
    cot_real inverse[COLS];
    for (int form = COT_L2_MAX; form <= COT_L2_SUM; form++) {
        draw_normal(5, SIZE, x);
        x[2 * COLS + 3] = (cot_real)NAN;
        cot_normalize_rows((cot_l2)form, ROWS, COLS, x, y, inverse);
        for (size_t i = 0; i < SIZE; i++) assert_int_equal(isnan(y[i]) != 0, i / COLS == 2);
        cot_normalize_cols((cot_l2)form, ROWS, COLS, x, y, inverse);
        for (size_t i = 0; i < SIZE; i++) assert_int_equal(isnan(y[i]) != 0, i % COLS == 3);
    }
}

/* A finite vector whose squares overflow has no norm here; 0 would hide that it diverged. */
static void overflow_shows(void **state)
{
    (void)state;
    const cot_real large = sizeof(cot_real) == sizeof(float) ? (cot_real)1e30 : (cot_real)1e200;
    cot_real x[2] = {large, 1};
    cot_real y[2];
    cot_real inverse[2];
    for (int form = COT_L2_MAX; form <= COT_L2_SUM; form++) {
        cot_normalize_rows((cot_l2)form, 1, 2, x, y, inverse);
        assert_true(isnan(y[0]) && isnan(y[1]));
        cot_normalize_cols((cot_l2)form, 1, 2, x, y, inverse);
        assert_true(isnan(y[0]) && !isnan(y[1]));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_and_columns_follow_the_formula),
    cmocka_unit_test(zero_becomes_zero),
    cmocka_unit_test(tiny_vectors_are_scaled_alike),
    cmocka_unit_test(rows_and_columns_at_any_position),
    cmocka_unit_test(not_a_number_shows),
    cmocka_unit_test(overflow_shows),
};

RUN_UNIT_TESTS(tests)
