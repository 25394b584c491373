/* precision: double. The gradients of math's functions against central differences. */
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/activation.h>
#include <coterie/loss.h>
#include <coterie/normalize.h>
#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

enum { ROWS = 5, COLS = 7, SIZE = ROWS * COLS };

/* y from x [ROWS,COLS], and dx += the gradient with respect to x of the sum of dy y. */
typedef struct function {
    void (*forward)(const cot_real *x, cot_real *y);
    void (*backward)(const cot_real *x, const cot_real *dy, cot_real *dx);
} function;

static double objective(const function *f, const cot_real *x, const cot_real *dy)
{
    cot_real y[SIZE];
    f->forward(x, y);
    return cot_dot(SIZE, y, dy);
}

/* The five-point difference is off by h^4 of the fifth derivative / 30 and by rounding, 1e-16 / h
 * of the objective: with h 1e-3 of x's size, by 1e-10 or less of the gradient's largest element. */
static void check_at(const function *f, cot_real *x, double size)
{
    const double h = 1e-3 * size;
    cot_real dy[SIZE];
    cot_real dx[SIZE];
    cot_real before[SIZE];
    draw_normal(100, SIZE, dy);
    draw_normal(101, SIZE, before);
    memcpy(dx, before, sizeof dx);
    f->backward(x, dy, dx);
    double largest = 0;
    for (size_t i = 0; i < SIZE; i++) largest = fmax(largest, fabs(dx[i] - before[i]));
    assert_true(largest > 0);
    for (size_t i = 0; i < SIZE; i++) {
        const cot_real at = x[i];
        double sums[4];
        const double steps[4] = {-2, -1, 1, 2};
        for (int k = 0; k < 4; k++) {
            x[i] = at + steps[k] * h;
            sums[k] = objective(f, x, dy);
        }
        x[i] = at;
        double numeric = (8 * (sums[2] - sums[1]) - (sums[3] - sums[0])) / (12 * h);
        assert_close_double(dx[i] - before[i], numeric, 0, 1e-8 * largest);
    }
}

static void check(const function *f)
{
    cot_real x[SIZE];
    draw_normal(102, SIZE, x);
    check_at(f, x, 1);
}

static void softmax_rows(const cot_real *x, cot_real *y)
{
    cot_softmax_rows(ROWS, COLS, x, y);
}

static void softmax_rows_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    cot_real y[SIZE];
    softmax_rows(x, y);
    cot_softmax_rows_backward(ROWS, COLS, y, dy, dx);
}

static void softmax_cols(const cot_real *x, cot_real *y)
{
    cot_real scratch[2 * COLS];
    cot_softmax_cols(ROWS, COLS, x, y, scratch);
}

static void softmax_cols_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    cot_real y[SIZE];
    cot_real scratch[COLS];
    softmax_cols(x, y);
    cot_softmax_cols_backward(ROWS, COLS, y, dy, dx, scratch);
}

static void softmax(void **state)
{
    (void)state;
    check(&(function){softmax_rows, softmax_rows_backward});
    check(&(function){softmax_cols, softmax_cols_backward});
}

static cot_l2 form; /* of the normalization at hand */

static void normalize_rows(const cot_real *x, cot_real *y)
{
    cot_real inverse[ROWS];
    cot_normalize_rows(form, ROWS, COLS, x, y, inverse);
}

static void normalize_rows_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    cot_real y[SIZE];
    cot_real inverse[ROWS];
    cot_normalize_rows(form, ROWS, COLS, x, y, inverse);
    cot_normalize_rows_backward(form, ROWS, COLS, y, inverse, dy, dx);
}

static void normalize_cols(const cot_real *x, cot_real *y)
{
    cot_real inverse[COLS];
    cot_normalize_cols(form, ROWS, COLS, x, y, inverse);
}

static void normalize_cols_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    cot_real y[SIZE];
    cot_real inverse[COLS];
    cot_real scratch[COLS];
    cot_normalize_cols(form, ROWS, COLS, x, y, inverse);
    cot_normalize_cols_backward(form, ROWS, COLS, y, inverse, dy, dx, scratch);
}

