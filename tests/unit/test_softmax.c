#include "support/numbers.h"
#include "support/test.h"

#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

enum { ROWS = 7, COLS = 37, SIZE = ROWS * COLS };

/* Units in the last place of `want`. */
static double ulps(float actual, double want)
{
    float near = (float)want;
    double unit = (double)nextafterf(near, INFINITY) - (double)near;
    return fabs((double)actual - want) / unit;
}

static double worst_ulps(uint32_t first, uint32_t last, uint32_t stride)
{
    double worst = 0;
    for (uint32_t bits = first; bits <= last; bits += stride) {
        float x;
        float y;
        memcpy(&x, &bits, sizeof x);
        cot_exp(1, &x, &y);
        worst = fmax(worst, ulps(y, exp((double)x)));
    }
    return worst;
}

/* Bit patterns of negative floats grow downwards from -0. */
static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void exp_within_two_ulps(void **state)
{
    (void)state;
    assert_true(worst_ulps(bits_of(-0.0f), bits_of(-87.0f), 1009) <= 2);
    /* Densely where k = round(x / ln 2) steps: the largest remainders. */
    for (int k = 0; k < 125; k += 4) {
        float step = -0.34657359f - (float)k * 0.69314718f;
        assert_true(worst_ulps(bits_of(step) - 2000, bits_of(step) + 2000, 1) <= 2);
    }
    assert_true(worst_ulps(bits_of(-87.0f) - 5000, bits_of(-87.0f), 1) <= 2);
}

static void exp_of_special_values(void **state)
{
    (void)state;
    const cot_real inf = (cot_real)INFINITY;
    cot_real x[] = {0, (cot_real)-0.0, -inf, (cot_real)NAN, -88, -1000, -FLT_MAX, -FLT_MIN};
    enum { N = sizeof x / sizeof x[0] };
    cot_real y[N];
    cot_exp(N, x, y);
    assert_same_bits(y, (cot_real[]){1, 1, 0}, 3);
    assert_true(isnan(y[3]));
    assert_same_bits(y + 4, (cot_real[]){0, 0, 0, 1}, 4);
    cot_exp(N, x, x);
    assert_memory_equal(x, y, sizeof x);
}

static void exp_at_any_position(void **state)
{
    (void)state;
    cot_real x[POSITIONS];
    cot_real y[POSITIONS] = {0};
    draw_normal(1, POSITIONS, x);
    for (size_t i = 0; i < POSITIONS; i++) x[i] = -(x[i] * x[i]) * (i % 3 == 0 ? 30 : 1);
    x[5] = (cot_real)-INFINITY;
    x[40] = -87;
    assert_same_at_any_position(cot_exp, x, y);
}

/* exp(x - max) is off by the rounding of x - max (|x - max| / 2 epsilons), by 2 ulps (2 epsilons),
 * and all of it again in the sum, which adds COLS / 16 + 4 roundings; 1/sum and the product are two
 * more. */
static double softmax_tolerance(double range)
{
    return COT_REAL_EPSILON * (range + 4 + (COLS / 16.0 + 5) / 2 + 1);
}

static void softmax_direct(size_t rows, size_t cols, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;
        double max = -INFINITY;
        for (size_t j = 0; j < cols; j++) max = fmax(max, (double)x[i * cols + j]);
        for (size_t j = 0; j < cols; j++) sum += exp((double)x[i * cols + j] - max);
        for (size_t j = 0; j < cols; j++)
            y[i * cols + j] = (cot_real)(exp((double)x[i * cols + j] - max) / sum);
    }
}

static void transpose(size_t rows, size_t cols, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) y[j * rows + i] = x[i * cols + j];
}

static void is_softmax(void **state)
{
    (void)state;
    cot_real x[SIZE];
    cot_real y[SIZE];
    cot_real want[SIZE];
    cot_real turned[SIZE];
    cot_real scratch[2 * ROWS];
    draw_normal(2, SIZE, x);
    double range = 10; /* between any two of these numbers */
    softmax_direct(ROWS, COLS, x, want);
    cot_softmax_rows(ROWS, COLS, x, y);
    assert_close(y, want, SIZE, softmax_tolerance(range), 0);

    transpose(ROWS, COLS, x, turned); /* [COLS,ROWS]: the same sums, now down the columns */
    cot_softmax_cols(COLS, ROWS, turned, turned, scratch);
    transpose(COLS, ROWS, turned, y);
    /* A column's sum adds COLS numbers one by one. */
    assert_close(y, want, SIZE, softmax_tolerance(range) + COLS / 2.0 * COT_REAL_EPSILON, 0);
}

