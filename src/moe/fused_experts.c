#include "moe/fused_experts.h"

#include "base/vector_clones.h"
#include "math/fused.h"

#include <coterie/memory.h>
#include <coterie/vector.h>

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES };

struct cot_fused {
    const cot_fused_kernels *kernels;
    cot_expert_bank *bank;
    cot_expert_params params;
    cot_activation activation;
    cot_hidden_rows hidden;
    size_t D, H, P;
    size_t row;     /* from a token to the next in rows: whole vectors */
    size_t slots;   /* of all experts */
    size_t grain;   /* samples, at most */
    size_t blocks;  /* of samples in a grain, at most */
    size_t at_once; /* experts */
    /* Tokens and gradients of outputs, apart: in lanes and in rows. */
    cot_real *x, *dy;           /* [grains,blocks,D,T,L] */
    cot_real *x_rows, *dy_rows; /* [grains,grain,T,row] */
    cot_real *pre;              /* [grains,slots,blocks,H,L], or of the experts at work */
    /* Of the experts at work: */
    cot_real *dispatch, *combine, *ddispatch, *dcombine; /* [blocks,slots,T,L] */
    cot_real *sums;                                      /* [blocks,slots,L] of combine weights */
    cot_real *post, *dhidden;                            /* [blocks,slots,H,L] */
    cot_real *y;                                         /* [blocks,D,T,L]: N or dX */
    cot_real *w2_t;                                      /* W2^T of all experts, [experts,D,H] */
};

static size_t blocks_of(size_t samples)
{
    return (samples + L - 1) / L;
}

bool cot_fused_fits(const cot_moe_shape *shape, size_t grain)
{
    const size_t lanes = blocks_of(grain) * L;
    return shape->T == T && shape->H <= COT_FUSED_HIDDEN && cot_expert_bank_is_small(shape) &&
           4 * lanes <= 5 * grain;
}

/* As many experts as a part of the second-level cache holds, with their gradients. */
static size_t experts_at_once(const cot_fused *f, size_t experts)
{
    const size_t cache_bytes = 512 * 1024;
    size_t fitting = cache_bytes / (4 * f->D * f->H * sizeof(cot_real));
    if (fitting == 0) fitting = 1;
    return fitting < experts ? fitting : experts;
}

cot_fused *cot_fused_create(cot_expert_bank *bank, cot_activation activation,
                            const cot_moe_shape *shape, size_t experts, size_t grains, size_t grain,
                            cot_hidden_rows hidden)
{
    cot_fused *f = cot_alloc(1, sizeof *f);
    *f = (cot_fused){.kernels = cot_fused_kernels_chosen(),
                     .bank = bank,
                     .params = cot_expert_bank_params(bank),
                     .activation = activation,
                     .hidden = hidden,
                     .D = shape->D,
                     .H = shape->H,
                     .P = shape->P,
                     .row = (shape->D + L - 1) / L * L,
                     .slots = experts * shape->P,
                     .grain = grain,
                     .blocks = blocks_of(grain)};
    f->at_once = experts_at_once(f, experts);
    const size_t samples = f->blocks * L;
    const size_t tokens = samples * T * f->D;
    const size_t rows = samples * f->at_once * f->P;
    f->x = cot_alloc(grains * tokens, sizeof(cot_real));
    f->dy = cot_alloc(grains * tokens, sizeof(cot_real));
    f->x_rows = cot_alloc(grains * grain * T * f->row, sizeof(cot_real));
    f->dy_rows = cot_alloc(grains * grain * T * f->row, sizeof(cot_real));
    f->y = cot_alloc(tokens, sizeof(cot_real));
    f->w2_t = cot_alloc(experts * f->D * f->H, sizeof(cot_real));
    f->pre = cot_alloc(hidden == COT_HIDDEN_KEPT ? grains * samples * f->slots * f->H : rows * f->H,
                       sizeof(cot_real));
    f->post = cot_alloc(rows * f->H, sizeof(cot_real));
    f->dhidden = cot_alloc(rows * f->H, sizeof(cot_real));
    f->dispatch = cot_alloc(rows * T, sizeof(cot_real));
    f->combine = cot_alloc(rows * T, sizeof(cot_real));
    f->ddispatch = cot_alloc(rows * T, sizeof(cot_real));
    f->dcombine = cot_alloc(rows * T, sizeof(cot_real));
    f->sums = cot_alloc(rows, sizeof(cot_real));
    return f;
}