/* Vectors of ordinary size, so small that the 1e-6 of COT_L2_SUM rules, and so small that
 * COT_L2_MAX divides by 1e-12. */
static void normalize(void **state)
{
    (void)state;
    const double sizes[] = {1, 1e-4, 1e-14};
    for (int which = COT_L2_MAX; which <= COT_L2_SUM; which++)
        for (int i = 0; i < 3; i++) {
            cot_real x[SIZE];
            form = (cot_l2)which;
            draw_normal(103, SIZE, x);
            cot_scale(SIZE, sizes[i], x, x);
            check_at(&(function){normalize_rows, normalize_rows_backward}, x, sizes[i]);
            check_at(&(function){normalize_cols, normalize_cols_backward}, x, sizes[i]);
        }
}

/* dx += 0 where the vector is 0, and the other vectors are not disturbed. */
static void normalize_of_a_zero_vector(void **state)
{
    (void)state;
    for (int which = COT_L2_MAX; which <= COT_L2_SUM; which++) {
        cot_real x[SIZE];
        cot_real dy[SIZE];
        cot_real dx[SIZE];
        form = (cot_l2)which;
        draw_normal(104, SIZE, x);
        draw_normal(105, SIZE, dy);
        cot_fill(COLS, 0, x + 2 * COLS);
        cot_fill(SIZE, 3, dx);
        normalize_rows_backward(x, dy, dx);
        for (size_t i = 0; i < SIZE; i++) assert_int_equal(dx[i] == 3, i / COLS == 2);
        draw_normal(104, SIZE, x);
        for (size_t i = 0; i < ROWS; i++) x[i * COLS + 4] = 0;
        cot_fill(SIZE, 3, dx);
        normalize_cols_backward(x, dy, dx);
        for (size_t i = 0; i < SIZE; i++) assert_int_equal(dx[i] == 3, i % COLS == 4);
    }
}

static cot_activation kind; /* of the activation at hand */

static void activate(const cot_real *x, cot_real *y)
{
    cot_activate(kind, SIZE, x, y);
}

static void activate_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    cot_real gradient[SIZE];
    cot_activate_backward(kind, SIZE, x, dy, gradient);
    cot_add(SIZE, gradient, dx);
}

static void activations(void **state)
{
    (void)state;
    kind = COT_RELU; /* none of the numbers drawn is so near 0 that a step crosses it */
    check(&(function){activate, activate_backward});
    kind = COT_GELU;
    check(&(function){activate, activate_backward});
}

static double smoothing; /* of the loss at hand */

/* Every row is a sample; its loss stands in the first column, so dy's other columns count for
 * nothing. */
static void cross_entropy(const cot_real *x, cot_real *y)
{
    cot_fill(SIZE, 0, y);
    for (size_t i = 0; i < ROWS; i++)
        y[i * COLS] = cot_cross_entropy(COLS, x + i * COLS, i, smoothing, 1, NULL);
}

static void cross_entropy_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    for (size_t i = 0; i < ROWS; i++) {
        cot_real gradient[COLS];
        cot_cross_entropy(COLS, x + i * COLS, i, smoothing, dy[i * COLS], gradient);
        cot_add(COLS, gradient, dx + i * COLS);
    }
}

static void squared_error(const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < SIZE; i++) y[i] = cot_squared_error(x[i], 0.3, 1, NULL);
}

static void squared_error_backward(const cot_real *x, const cot_real *dy, cot_real *dx)
{
    for (size_t i = 0; i < SIZE; i++) {
        cot_real gradient;
        cot_squared_error(x[i], 0.3, dy[i], &gradient);
        dx[i] += gradient;
    }
}

static void losses(void **state)
{
    (void)state;
    const double smoothings[] = {0, 0.1, 1};
    for (int i = 0; i < 3; i++) {
        smoothing = smoothings[i];
        check(&(function){cross_entropy, cross_entropy_backward});
    }
    check(&(function){squared_error, squared_error_backward});
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(softmax),     cmocka_unit_test(normalize),
    cmocka_unit_test(activations), cmocka_unit_test(normalize_of_a_zero_vector),
    cmocka_unit_test(losses),
};

RUN_UNIT_TESTS(tests)