static void sums_to_one_with_large_logits(void **state)
{
    (void)state;
    cot_real x[SIZE];
    cot_real y[SIZE];
    cot_real scratch[2 * COLS];
    draw_normal(3, SIZE, x);
    for (size_t i = 0; i < SIZE; i++) x[i] = x[i] * 1000 + (i % 2 == 0 ? 10000 : -10000);
    cot_softmax_rows(ROWS, COLS, x, y);
    for (size_t i = 0; i < ROWS; i++) {
        double sum = 0;
        for (size_t j = 0; j < COLS; j++) sum += (double)y[i * COLS + j];
        assert_close_double(sum, 1, softmax_tolerance(0), 0);
    }
    cot_softmax_cols(ROWS, COLS, x, y, scratch);
    for (size_t j = 0; j < COLS; j++) {
        double sum = 0;
        for (size_t i = 0; i < ROWS; i++) sum += (double)y[i * COLS + j];
        assert_close_double(sum, 1, softmax_tolerance(0), 0);
    }
}

/* Each part of a row: its largest number, exponentials and sum; the same bits alone. */
static void parts_of_rows(void **state)
{
    (void)state;
    enum { PARTS = 5 };
    const size_t begin[PARTS + 1] = {0, 4, 4, 20, 21, COLS};
    cot_real x[SIZE];
    cot_real e[SIZE];
    cot_real max[PARTS * ROWS];
    cot_real sum[PARTS * ROWS];
    draw_normal(3, SIZE, x);
    memcpy(e, x, sizeof e);
    cot_softmax_parts(ROWS, PARTS, begin, e, max, sum);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t p = 0; p < PARTS; p++) {
            const size_t n = begin[p + 1] - begin[p];
            const cot_real *part = x + i * COLS + begin[p];
            cot_real alone[COLS];
            cot_real most;
            cot_real total;
            double exact = 0;
            if (n == 0) continue;
            assert_true(max[p * ROWS + i] == cot_max(n, part));
            for (size_t j = 0; j < n; j++)
                exact += exp((double)part[j] - (double)max[p * ROWS + i]);
            assert_close_double((double)sum[p * ROWS + i], exact, softmax_tolerance(0), 0);
            memcpy(alone, part, n * sizeof *part);
            cot_softmax_parts(1, 1, (size_t[]){0, n}, alone, &most, &total);
            assert_same_bits(alone, e + i * COLS + begin[p], n);
            assert_true(most == max[p * ROWS + i] && total == sum[p * ROWS + i]);
        }
}

static void parts_show_what_is_no_number(void **state)
{
    (void)state;
    const cot_real bad[] = {(cot_real)NAN, (cot_real)INFINITY};
    const size_t begin[] = {0, 5, COLS};
    for (int kind = 0; kind < 2; kind++)
        for (size_t at = 0; at < COLS; at++) {
            cot_real x[COLS];
            cot_real max[2];
            cot_real sum[2];
            draw_normal(4, COLS, x);
            x[at] = bad[kind];
            cot_softmax_parts(1, 2, begin, x, max, sum);
            assert_true(isnan(x[at]));
            assert_int_equal(isnan(sum[0]) != 0, at < begin[1]);
            assert_int_equal(isnan(sum[1]) != 0, at >= begin[1]);
        }
}

/* A NaN or +Inf makes NaN of its whole row (column), and leaves the others alone; -Inf gets 0. */
static void not_a_number_shows(void **state)
{
    (void)state;
    const cot_real bad[] = {(cot_real)NAN, (cot_real)INFINITY};
    cot_real x[SIZE];
    cot_real y[SIZE];
    cot_real scratch[2 * COLS];
    for (int kind = 0; kind < 2; kind++)
        for (size_t at = 0; at < SIZE; at++) {
            draw_normal(4, SIZE, x);
            x[at] = bad[kind];
            cot_softmax_rows(ROWS, COLS, x, y);
            for (size_t i = 0; i < SIZE; i++)
                assert_int_equal(isnan(y[i]) != 0, i / COLS == at / COLS);
            cot_softmax_cols(ROWS, COLS, x, y, scratch);
            for (size_t i = 0; i < SIZE; i++)
                assert_int_equal(isnan(y[i]) != 0, i % COLS == at % COLS);
        }
    draw_normal(4, SIZE, x);
    x[3] = (cot_real)-INFINITY;
    cot_softmax_rows(ROWS, COLS, x, y);
    assert_true(y[3] == 0 && y[4] > 0);
    cot_softmax_cols(ROWS, COLS, x, y, scratch);
    assert_true(y[3] == 0 && y[4] > 0);
}