void cot_fused_destroy(cot_fused **fused)
{
    cot_fused *f = *fused;
    if (f == NULL) return;
    cot_free(f->sums);
    cot_free(f->dcombine);
    cot_free(f->ddispatch);
    cot_free(f->combine);
    cot_free(f->dispatch);
    cot_free(f->dhidden);
    cot_free(f->post);
    cot_free(f->pre);
    cot_free(f->w2_t);
    cot_free(f->y);
    cot_free(f->dy_rows);
    cot_free(f->x_rows);
    cot_free(f->dy);
    cot_free(f->x);
    cot_free(f);
    *fused = NULL;
}

/* ---- into lanes, and back ---- */

static size_t samples_of(size_t n, size_t block)
{
    return n - block * L < L ? n - block * L : L;
}

/* Numbers of the tokens in a block of samples. */
static size_t tokens_of(const cot_fused *f)
{
    return f->D * T * L;
}

static cot_real *grain_of(const cot_fused *f, cot_real *tokens, size_t grain)
{
    return tokens + grain * f->blocks * tokens_of(f);
}

/* Some columns of the rows of n samples' tokens, which are `row` apart, into lanes, whose blocks
 * are `block` apart. */
static void take(const cot_fused *f, size_t n, size_t cols, const cot_real *x, size_t row,
                 cot_real *lanes, size_t block)
{
    for (size_t b = 0; b < blocks_of(n); b++)
        for (size_t t = 0; t < T; t++)
            f->kernels->to_lanes(samples_of(n, b), cols, x + (b * L * T + t) * row, T * row,
                                 lanes + b * block + t * L, T * L);
}

static void give_back(const cot_fused *f, size_t n, size_t cols, const cot_real *lanes,
                      size_t block, cot_real *x, size_t row)
{
    for (size_t b = 0; b < blocks_of(n); b++)
        for (size_t t = 0; t < T; t++)
            f->kernels->from_lanes(samples_of(n, b), cols, lanes + b * block + t * L, T * L,
                                   x + (b * L * T + t) * row, T * row);
}

static cot_real *rows_of(const cot_fused *f, cot_real *rows, size_t grain)
{
    return rows + grain * f->grain * T * f->row;
}

/* Of each sample, its tokens x [T,D] to rows of differences to the last one, which stays. What is
 * behind D is multiplied too, if to no end: 0 takes the least time. */
COT_VECTOR_CLONES
static void take_apart(size_t n, size_t D, const cot_real *x, size_t row, cot_real *rows)
{
    for (size_t i = 0; i < n; i++, x += T * D, rows += T * row) {
        const cot_real *last = x + (T - 1) * D;
        for (size_t t = 0; t < T - 1; t++)
            for (size_t d = 0; d < D; d++) rows[t * row + d] = x[t * D + d] - last[d];
        for (size_t d = 0; d < D; d++) rows[(T - 1) * row + d] = last[d];
        for (size_t t = 0; t < T; t++)
            for (size_t d = D; d < row; d++) rows[t * row + d] = 0;
    }
}

/* Into lanes and rows, apart. */
static void take_grain(const cot_fused *f, size_t grain, size_t n, const cot_real *x,
                       cot_real *lanes, cot_real *rows)
{
    take_apart(n, f->D, x, f->row, rows_of(f, rows, grain));
    take(f, n, f->D, rows_of(f, rows, grain), f->row, grain_of(f, lanes, grain), tokens_of(f));
}

void cot_fused_take_tokens(cot_fused *f, size_t grain, size_t n, const cot_real *x)
{
    take_grain(f, grain, n, x, f->x, f->x_rows);
}

void cot_fused_take_gradients(cot_fused *f, size_t grain, size_t n, const cot_real *dy)
{
    take_grain(f, grain, n, dy, f->dy, f->dy_rows);
}

const cot_real *cot_fused_tokens(const cot_fused *f, size_t grain, size_t *row)
{
    *row = f->row;
    return rows_of(f, f->x_rows, grain);
}

/* Some of a unit's experts. */
typedef struct part {
    const cot_fused_unit *unit;
    size_t expert;        /* the first of the bank's */
    size_t first, stride; /* their first slot among the unit's, and the unit's slots */
    size_t blocks;
    cot_fused_slots slots;
} part;

static part part_of(const cot_fused *f, const cot_fused_unit *unit, size_t expert)
{
    const size_t left = unit->expert + unit->experts - expert;
    const size_t experts = left < f->at_once ? left : f->at_once;
    return (part){.unit = unit,
                  .expert = expert,
                  .first = (expert - unit->expert) * f->P,
                  .stride = unit->experts * f->P,
                  .blocks = blocks_of(unit->n),
                  .slots = {f->D, f->H, f->P, experts * f->P}};
}

