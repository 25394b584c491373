#include <coterie/blas.h>
#include <coterie/expert_bank.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

#include <math.h>

struct cot_expert_bank {
    cot_moe_shape shape;
    cot_activation activation;
    cot_param *w1, *b1, *w2, *b2; /* b1 and b2 are NULL without bias */
    cot_hidden_rows hidden;
    /* [rows,H], or [expert_rows,H] where they are computed again: before the activation and behind
     * it; the same memory for ReLU, whose backward needs only the sign. */
    cot_real *pre, *post;
    cot_real *dhidden; /* [expert_rows,H] */
    /* [experts,H,D]: W1 and its gradient with D last, along which small matrices multiply fastest;
     * NULL where experts are large. */
    cot_real *w1_t, *dw1_t;
};

/* Beyond, BLAS copies a matrix into the order it wants at little cost. */
bool cot_expert_bank_is_small(const cot_moe_shape *shape)
{
    const size_t most = (size_t)32 << 10;
    return shape->D * shape->H <= most;
}

static cot_param *add_param(cot_params *params, const char *prefix, const char *part,
                            const char *axes, size_t E, size_t rows, size_t cols, size_t fan_in)
{
    char *name = cot_strprintf("%s.experts.%s", prefix, part);
    cot_param *param =
        cot_params_add(params, &(cot_param_spec){.name = name,
                                                 .axes = axes,
                                                 .dims = {E, rows, cols},
                                                 .placement = COT_SHARDED,
                                                 .init = COT_INIT_UNIFORM,
                                                 .init_scale = 1 / sqrt((double)fan_in),
                                                 .decay = cols != 0});
    cot_free(name);
    return param;
}

cot_expert_bank *cot_expert_bank_create(const cot_moe_shape *shape, cot_activation activation,
                                        bool bias, size_t rows, size_t expert_rows,
                                        cot_hidden_rows hidden, cot_params *params,
                                        const char *prefix)
{
    const size_t D = shape->D;
    const size_t H = shape->H;
    cot_expert_bank *bank = cot_alloc(1, sizeof *bank);
    bank->shape = *shape;
    bank->activation = activation;
    bank->hidden = hidden;
    bank->w1 = add_param(params, prefix, "w1", "E,D,H", shape->E, D, H, D);
    if (bias) bank->b1 = add_param(params, prefix, "b1", "E,H", shape->E, H, 0, D);
    bank->w2 = add_param(params, prefix, "w2", "E,H,D", shape->E, H, D, H);
    if (bias) bank->b2 = add_param(params, prefix, "b2", "E,D", shape->E, D, 0, H);
    size_t kept = hidden == COT_HIDDEN_KEPT ? rows : expert_rows;
    bank->pre = cot_alloc(kept * H, sizeof *bank->pre);
    bank->post = activation == COT_RELU ? bank->pre : cot_alloc(kept * H, sizeof *bank->post);
    bank->dhidden = cot_alloc(expert_rows * H, sizeof *bank->dhidden);
    if (cot_expert_bank_is_small(shape)) {
        bank->w1_t = cot_alloc(bank->w1->rows * H * D, sizeof *bank->w1_t);
        bank->dw1_t = cot_alloc(bank->w1->rows * H * D, sizeof *bank->dw1_t);
    }
    return bank;
}

void cot_expert_bank_destroy(cot_expert_bank **bank)
{
    if (*bank == NULL) return;
    cot_free((*bank)->dw1_t);
    cot_free((*bank)->w1_t);
    cot_free((*bank)->dhidden);
    if ((*bank)->post != (*bank)->pre) cot_free((*bank)->post);
    cot_free((*bank)->pre);
    cot_free(*bank);
    *bank = NULL;
}

/* This rank's part of a parameter for its expert `e`, as value or gradient. */
static cot_real *of_expert(const cot_param *param, cot_real *array, size_t e)
{
    return array + e * param->row_size;
}

/* One expert's rows: its place among this rank's, its rows in the buffers and in the hidden ones.
 */
typedef struct block {
    size_t expert, first, hidden, n;
} block;

static block block_of(const cot_expert_bank *bank, const cot_bank_rows *rows, size_t e)
{
    const cot_slots *slots = rows->slots;
    const size_t place = rows->first_hidden + slots->first[e] - slots->first[0];
    return (block){.expert = rows->first_expert + e,
                   .first = slots->first[e],
                   .hidden = bank->hidden == COT_HIDDEN_KEPT ? place : 0,
                   .n = cot_slots_rows(slots, e)};
}

