/* The experts' values against their formula in double. Gradients with respect to the weights are
 * checked through the whole model too, by finite differences. */
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/expert_bank.h>
#include <coterie/memory.h>

#include <math.h>
#include <string.h>

/* A rank that owns the experts 2 to 5 of 7, unevenly used; the rows begin behind those of others.
 * Vectors of four or more run along D, for H fills none. */
enum { D = 37, H = 5, E = 7, P = 2, FIRST = 2, OWNED = 4, OTHERS = 3, MOST_ROWS = 27, MOST = 12 };

static const size_t samples[OWNED] = {3, 0, 2, 6};

typedef struct fixture {
    cot_activation activation;
    cot_params *params;
    cot_expert_bank *bank;
    cot_param *w1, *b1, *w2, *b2;
    size_t first[OWNED], rows;
    cot_slots slots;
    cot_bank_rows at;
    cot_real in[MOST_ROWS * D], out[MOST_ROWS * D], dout[MOST_ROWS * D];
} fixture;

static void create(fixture *f, cot_activation activation, bool bias, cot_hidden_rows hidden)
{
    const cot_moe_shape shape = {.T = 1, .D = D, .E = E, .P = P, .H = H};
    memset(f, 0, sizeof *f);
    f->activation = activation;
    f->params = cot_params_create(FIRST, FIRST + OWNED);
    f->bank = cot_expert_bank_create(&shape, activation, bias, MOST_ROWS, MOST, hidden, f->params,
                                     "moe.0");
    cot_params_allocate(f->params);
    cot_params_initialize(f->params, 8);
    f->w1 = cot_params_find(f->params, "moe.0.experts.w1");
    f->b1 = cot_params_find(f->params, "moe.0.experts.b1");
    f->w2 = cot_params_find(f->params, "moe.0.experts.w2");
    f->b2 = cot_params_find(f->params, "moe.0.experts.b2");
    f->rows = OTHERS;
    for (size_t e = 0; e < OWNED; e++) {
        f->first[e] = f->rows;
        f->rows += P * samples[e];
    }
    f->slots = (cot_slots){OWNED, P, samples, f->first};
    f->at = (cot_bank_rows){.slots = &f->slots};
    draw_normal(1, MOST_ROWS * D, f->in);
    draw_normal(2, MOST_ROWS * D, f->dout);
}

static void destroy(fixture *f)
{
    cot_expert_bank_destroy(&f->bank);
    assert_null(f->bank);
    cot_params_destroy(&f->params);
}

static void registers_what_it_needs(void **state)
{
    (void)state;
    fixture f;
    create(&f, COT_RELU, true, COT_HIDDEN_KEPT);
    assert_int_equal(cot_params_count(f.params), 4);
    assert_true(f.w1->dims[0] == E && f.w1->dims[1] == D && f.w1->dims[2] == H);
    assert_true(f.w2->dims[0] == E && f.w2->dims[1] == H && f.w2->dims[2] == D);
    assert_true(f.b1->dims[0] == E && f.b1->dims[1] == H && f.b1->axis_count == 2);
    assert_true(f.b2->dims[0] == E && f.b2->dims[1] == D && f.b2->axis_count == 2);
    assert_true(f.w1->decay && f.w2->decay && !f.b1->decay && !f.b2->decay);
    const cot_param *all[] = {f.w1, f.b1, f.w2, f.b2};
    for (int i = 0; i < 4; i++) {
        assert_true(all[i]->placement == COT_SHARDED && all[i]->rows == OWNED);
        assert_true(all[i]->init == COT_INIT_UNIFORM);
        assert_close_double(all[i]->init_scale, 1 / sqrt(i < 2 ? D : H), 1e-15, 0);
    }
    destroy(&f);
    create(&f, COT_GELU, false, COT_HIDDEN_KEPT);
    assert_int_equal(cot_params_count(f.params), 2);
    assert_true(f.b1 == NULL && f.b2 == NULL);
    destroy(&f);
}

static double activate(cot_activation kind, double x)
{
    return kind == COT_RELU ? fmax(x, 0) : x * 0.5 * (1 + erf(x * sqrt(0.5)));
}

static double derivative(cot_activation kind, double x)
{
    if (kind == COT_RELU) return x > 0;
    return 0.5 * (1 + erf(x * sqrt(0.5))) + x * exp(-x * x / 2) / sqrt(2 * acos(-1));
}