/* Where the weights of a block of samples are in the lanes of a part. */
static size_t weights_at(const part *p, size_t block)
{
    return block * p->slots.slots * T * L;
}

static size_t hidden_at(const part *p, size_t block)
{
    return block * p->slots.slots * p->slots.H * L;
}

static void weights_to_lanes(const cot_fused *f, const part *p, const cot_real *weights,
                             cot_real *lanes)
{
    take(f, p->unit->n, p->slots.slots, weights + p->first, p->stride, lanes, weights_at(p, 1));
}

static void weights_from_lanes(const cot_fused *f, const part *p, const cot_real *lanes,
                               cot_real *weights)
{
    give_back(f, p->unit->n, p->slots.slots, lanes, weights_at(p, 1), weights + p->first,
              p->stride);
}

/* ---- parameters ---- */

static const cot_real *value_of(const cot_param *param, const part *p)
{
    return param != NULL ? param->value + p->expert * param->row_size : NULL;
}

static cot_real *gradient_of(const cot_param *param, const part *p)
{
    return param->grad + p->expert * param->row_size;
}

static const cot_real *w2_transposed(const cot_fused *f, const part *p)
{
    return f->w2_t + p->expert * f->D * f->H;
}

void cot_fused_load(cot_fused *f)
{
    const size_t numbers = f->D * f->H;
    for (size_t e = 0; e < f->slots / f->P; e++)
        cot_copy_transposed(f->H, f->D, f->params.w2->value + e * numbers, f->D,
                            f->w2_t + e * numbers);
}

/* ---- forward ---- */

static cot_real *pre_of(const cot_fused *f, const part *p)
{
    if (f->hidden == COT_HIDDEN_RECOMPUTED) return f->pre;
    size_t before = p->unit->grain * f->blocks * f->slots + p->blocks * p->expert * f->P;
    return f->pre + before * f->H * L;
}

static size_t hidden_numbers(const part *p)
{
    return hidden_at(p, p->blocks);
}

static void make_hidden(const cot_fused *f, const part *p)
{
    const cot_real *x = grain_of(f, f->x, p->unit->grain);
    for (size_t b = 0; b < p->blocks; b++)
        f->kernels->hidden(&p->slots, x + b * tokens_of(f), f->dispatch + weights_at(p, b),
                           value_of(f->params.w1, p), value_of(f->params.b1, p),
                           pre_of(f, p) + hidden_at(p, b));
}

void cot_fused_forward(cot_fused *f, const cot_fused_unit *unit, cot_real *numerators)
{
    for (size_t e = 0; e < unit->experts; e += f->at_once) {
        const part p = part_of(f, unit, unit->expert + e);
        weights_to_lanes(f, &p, unit->dispatch, f->dispatch);
        weights_to_lanes(f, &p, unit->combine, f->combine);
        make_hidden(f, &p);
        cot_activate(f->activation, hidden_numbers(&p), pre_of(f, &p), f->post);
        for (size_t b = 0; b < p.blocks; b++)
            f->kernels->outputs(&p.slots, f->combine + weights_at(&p, b), w2_transposed(f, &p),
                                value_of(f->params.b2, &p), f->post + hidden_at(&p, b), e > 0,
                                numerators + b * tokens_of(f));
    }
}

cot_real *cot_fused_numerators(cot_fused *f)
{
    return f->y;
}

void cot_fused_give_numerators(const cot_fused *f, size_t n, cot_real *numerators)
{
    give_back(f, n, f->D, f->y, tokens_of(f), numerators, f->D);
}

/* ---- backward ---- */

/* Gradients of W2 and b2 from the hidden rows and dy, or of W1 from their gradients and x:
 * rows [slots,H] of each sample times what its tokens [n,T,D] are mixed to. Some samples at a time,
 * whose columns the first-level cache can hold. */
static void add_gradient(const cot_fused *f, const part *p, const cot_fused_slots *slots,
                         const cot_real *tokens, const cot_real *weights, const cot_real *rows,
                         cot_real *gradient)
{
    enum { BLOCKS = 2 };
    for (size_t b = 0; b < p->blocks; b += BLOCKS) {
        const size_t left = p->unit->n - b * L;
        f->kernels->weights(slots, left < BLOCKS * L ? left : BLOCKS * L,
                            tokens + b * L * T * f->row, f->row, weights + weights_at(p, b),
                            rows + b * slots->slots * slots->H * L, gradient);
    }
}

