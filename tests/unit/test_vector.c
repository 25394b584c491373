#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

static const cot_real alpha = (cot_real)-1.7;

static void add_scaled(size_t n, const cot_real *x, cot_real *y)
{
    cot_add_scaled(n, alpha, x, y);
}

static void scale(size_t n, const cot_real *x, cot_real *y)
{
    cot_scale(n, alpha, x, y);
}

static void scale_in_place(size_t n, const cot_real *x, cot_real *y)
{
    (void)x;
    cot_scale(n, alpha, y, y);
}

static void elements_at_any_position(void **state)
{
    (void)state;
    cot_real x[POSITIONS];
    cot_real y[POSITIONS];
    draw_normal(1, POSITIONS, x);
    draw_normal(2, POSITIONS, y);
    assert_same_at_any_position(cot_add, x, y);
    assert_same_at_any_position(add_scaled, x, y);
    assert_same_at_any_position(scale, x, y);
    assert_same_at_any_position(scale_in_place, x, y);
}

static void elementwise_values(void **state)
{
    (void)state;
    cot_real x[3] = {1, -2, (cot_real)0.5};
    cot_real y[3] = {10, 20, 30};
    cot_add(3, x, y);
    assert_same_bits(y, (cot_real[]){11, 18, (cot_real)30.5}, 3);
    cot_add_scaled(3, 2, x, y);
    assert_same_bits(y, (cot_real[]){13, 14, (cot_real)31.5}, 3);
    cot_scale(3, -4, x, y);
    assert_same_bits(y, (cot_real[]){-4, 8, -2}, 3);
    cot_scale(3, 2, y, y);
    assert_same_bits(y, (cot_real[]){-8, 16, -4}, 3);
    cot_fill(2, 5, y);
    assert_same_bits(y, (cot_real[]){5, 5, -4}, 3);
}

/* The documented order, written out: element i adds to partial sum i mod COT_LANES, then halves add
 * up. */
static cot_real sum_in_lanes(size_t n, const cot_real *terms)
{
    cot_real lanes[COT_LANES] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % COT_LANES] += terms[i];
    for (int half = COT_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

static void sums_at_any_address(void **state)
{
    (void)state;
    cot_real values[2 * POSITIONS];
    draw_normal(3, 2 * POSITIONS, values);
    cot_real memory[2][POSITIONS];
    for (size_t n = 0; n <= MOST_LENGTH; n++)
        for (size_t offset = 0; offset <= MOST_OFFSET; offset++) {
            cot_real *x = memory[0] + offset;
            cot_real *y = memory[1] + (offset * 5) % (MOST_OFFSET + 1);
            cot_real products[MOST_LENGTH];
            memcpy(x, values, n * sizeof *x);
            memcpy(y, values + POSITIONS, n * sizeof *y);
            for (size_t i = 0; i < n; i++) products[i] = x[i] * y[i];
            cot_real sum = cot_sum(n, x);
            cot_real dot = cot_dot(n, x, y);
            double dot_double = cot_dot_double(n, x, y);
            double dot_there = cot_dot_double(n, values, values + POSITIONS);
            cot_real want = sum_in_lanes(n, values);
            cot_real want_dot = sum_in_lanes(n, products);
            assert_same_bits(&sum, &want, 1);
            assert_same_bits(&dot, &want_dot, 1);
            assert_memory_equal(&dot_double, &dot_there, sizeof dot_double);
        }
}

/* An addend passes through at most ceil(n / COT_LANES) + 4 additions, and a product rounds once
 * more; each rounds by at most half an epsilon (Higham 2002, section 4.2). */
static void sums_are_accurate(void **state)
{
    (void)state;
    enum { N = 4099 };
    cot_real *x = cot_alloc(N, sizeof *x);
    cot_real *y = cot_alloc(N, sizeof *y);
    draw_normal(4, N, x);
    draw_normal(5, N, y);
    long double sum = 0;
    long double sizes = 0;
    long double dot = 0;
    long double dot_sizes = 0;
    for (size_t i = 0; i < N; i++) {
        sum += x[i];
        sizes += fabsl(x[i]);
        dot += (long double)x[i] * y[i];
        dot_sizes += fabsl((long double)x[i] * y[i]);
    }
    double roundings = ceil((double)N / COT_LANES) + 4 + 1;
    double half = (double)COT_REAL_EPSILON / 2;
    assert_close_double((double)cot_sum(N, x), (double)sum, 0, roundings * half * (double)sizes);
    assert_close_double((double)cot_dot(N, x, y), (double)dot, 0,
                        roundings * half * (double)dot_sizes);
    assert_close_double(cot_dot_double(N, x, y), (double)dot, 0,
                        roundings * DBL_EPSILON * (double)dot_sizes);
    cot_free(y);
    cot_free(x);
}

static void max_finds_the_largest_and_any_nan(void **state)
{
    (void)state;
    const cot_real inf = (cot_real)INFINITY;
    assert_true(cot_max(1, (cot_real[]){-3}) == -3);
    assert_true(cot_max(4, (cot_real[]){-3, 5, 2, 5}) == 5);
    assert_true(cot_max(3, (cot_real[]){-inf, -7, -inf}) == -7);
    assert_true(cot_max(3, (cot_real[]){1, inf, 2}) == inf);
    for (size_t n = 1; n <= 40; n++)
        for (size_t at = 0; at < n; at++) {
            cot_real x[40];
            for (size_t i = 0; i < n; i++) x[i] = i == at ? (cot_real)NAN : (cot_real)(i % 7);
            assert_true(isnan(cot_max(n, x)));
        }
}

static void rows(void **state)
{
    (void)state;
    enum { ROWS = 5, COLS = 3 };
    cot_real x[ROWS * COLS];
    draw_normal(6, ROWS * COLS, x);
    cot_real sums[COLS] = {1, 2, 3};
    cot_real want[COLS] = {1, 2, 3};
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLS; j++) want[j] += x[i * COLS + j];
    cot_add_rows(ROWS, COLS, x, sums);
    assert_same_bits(sums, want, COLS); /* the same order, so the same bits */

    cot_real y[ROWS * COLS];
    cot_real moved[ROWS * COLS];
    for (size_t i = 0; i < ROWS * COLS; i++) {
        y[i] = x[i];
        moved[i] = x[i] + want[i % COLS];
    }
    cot_add_to_rows(ROWS, COLS, want, y);
    assert_same_bits(y, moved, ROWS * COLS);
    cot_add_rows(0, COLS, x, sums);
    assert_same_bits(sums, want, COLS);
}