/* Entry i of the local expert e in a parameter that may be missing. */
static double at(const cot_param *param, size_t e, size_t i)
{
    return param != NULL ? (double)param->value[e * param->row_size + i] : 0;
}

static double hidden_of(const fixture *f, size_t e, const cot_real *x, size_t h)
{
    double sum = at(f->b1, e, h);
    for (size_t d = 0; d < D; d++) sum += (double)x[d] * at(f->w1, e, d * H + h);
    return sum;
}

/* Sums of at most D products of numbers that stay below 10. */
static const double tolerance = D * 100 * (double)COT_REAL_EPSILON / 2;

/* What one row adds to its expert's gradients, in the order w1, b1, w2, b2. */
typedef struct gradients {
    double w1[D * H], b1[H], w2[H * D], b2[D];
} gradients;

/* The row's output and input gradient, checked; what it adds to `sums`. */
static void check_row(const fixture *f, size_t e, size_t row, const cot_real *dx, gradients *sums)
{
    const cot_real *x = f->in + row * D;
    const cot_real *dy = f->dout + row * D;
    double want[D];
    double want_dx[D] = {0};
    for (size_t d = 0; d < D; d++) want[d] = at(f->b2, e, d);
    for (size_t d = 0; d < D; d++) sums->b2[d] += (double)dy[d];
    for (size_t h = 0; h < H; h++) {
        double pre = hidden_of(f, e, x, h);
        double post = activate(f->activation, pre);
        double dhidden = 0;
        for (size_t d = 0; d < D; d++) {
            want[d] += post * at(f->w2, e, h * D + d);
            dhidden += (double)dy[d] * at(f->w2, e, h * D + d);
            sums->w2[h * D + d] += post * (double)dy[d];
        }
        dhidden *= derivative(f->activation, pre);
        sums->b1[h] += dhidden;
        for (size_t d = 0; d < D; d++) {
            want_dx[d] += dhidden * at(f->w1, e, d * H + h);
            sums->w1[d * H + h] += (double)x[d] * dhidden;
        }
    }
    for (size_t d = 0; d < D; d++) {
        assert_close_double((double)f->out[row * D + d], want[d], 0, tolerance);
        assert_close_double((double)dx[row * D + d], want_dx[d], 0, tolerance);
    }
}

static void check_gradient(const cot_param *param, size_t e, const double *want, double before)
{
    if (param == NULL) return;
    for (size_t i = 0; i < param->row_size; i++)
        assert_close_double((double)param->grad[e * param->row_size + i], before + want[i], 0,
                            tolerance);
}

static void check_values(cot_activation activation, bool bias, cot_hidden_rows hidden)
{
    const double before = 2; /* gradients are added to */
    fixture f;
    create(&f, activation, bias, hidden);
    for (size_t i = 0; i < cot_params_sharded_size(f.params); i++)
        cot_params_grads(f.params)[i] = (cot_real)before;
    cot_real dx[MOST_ROWS * D];
    memcpy(dx, f.dout, sizeof dx);
    cot_expert_bank_load(f.bank);
    cot_expert_bank_forward(f.bank, &f.at, f.in, f.out);
    cot_real again[MOST_ROWS * D] = {0};
    cot_expert_bank_outputs(f.bank, &f.at, f.in, again);
    assert_same_bits(again, f.out, MOST_ROWS * D);
    cot_expert_bank_backward(f.bank, &f.at, f.in, dx);
    cot_expert_bank_finish(f.bank, 0, cot_expert_bank_params(f.bank).w1->rows);
    for (size_t e = 0; e < OWNED; e++) {
        gradients sums = {{0}, {0}, {0}, {0}};
        for (size_t r = 0; r < cot_slots_rows(&f.slots, e); r++)
            check_row(&f, e, f.first[e] + r, dx, &sums);
        check_gradient(f.w1, e, sums.w1, before);
        check_gradient(f.b1, e, sums.b1, before);
        check_gradient(f.w2, e, sums.w2, before);
        check_gradient(f.b2, e, sums.b2, before);
    }
    /* Rows that belong to no expert stay as they were. */
    for (size_t i = 0; i < MOST_ROWS * D; i++)
        if (i < (size_t)OTHERS * D || i >= f.rows * D)
            assert_true(f.out[i] == 0 && dx[i] == f.dout[i]);
    destroy(&f);
}

static void follows_the_formula(void **state)
{
    (void)state;
    for (int bias = 0; bias < 2; bias++)
        for (int hidden = 0; hidden < 2; hidden++) {
            check_values(COT_RELU, bias, (cot_hidden_rows)hidden);
            check_values(COT_GELU, bias, (cot_hidden_rows)hidden);
        }
}