/* Whoever has something to do between two products does it now. */
static void pause(const cot_bank_rows *rows)
{
    if (rows->pause != NULL) rows->pause(rows->context);
}

/* out [n,D] = hidden w2 + b2. */
static void output(const cot_expert_bank *bank, const block *at, cot_real *out)
{
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    cot_gemm(COT_N, COT_N, at->n, D, H, 1, bank->post + at->hidden * H, H,
             of_expert(bank->w2, bank->w2->value, at->expert), D, 0, out + at->first * D, D);
    if (bank->b2 != NULL)
        cot_add_to_rows(at->n, D, of_expert(bank->b2, bank->b2->value, at->expert),
                        out + at->first * D);
}

static cot_real *transposed_of(const cot_expert_bank *bank, cot_real *array, size_t e)
{
    return array + e * bank->shape.H * bank->shape.D;
}

static void load_expert(cot_expert_bank *bank, size_t e)
{
    cot_copy_transposed(bank->shape.D, bank->shape.H, of_expert(bank->w1, bank->w1->value, e),
                        bank->shape.H, transposed_of(bank, bank->w1_t, e));
}

void cot_expert_bank_load(cot_expert_bank *bank)
{
    for (size_t e = 0; bank->w1_t != NULL && e < bank->w1->rows; e++) load_expert(bank, e);
}

/* Forward is by W1 transposed or by W1 (times_w1). */
static bool forward_is_transposed(const cot_expert_bank *bank)
{
    return bank->w1_t != NULL && cot_gemm_prefers_transposed(bank->shape.H, bank->shape.D);
}

void cot_expert_bank_load_forward(cot_expert_bank *bank, size_t expert)
{
    if (forward_is_transposed(bank)) load_expert(bank, expert);
}

void cot_expert_bank_finish(cot_expert_bank *bank, size_t first, size_t experts)
{
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    if (bank->w1_t == NULL) return;
    for (size_t e = first; e < first + experts; e++) {
        cot_add_transposed(H, D, transposed_of(bank, bank->dw1_t, e),
                           of_expert(bank->w1, bank->w1->grad, e), H);
        cot_fill(H * D, 0, transposed_of(bank, bank->dw1_t, e));
    }
}

cot_real *cot_expert_bank_dw1_transposed(cot_expert_bank *bank, size_t expert)
{
    return transposed_of(bank, bank->dw1_t, expert);
}

/* to [n,H] = x [n,D] w1 */
static void times_w1(const cot_expert_bank *bank, const block *at, const cot_real *x, cot_real *to)
{
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    if (forward_is_transposed(bank))
        cot_gemm(COT_N, COT_T, at->n, H, D, 1, x, D, transposed_of(bank, bank->w1_t, at->expert), D,
                 0, to, H);
    else
        cot_gemm(COT_N, COT_N, at->n, H, D, 1, x, D,
                 of_expert(bank->w1, bank->w1->value, at->expert), H, 0, to, H);
}

/* to [n,D] = dhidden [n,H] w1^T */
static void times_w1_back(const cot_expert_bank *bank, const block *at, const cot_real *dhidden,
                          cot_real *to)
{
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    if (bank->w1_t != NULL)
        cot_gemm(COT_N, COT_N, at->n, D, H, 1, dhidden, H,
                 transposed_of(bank, bank->w1_t, at->expert), D, 0, to, D);
    else
        cot_gemm(COT_N, COT_T, at->n, D, H, 1, dhidden, H,
                 of_expert(bank->w1, bank->w1->value, at->expert), H, 0, to, D);
}

/* dw1 += x^T dhidden */
static void add_dw1(const cot_expert_bank *bank, const block *at, const cot_real *x,
                    const cot_real *dhidden)
{
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    if (bank->w1_t != NULL)
        cot_gemm(COT_T, COT_N, H, D, at->n, 1, dhidden, H, x, D, 1,
                 transposed_of(bank, bank->dw1_t, at->expert), D);
    else
        cot_gemm(COT_T, COT_N, D, H, at->n, 1, x, D, dhidden, H, 1,
                 of_expert(bank->w1, bank->w1->grad, at->expert), H);
}