enum { MOST_ROWS = 19, BEFORE = 5, AROUND = (MOST_ROWS + 1) * (MOST_ROWS + 3) + 2 * BEFORE };

/* x^T of rows [rows,cols] that lie `ldx` apart, copied into y [cols,rows] or added to rows of y
 * that lie `ldy` apart; what lies around y and between its rows stays. */
static void check_transposed(size_t rows, size_t cols, bool adds, const cot_real *x,
                             const cot_real *before)
{
    const size_t ldx = adds ? cols : cols + 3;
    const size_t ldy = adds ? rows + 2 : rows;
    cot_real y[AROUND];
    cot_real want[AROUND];
    memcpy(y, before, sizeof y);
    memcpy(want, before, sizeof want);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            cot_real *to = want + BEFORE + j * ldy + i;
            *to = adds ? *to + x[i * ldx + j] : x[i * ldx + j];
        }
    if (adds)
        cot_add_transposed(rows, cols, x, y + BEFORE, ldy);
    else
        cot_copy_transposed(rows, cols, x, ldx, y + BEFORE);
    assert_same_bits(y, want, AROUND);
}

/* Squares of vectors and what is left beside them. */
static void transposes(void **state)
{
    (void)state;
    cot_real x[AROUND];
    cot_real before[AROUND];
    draw_normal(7, AROUND, x);
    draw_normal(8, AROUND, before);
    for (size_t rows = 0; rows <= MOST_ROWS; rows++)
        for (size_t cols = 0; cols <= MOST_ROWS; cols++) {
            check_transposed(rows, cols, false, x, before);
            check_transposed(rows, cols, true, x, before);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(elements_at_any_position),
    cmocka_unit_test(elementwise_values),
    cmocka_unit_test(sums_at_any_address),
    cmocka_unit_test(sums_are_accurate),
    cmocka_unit_test(max_finds_the_largest_and_any_nan),
    cmocka_unit_test(rows),
    cmocka_unit_test(transposes),
};

RUN_UNIT_TESTS(tests)
