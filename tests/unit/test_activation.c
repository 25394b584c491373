#include "support/numbers.h"
#include "support/test.h"

#include <coterie/activation.h>

#include <math.h>
#include <string.h>

static cot_real inputs[POSITIONS]; /* of the backward kernels, whose y comes in as dy */

static void relu(size_t n, const cot_real *x, cot_real *y)
{
    cot_activate(COT_RELU, n, x, y);
}

static void gelu(size_t n, const cot_real *x, cot_real *y)
{
    cot_activate(COT_GELU, n, x, y);
}

static void relu_backward(size_t n, const cot_real *x, cot_real *y)
{
    cot_activate_backward(COT_RELU, n, x, y, y);
}

static void gelu_backward(size_t n, const cot_real *x, cot_real *y)
{
    cot_activate_backward(COT_GELU, n, x, y, y);
}

static void at_any_position(void **state)
{
    (void)state;
    cot_real dy[POSITIONS];
    draw_normal(1, POSITIONS, inputs);
    draw_normal(2, POSITIONS, dy);
    for (size_t i = 0; i < POSITIONS; i += 5) inputs[i] *= 4;
    inputs[7] = 0;
    assert_same_at_any_position(relu, inputs, dy);
    assert_same_at_any_position(gelu, inputs, dy);
    assert_same_at_any_position(relu_backward, inputs, dy);
    assert_same_at_any_position(gelu_backward, inputs, dy);
}

static void relu_values(void **state)
{
    (void)state;
    cot_real x[] = {-2, (cot_real)-0.0, 0, 3, (cot_real)-INFINITY, (cot_real)INFINITY};
    enum { N = sizeof x / sizeof x[0] };
    cot_real y[N];
    cot_real dx[N];
    const cot_real dy[N] = {5, 6, 7, 8, 9, 10};
    cot_activate(COT_RELU, N, x, y);
    assert_same_bits(y, (cot_real[]){0, 0, 0, 3, 0, (cot_real)INFINITY}, N);
    cot_activate_backward(COT_RELU, N, x, dy, dx);
    assert_same_bits(dx, (cot_real[]){0, 0, 0, 8, 0, 10}, N);
    cot_activate(COT_RELU, N, x, x);
    assert_same_bits(x, y, N);
}

/* 1 + erf rounds to an epsilon at most, its argument's error adds half of one (z erf'(z) < 1/2),
 * and half of that all is multiplied by x with one rounding more. */
static void gelu_values(void **state)
{
    (void)state;
    const double root_half = 0.70710678118654752440;
    for (int i = -1200; i <= 1200; i++) {
        cot_real x = (cot_real)i / 100;
        cot_real y;
        double want = (double)x * 0.5 * (1 + erf((double)x * root_half));
        cot_activate(COT_GELU, 1, &x, &y);
        assert_close_double((double)y, want, COT_REAL_EPSILON,
                            fabs((double)x) * (double)COT_REAL_EPSILON);
    }
}

/* As above, with x phi(x) < 1/4 exact to a few epsilons (its exponent's error is x^2 / 2 epsilons,
 * and x^2 e^(-x^2/2) < 1). */
static void gelu_derivative(void **state)
{
    (void)state;
    const double root_half = 0.70710678118654752440;
    const double root_inverse_2pi = 0.39894228040143267794;
    for (int i = -1200; i <= 1200; i++) {
        cot_real x = (cot_real)i / 100;
        cot_real dy = -3;
        cot_real dx;
        double at = (double)x;
        double want = 0.5 * (1 + erf(at * root_half)) + at * root_inverse_2pi * exp(-at * at / 2);
        cot_activate_backward(COT_GELU, 1, &x, &dy, &dx);
        assert_close_double((double)dx, -3 * want, 0, 3 * 3 * (double)COT_REAL_EPSILON);
    }
}

static void not_a_number_stays(void **state)
{
    (void)state;
    for (int kind = COT_RELU; kind <= COT_GELU; kind++) {
        cot_real x[40];
        cot_real y[40];
        for (size_t i = 0; i < 40; i++) x[i] = (cot_real)(i % 2 == 0 ? NAN : 1);
        cot_activate((cot_activation)kind, 40, x, y);
        for (size_t i = 0; i < 40; i++) assert_int_equal(isnan(y[i]) != 0, i % 2 == 0);
        const cot_real one = 1;
        cot_activate_backward((cot_activation)kind, 1, &one, x, y);
        assert_true(isnan(y[0]));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(at_any_position),    cmocka_unit_test(relu_values),
    cmocka_unit_test(gelu_values),        cmocka_unit_test(gelu_derivative),
    cmocka_unit_test(not_a_number_stays),
};

RUN_UNIT_TESTS(tests)
