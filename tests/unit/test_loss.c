#include "support/numbers.h"
#include "support/test.h"

#include <coterie/loss.h>

#include <math.h>

enum { CLASSES = 10 };

/* -sum q log p, written out for logits that exp can take as they are. */
static double cross_entropy_direct(const cot_real *logits, size_t label, double smoothing,
                                   double scale, cot_real *dlogits)
{
    double sum = 0;
    double loss = 0;
    for (size_t c = 0; c < CLASSES; c++) sum += exp((double)logits[c]);
    for (size_t c = 0; c < CLASSES; c++) {
        double p = exp((double)logits[c]) / sum;
        double q = (1 - smoothing) * (c == label) + smoothing / CLASSES;
        loss -= q * log(p);
        dlogits[c] = (cot_real)(scale * (p - q));
    }
    return loss;
}

static void cross_entropy_follows_the_formula(void **state)
{
    (void)state;
    const double smoothings[] = {0, 0.1, 1};
    for (size_t draw = 0; draw < 50; draw++)
        for (int i = 0; i < 3; i++) {
            cot_real logits[CLASSES];
            cot_real gradient[CLASSES];
            cot_real want[CLASSES];
            draw_normal(draw, CLASSES, logits);
            size_t label = draw % CLASSES;
            double scale = 1.0 / 7;
            double loss = cot_cross_entropy(CLASSES, logits, label, smoothings[i], scale, gradient);
            double direct = cross_entropy_direct(logits, label, smoothings[i], scale, want);
            /* Both in double, so equal to some roundings; the gradients round to cot_real. */
            assert_close_double(loss, direct, 1e-13, 1e-13);
            assert_close(gradient, want, CLASSES, COT_REAL_EPSILON, 1e-15);
            assert_true(loss == cot_cross_entropy(CLASSES, logits, label, smoothings[i], 1, NULL));
        }
}

static void cross_entropy_survives_large_logits(void **state)
{
    (void)state;
    cot_real logits[3] = {10000, -10000, 9990};
    cot_real gradient[3];
    /* log(e^0 + e^-20000 + e^-10), behind 10000 kept to 2e-12. */
    double log_sum = log1p(exp(-10));
    assert_close_double(cot_cross_entropy(3, logits, 0, 0, 1, gradient), log_sum, 0, 2e-12);
    assert_close_double((double)gradient[1], 0, 0, 0);
    assert_close_double(cot_cross_entropy(3, logits, 1, 0, 1, gradient), 20000 + log_sum, 1e-13, 0);
    assert_close_double((double)gradient[1], -1, 0, 0);
    const cot_real minus_inf = (cot_real)-INFINITY;
    /* An impossible class costs nothing unless it is asked for. */
    cot_real with_impossible[2] = {1, minus_inf};
    assert_true(cot_cross_entropy(2, with_impossible, 0, 0, 1, NULL) == 0);
    assert_true(cot_cross_entropy(2, with_impossible, 1, 0, 1, NULL) == INFINITY);
}

static void not_a_number_shows(void **state)
{
    (void)state;
    for (size_t at = 0; at < 4; at++) {
        cot_real logits[4] = {1, 2, 3, 4};
        cot_real gradient[4];
        logits[at] = (cot_real)NAN;
        assert_true(isnan(cot_cross_entropy(4, logits, 1, 0, 1, gradient)));
        for (int c = 0; c < 4; c++) assert_true(isnan(gradient[c]));
    }
    cot_real gradient;
    assert_true(isnan(cot_squared_error((cot_real)NAN, 0, 1, &gradient)));
    assert_true(isnan(gradient));
}

static void squared_error(void **state)
{
    (void)state;
    cot_real gradient = 0;
    assert_true(cot_squared_error(3, 1, 0.25, &gradient) == 4);
    assert_true(gradient == 1);
    assert_true(cot_squared_error(-1, 2, 0.5, &gradient) == 9);
    assert_true(gradient == -3);
    assert_true(cot_squared_error(2, 2, 1, NULL) == 0);
}

static void argmax_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    assert_int_equal(cot_argmax(1, (cot_real[]){-5}), 0);
    assert_int_equal(cot_argmax(4, (cot_real[]){1, 7, 7, 2}), 1);
    assert_int_equal(cot_argmax(3, (cot_real[]){2, 2, 2}), 0);
    assert_int_equal(cot_argmax(3, (cot_real[]){-2, -3, -1}), 2);
    assert_int_equal(cot_argmax(3, (cot_real[]){NAN, -3, -1}), 3);
    assert_int_equal(cot_argmax(3, (cot_real[]){2, 3, NAN}), 3);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(cross_entropy_follows_the_formula),
    cmocka_unit_test(cross_entropy_survives_large_logits),
    cmocka_unit_test(not_a_number_shows),
    cmocka_unit_test(squared_error),
    cmocka_unit_test(argmax_takes_the_lowest_of_equals),
};

RUN_UNIT_TESTS(tests)