/* A row alone, and a column alone, get the bits that they get in the matrix, wherever it lies; in
 * place too. */
static void rows_and_columns_at_any_position(void **state)
{
    (void)state;
    cot_real x[SIZE];
    cot_real by_rows[SIZE];
    cot_real by_cols[SIZE];
    cot_real scratch[2 * COLS];
    cot_real memory[SIZE + MOST_OFFSET];
    draw_normal(5, SIZE, x);
    cot_softmax_rows(ROWS, COLS, x, by_rows);
    cot_softmax_cols(ROWS, COLS, x, by_cols, scratch);
    for (size_t offset = 0; offset <= MOST_OFFSET; offset++) {
        cot_real *there = memory + offset;
        memcpy(there, x, sizeof x);
        cot_softmax_rows(ROWS, COLS, there, there);
        assert_same_bits(there, by_rows, SIZE);
        memcpy(there, x, sizeof x);
        cot_softmax_cols(ROWS, COLS, there, there, scratch);
        assert_same_bits(there, by_cols, SIZE);
        memcpy(there, x + 3 * COLS, COLS * sizeof *x);
        cot_softmax_rows(1, COLS, there, there);
        assert_same_bits(there, by_rows + 3 * COLS, COLS);
    }
    for (size_t j = 0; j < COLS; j++) {
        cot_real column[ROWS];
        for (size_t i = 0; i < ROWS; i++) column[i] = x[i * COLS + j];
        cot_softmax_cols(ROWS, 1, column, column, scratch);
        for (size_t i = 0; i < ROWS; i++) assert_same_bits(column + i, by_cols + i * COLS + j, 1);
    }
}

static void backward_at_any_position(void **state)
{
    (void)state;
    cot_real y[SIZE];
    cot_real dy[SIZE];
    cot_real by_rows[SIZE];
    cot_real by_cols[SIZE];
    cot_real scratch[COLS];
    cot_real memory[3][SIZE + MOST_OFFSET];
    draw_normal(6, SIZE, y);
    draw_normal(7, SIZE, dy);
    draw_normal(8, SIZE, by_rows);
    memcpy(by_cols, by_rows, sizeof by_cols);
    cot_softmax_rows_backward(ROWS, COLS, y, dy, by_rows);
    cot_softmax_cols_backward(ROWS, COLS, y, dy, by_cols, scratch);
    for (size_t offset = 0; offset <= MOST_OFFSET; offset++) {
        cot_real *y_there = memory[0] + offset;
        cot_real *dy_there = memory[1] + (offset + 3) % MOST_OFFSET;
        cot_real *dx_there = memory[2] + (offset * 5) % MOST_OFFSET;
        memcpy(y_there, y, sizeof y);
        memcpy(dy_there, dy, sizeof dy);
        draw_normal(8, SIZE, dx_there);
        cot_softmax_rows_backward(ROWS, COLS, y_there, dy_there, dx_there);
        assert_same_bits(dx_there, by_rows, SIZE);
        draw_normal(8, SIZE, dx_there);
        cot_softmax_cols_backward(ROWS, COLS, y_there, dy_there, dx_there, scratch);
        assert_same_bits(dx_there, by_cols, SIZE);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(exp_within_two_ulps),
    cmocka_unit_test(exp_of_special_values),
    cmocka_unit_test(exp_at_any_position),
    cmocka_unit_test(is_softmax),
    cmocka_unit_test(sums_to_one_with_large_logits),
    cmocka_unit_test(parts_of_rows),
    cmocka_unit_test(parts_show_what_is_no_number),
    cmocka_unit_test(not_a_number_shows),
    cmocka_unit_test(rows_and_columns_at_any_position),
    cmocka_unit_test(backward_at_any_position),
};

RUN_UNIT_TESTS(tests)