/* hidden [n,H] = act(in w1 + b1). */
static void hidden(cot_expert_bank *bank, const block *at, const cot_real *in)
{
    const size_t H = bank->shape.H;
    cot_real *pre = bank->pre + at->hidden * H;
    times_w1(bank, at, in + at->first * bank->shape.D, pre);
    if (bank->b1 != NULL)
        cot_add_to_rows(at->n, H, of_expert(bank->b1, bank->b1->value, at->expert), pre);
    cot_activate(bank->activation, at->n * H, pre, bank->post + at->hidden * H);
}

void cot_expert_bank_forward(cot_expert_bank *bank, const cot_bank_rows *rows, const cot_real *in,
                             cot_real *out)
{
    for (size_t e = 0; e < rows->slots->experts; e++) {
        block at = block_of(bank, rows, e);
        hidden(bank, &at, in);
        pause(rows);
        output(bank, &at, out);
        pause(rows);
    }
}

/* The hidden rows of the forward pass, if they are not there any more. */
static void recall(cot_expert_bank *bank, const block *at, const cot_real *in)
{
    if (bank->hidden == COT_HIDDEN_RECOMPUTED) hidden(bank, at, in);
}

void cot_expert_bank_outputs(cot_expert_bank *bank, const cot_bank_rows *rows, const cot_real *in,
                             cot_real *out)
{
    for (size_t e = 0; e < rows->slots->experts; e++) {
        block at = block_of(bank, rows, e);
        recall(bank, &at, in);
        output(bank, &at, out);
    }
}

/* dw2 += hidden^T dout, db2 += the sum of dout's rows. */
static void backward_outputs(cot_expert_bank *bank, const block *at, const cot_real *dout)
{
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    const cot_real *dy = dout + at->first * D;
    cot_gemm(COT_T, COT_N, H, D, at->n, 1, bank->post + at->hidden * H, H, dy, D, 1,
             of_expert(bank->w2, bank->w2->grad, at->expert), D);
    if (bank->b2 != NULL)
        cot_add_rows(at->n, D, dy, of_expert(bank->b2, bank->b2->grad, at->expert));
}

/* dhidden = dout w2^T, through the activation
 * dw1 += in^T dhidden, db1 += the sum of dhidden's rows
 * din = dhidden w1^T, over in or over dout */
static void backward_inputs(cot_expert_bank *bank, const cot_bank_rows *rows, const block *at,
                            const cot_real *in, const cot_real *dout, cot_real *din)
{
    const size_t n = at->n;
    const size_t e = at->expert;
    const size_t D = bank->shape.D;
    const size_t H = bank->shape.H;
    cot_real *dhidden = bank->dhidden;
    cot_gemm(COT_N, COT_T, n, H, D, 1, dout + at->first * D, D,
             of_expert(bank->w2, bank->w2->value, e), D, 0, dhidden, H);
    cot_activate_backward(bank->activation, n * H, bank->pre + at->hidden * H, dhidden, dhidden);
    pause(rows);
    add_dw1(bank, at, in + at->first * D, dhidden);
    if (bank->b1 != NULL) cot_add_rows(n, H, dhidden, of_expert(bank->b1, bank->b1->grad, e));
    pause(rows);
    times_w1_back(bank, at, dhidden, din + at->first * D);
    pause(rows);
}

void cot_expert_bank_backward(cot_expert_bank *bank, const cot_bank_rows *rows, const cot_real *in,
                              cot_real *dout)
{
    for (size_t e = 0; e < rows->slots->experts; e++) {
        block at = block_of(bank, rows, e);
        recall(bank, &at, in);
        backward_outputs(bank, &at, dout);
        backward_inputs(bank, rows, &at, in, dout, dout);
    }
}

void cot_expert_bank_backward_inputs(cot_expert_bank *bank, const cot_bank_rows *rows, cot_real *in,
                                     const cot_real *dout)
{
    for (size_t e = 0; e < rows->slots->experts; e++) {
        block at = block_of(bank, rows, e);
        recall(bank, &at, in);
        backward_inputs(bank, rows, &at, in, dout, in);
    }
}

void cot_expert_bank_backward_outputs(cot_expert_bank *bank, const cot_bank_rows *rows,
                                      const cot_real *dout)
{
    for (size_t e = 0; e < rows->slots->experts; e++) {
        block at = block_of(bank, rows, e);
        backward_outputs(bank, &at, dout);
        pause(rows);
    }
}

cot_expert_params cot_expert_bank_params(const cot_expert_bank *bank)
{
    return (cot_expert_params){bank->w1, bank->b1, bank->w2, bank->b2};
}