/* The sum of the hidden rows' gradients, sample by sample. */
static void add_db1(const cot_fused *f, const part *p, cot_real *db1)
{
    const size_t H = f->H;
    for (size_t i = 0; i < p->unit->n; i++)
        for (size_t slot = 0; slot < p->slots.slots; slot++)
            for (size_t h = 0; h < H; h++)
                db1[slot / f->P * H + h] +=
                    f->dhidden[hidden_at(p, i / L) + (slot * H + h) * L + i % L];
}

static void add_gradients(const cot_fused *f, const part *p)
{
    const cot_fused_slots bias = {f->D, 1, f->P, p->slots.slots};
    const cot_real *x = rows_of(f, f->x_rows, p->unit->grain);
    const cot_real *dy = rows_of(f, f->dy_rows, p->unit->grain);
    add_gradient(f, p, &p->slots, dy, f->combine, f->post, gradient_of(f->params.w2, p));
    add_gradient(f, p, &p->slots, x, f->dispatch, f->dhidden,
                 cot_expert_bank_dw1_transposed(f->bank, p->expert));
    if (f->params.b2 == NULL) return;
    add_gradient(f, p, &bias, dy, f->combine, f->sums, gradient_of(f->params.b2, p));
    add_db1(f, p, gradient_of(f->params.b1, p));
}

/* Combine weights w [rows,T,L] to shares of their sums [rows,L] over the tokens. */
COT_VECTOR_CLONES
static void to_shares(size_t rows, cot_real *restrict w, cot_real *restrict sums)
{
    for (size_t i = 0; i < rows; i++, w += T * L, sums += L)
        for (size_t l = 0; l < L; l++) {
            sums[l] = 0;
            for (size_t t = 0; t < T; t++) sums[l] += w[t * L + l];
            const cot_real whole = sums[l] == 0 ? 1 : sums[l]; /* no sample, or all are 0 */
            for (size_t t = 0; t < T; t++) w[t * L + l] /= whole;
        }
}

/* Hidden rows [rows,H,L] times their slot's sum. */
COT_VECTOR_CLONES
static void scale_hidden(size_t rows, size_t H, const cot_real *restrict sums,
                         cot_real *restrict hidden)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t h = 0; h < H; h++)
            for (size_t l = 0; l < L; l++) hidden[(i * H + h) * L + l] *= sums[i * L + l];
}

void cot_fused_backward(cot_fused *f, const cot_fused_unit *unit, cot_real *dcombine,
                        cot_real *ddispatch, cot_real *dtokens)
{
    const cot_real *x_lanes = grain_of(f, f->x, unit->grain);
    const cot_real *dy_lanes = grain_of(f, f->dy, unit->grain);
    for (size_t e = 0; e < unit->experts; e += f->at_once) {
        const part p = part_of(f, unit, unit->expert + e);
        const cot_real *w1 = value_of(f->params.w1, &p);
        const size_t rows = p.blocks * p.slots.slots;
        weights_to_lanes(f, &p, unit->dispatch, f->dispatch);
        weights_to_lanes(f, &p, unit->combine, f->combine);
        to_shares(rows, f->combine, f->sums);
        if (f->hidden == COT_HIDDEN_RECOMPUTED) make_hidden(f, &p);
        cot_activate(f->activation, hidden_numbers(&p), pre_of(f, &p), f->post);
        for (size_t b = 0; b < p.blocks; b++)
            f->kernels->outputs_backward(
                &p.slots, dy_lanes + b * tokens_of(f), f->combine + weights_at(&p, b),
                w2_transposed(f, &p), value_of(f->params.b2, &p), f->post + hidden_at(&p, b),
                f->dcombine + weights_at(&p, b), f->dhidden + hidden_at(&p, b));
        scale_hidden(rows, f->H, f->sums, f->post);
        scale_hidden(rows, f->H, f->sums, f->dhidden);
        cot_activate_backward(f->activation, hidden_numbers(&p), pre_of(f, &p), f->dhidden,
                              f->dhidden);
        for (size_t b = 0; b < p.blocks; b++)
            f->kernels->inputs_backward(
                &p.slots, x_lanes + b * tokens_of(f), f->dispatch + weights_at(&p, b), w1,
                f->dhidden + hidden_at(&p, b), e > 0, f->ddispatch + weights_at(&p, b),
                dtokens != NULL ? f->y + b * tokens_of(f) : NULL);
        add_gradients(f, &p);
        weights_from_lanes(f, &p, f->dcombine, dcombine);
        weights_from_lanes(f, &p, f->ddispatch, ddispatch);
    }
    if (dtokens != NULL) give_back(f, unit->n, f->D, f->y, tokens_of(f), dtokens, f->D);
}
