#include "support/numbers.h"
#include "support/test.h"

#include <coterie/linear.h>
#include <coterie/memory.h>
#include <coterie/tree.h>

#include <math.h>
#include <string.h>

enum {
    ROWS = 3,
    IN = 6,
    OUT = 5,
    GRAINS = 8,
    BATCH = 19,
    X = BATCH * ROWS * IN,
    Y = BATCH * ROWS * OUT
};

typedef struct fixture {
    cot_params *params;
    cot_linear *linear;
    cot_param *w, *b;
    cot_real x[X], y[Y], dy[Y], dx[X];
} fixture;

static void create(fixture *f, bool bias)
{
    f->params = cot_params_create(0, 0);
    f->linear = cot_linear_create(ROWS, IN, OUT, bias, GRAINS, f->params, "embed");
    cot_params_allocate(f->params);
    cot_params_initialize(f->params, 1);
    f->w = cot_params_find(f->params, "embed.w");
    f->b = cot_params_find(f->params, "embed.b");
    draw_normal(1, X, f->x);
    draw_normal(2, Y, f->dy);
}

static void destroy(fixture *f)
{
    cot_linear_destroy(&f->linear);
    assert_null(f->linear);
    cot_params_destroy(&f->params);
}

static void registers_weights_and_bias(void **state)
{
    (void)state;
    fixture f;
    create(&f, true);
    assert_int_equal(cot_params_count(f.params), 2);
    assert_true(f.w->dims[0] == IN && f.w->dims[1] == OUT && f.w->axis_count == 2);
    assert_true(f.b->dims[0] == OUT && f.b->axis_count == 1);
    assert_true(f.w->decay && !f.b->decay);
    assert_true(f.w->init == COT_INIT_UNIFORM && f.b->init == COT_INIT_UNIFORM);
    assert_close_double(f.w->init_scale, 1 / sqrt(IN), 1e-15, 0);
    assert_close_double(f.b->init_scale, 1 / sqrt(IN), 1e-15, 0);
    destroy(&f);
    create(&f, false);
    assert_int_equal(cot_params_count(f.params), 1);
    assert_null(f.b);
    destroy(&f);
}

/* Sums of at most n products of numbers that stay below 5, in double for comparison. */
static double tolerance(size_t n)
{
    return (double)n * 25 * (double)COT_REAL_EPSILON;
}

static void check_values(bool bias)
{
    fixture f;
    create(&f, bias);
    cot_grains all = cot_grains_of(BATCH, GRAINS, 1, 0);
    cot_linear_forward(f.linear, &all, f.x, f.y);
    cot_linear_backward(f.linear, &all, f.x, f.dy, f.dx);
    for (size_t r = 0; r < BATCH * ROWS; r++) {
        for (size_t j = 0; j < OUT; j++) {
            double y = bias ? (double)f.b->value[j] : 0;
            for (size_t i = 0; i < IN; i++)
                y += (double)f.x[r * IN + i] * (double)f.w->value[i * OUT + j];
            assert_close_double((double)f.y[r * OUT + j], y, 0, tolerance(IN));
        }
        for (size_t i = 0; i < IN; i++) {
            double dx = 0;
            for (size_t j = 0; j < OUT; j++)
                dx += (double)f.dy[r * OUT + j] * (double)f.w->value[i * OUT + j];
            assert_close_double((double)f.dx[r * IN + i], dx, 0, tolerance(OUT));
        }
    }
    for (size_t j = 0; j < OUT; j++) {
        double db = 0;
        for (size_t r = 0; r < BATCH * ROWS; r++) db += (double)f.dy[r * OUT + j];
        if (bias) assert_close_double((double)f.b->grad[j], db, 0, tolerance(BATCH * ROWS));
        for (size_t i = 0; i < IN; i++) {
            double dw = 0;
            for (size_t r = 0; r < BATCH * ROWS; r++)
                dw += (double)f.x[r * IN + i] * (double)f.dy[r * OUT + j];
            assert_close_double((double)f.w->grad[i * OUT + j], dw, 0, tolerance(BATCH * ROWS));
        }
    }
    destroy(&f);
}

static void is_linear(void **state)
{
    (void)state;
    check_values(false);
    check_values(true);
}

/* The parts of a batch on 2, 4 and 8 ranks, one after the other: the same outputs and input
 * gradients, and by the tree over the parts the same weight gradients, to the bit. */
static void parts_make_up_the_whole(void **state)
{
    (void)state;
    enum { PARAMS = IN * OUT + OUT };
    fixture f;
    create(&f, true);
    cot_grains all = cot_grains_of(BATCH, GRAINS, 1, 0);
    cot_real whole[PARAMS];
    cot_linear_forward(f.linear, &all, f.x, f.y);
    cot_linear_backward(f.linear, &all, f.x, f.dy, f.dx);
    memcpy(whole, cot_params_grads(f.params), sizeof whole);
    for (size_t parts = 2; parts <= GRAINS; parts *= 2) {
        cot_real y[Y];
        cot_real dx[X];
        cot_real grads[GRAINS * PARAMS];
        for (size_t part = 0; part < parts; part++) {
            cot_grains here = cot_grains_of(BATCH, GRAINS, parts, part);
            size_t row = cot_grains_begin(&here) * ROWS;
            cot_linear_forward(f.linear, &here, f.x + row * IN, y + row * OUT);
            cot_linear_backward(f.linear, &here, f.x + row * IN, f.dy + row * OUT, dx + row * IN);
            memcpy(grads + part * PARAMS, cot_params_grads(f.params), sizeof whole);
        }
        cot_tree_reduce(parts, PARAMS, grads);
        assert_same_bits(y, f.y, Y);
        assert_same_bits(dx, f.dx, X);
        assert_same_bits(grads, whole, PARAMS);
    }
    destroy(&f);
}

/* A rank without grains has gradients of 0; nobody has to want dx. */
static void no_samples_give_no_gradient(void **state)
{
    (void)state;
    fixture f;
    create(&f, true);
    const size_t batches[] = {0, 3};
    for (int i = 0; i < 2; i++) {
        /* No sample at all, or no grain. */
        cot_grains none = i == 0 ? cot_grains_of(0, GRAINS, 1, 0) : (cot_grains){3, GRAINS, 2, 2};
        assert_true(cot_grains_size(&none) == 0 && batches[i] == none.samples);
        draw_normal(3, IN * OUT + OUT, cot_params_grads(f.params));
        cot_linear_backward(f.linear, &none, f.x, f.dy, NULL);
        for (size_t j = 0; j < IN * OUT + OUT; j++) assert_true(cot_params_grads(f.params)[j] == 0);
    }
    destroy(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(registers_weights_and_bias),
    cmocka_unit_test(is_linear),
    cmocka_unit_test(parts_make_up_the_whole),
    cmocka_unit_test(no_samples_give_no_gradient),
};

RUN_UNIT_TESTS(tests)