/* A rank that owns one expert computes for it what a rank that owns several does, to the bit. */
static void same_bits_for_any_shard(void **state)
{
    (void)state;
    const cot_moe_shape shape = {.T = 1, .D = D, .E = E, .P = P, .H = H};
    fixture f;
    create(&f, COT_GELU, true, COT_HIDDEN_KEPT);
    cot_real dx[MOST_ROWS * D];
    memcpy(dx, f.dout, sizeof dx);
    cot_expert_bank_load(f.bank);
    cot_expert_bank_forward(f.bank, &f.at, f.in, f.out);
    cot_expert_bank_backward(f.bank, &f.at, f.in, dx);
    cot_expert_bank_finish(f.bank, 0, cot_expert_bank_params(f.bank).w1->rows);
    for (size_t e = 0; e < OWNED; e++) {
        cot_params *params = cot_params_create(FIRST + e, FIRST + e + 1);
        cot_expert_bank *bank = cot_expert_bank_create(&shape, COT_GELU, true, MOST_ROWS, MOST,
                                                       COT_HIDDEN_KEPT, params, "moe.0");
        cot_params_allocate(params);
        cot_params_initialize(params, 8);
        const size_t first = 0;
        const cot_slots slots = {1, P, samples + e, &first};
        const cot_bank_rows at = {.slots = &slots};
        cot_real in[MOST_ROWS * D];
        cot_real out[MOST_ROWS * D];
        cot_real dout[MOST_ROWS * D];
        size_t n = cot_slots_rows(&slots, 0) * D;
        size_t from = f.first[e] * D;
        memcpy(in, f.in + from, n * sizeof *in);
        memcpy(dout, f.dout + from, n * sizeof *in);
        cot_expert_bank_load(bank);
        cot_expert_bank_forward(bank, &at, in, out);
        cot_expert_bank_backward(bank, &at, in, dout);
        cot_expert_bank_finish(bank, 0, cot_expert_bank_params(bank).w1->rows);
        assert_same_bits(out, f.out + from, n);
        assert_same_bits(dout, dx + from, n);
        for (size_t i = 0; i < cot_params_count(params); i++) {
            const cot_param *one = cot_params_at(params, i);
            const cot_param *all = cot_params_at(f.params, i);
            assert_same_bits(one->grad, all->grad + e * all->row_size, one->row_size);
        }
        cot_expert_bank_destroy(&bank);
        cot_params_destroy(&params);
    }
    destroy(&f);
}

/* In two halves, the second behind all of the first: the same bits, and dout stays as it is. */
static void same_bits_in_halves(void **state)
{
    (void)state;
    fixture whole;
    fixture halves;
    create(&whole, COT_GELU, true, COT_HIDDEN_KEPT);
    create(&halves, COT_GELU, true, COT_HIDDEN_KEPT);
    cot_expert_bank_load(whole.bank);
    cot_expert_bank_forward(whole.bank, &whole.at, whole.in, whole.out);
    cot_expert_bank_load(halves.bank);
    cot_expert_bank_forward(halves.bank, &halves.at, halves.in, halves.out);
    cot_real dx[MOST_ROWS * D];
    memcpy(dx, whole.dout, sizeof dx);
    cot_expert_bank_backward(whole.bank, &whole.at, whole.in, dx);
    cot_expert_bank_finish(whole.bank, 0, cot_expert_bank_params(whole.bank).w1->rows);
    cot_expert_bank_backward_inputs(halves.bank, &halves.at, halves.in, halves.dout);
    cot_expert_bank_backward_outputs(halves.bank, &halves.at, halves.dout);
    cot_expert_bank_finish(halves.bank, 0, cot_expert_bank_params(halves.bank).w1->rows);
    size_t begin = (size_t)OTHERS * D;
    assert_same_bits(halves.in + begin, dx + begin, halves.rows * D - begin);
    assert_same_bits(halves.dout, whole.dout, MOST_ROWS * D);
    assert_same_bits(cot_params_grads(halves.params), cot_params_grads(whole.params),
                     cot_params_sharded_size(whole.params));
    destroy(&halves);
    destroy(&whole);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(registers_what_it_needs),
    cmocka_unit_test(follows_the_formula),
    cmocka_unit_test(same_bits_for_any_shard),
    cmocka_unit_test(same_bits_in_halves),
};

RUN_UNIT_TESTS(tests)
