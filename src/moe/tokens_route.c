#include "base/vector_clones.h"
#include "moe/noise.h"
#include "moe/tokens_state.h"

#include <coterie/blas.h>
#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <string.h>

/* Behind the blocks whose columns go into one product with block b's. */
static size_t columns_end(const cot_tokens *k, size_t b)
{
    return k->joined ? k->block_count : b + 1;
}

static size_t slots_of(const cot_tokens *k, size_t b, size_t end)
{
    return k->block_slots[end] - k->block_slots[b];
}

static void make_logits(const cot_tokens *k, const tokens_unit *u)
{
    const size_t D = k->shape.D;
    for (size_t b = 0; b < k->block_count; b = columns_end(k, b)) {
        size_t slot = k->blocks[b].slot;
        cot_gemm(COT_N, COT_N, u->tokens, slots_of(k, b, columns_end(k, b)), D, tokens_scale_of(k),
                 tokens_xhat_of(k, u->first), D, k->phi_hat + slot, k->slots, 0, k->logits + slot,
                 k->slots);
    }
}

/* from [rows,slots], the unit's rows from `first` on, to where the runs have theirs. */
static void to_runs(const cot_tokens *k, const tokens_unit *u, size_t first, size_t rows,
                    const cot_real *from, cot_real *to)
{
    for (size_t r = 0; r < k->run_count; r++) {
        const tokens_run *run = &k->runs[r];
        cot_real *at = to + tokens_weights_at(k, u, run) + first * run->slots;
        for (size_t i = 0; i < rows; i++)
            memcpy(at + i * run->slots, from + i * k->slots + run->slot, run->slots * sizeof *at);
    }
}

void tokens_weigh(cot_tokens *k, const tokens_unit *u, const cot_noise *noise)
{
    const cot_router_options *options = &k->options.router;
    const size_t T = k->shape.T;
    const cot_slot_range range = {k->first_slot, k->slots, k->S};
    if (cot_router_needs_logits(options)) make_logits(k, u);
    if (options->uniform_dispatch) cot_fill(T * k->slots, 1 / (cot_real)T, k->weights);
    for (size_t i = 0; i < u->n; i++) {
        cot_real *mine = k->logits + i * T * k->slots;
        if (noise != NULL && cot_router_needs_logits(options))
            cot_add_logit_noise(noise, (cot_real)options->noise, k->layer,
                                k->first_in_batch + u->first + i, T, &range, k->columns, mine);
        if (!options->uniform_dispatch) cot_softmax_cols(T, k->slots, mine, k->weights, k->columns);
        to_runs(k, u, i * T, T, k->weights, k->dispatch);
    }
    if (options->uniform_combine) cot_fill(u->tokens * k->slots, 0, k->logits);
    cot_softmax_parts(u->tokens, k->block_count, k->block_slots, k->logits, u->maxima, k->sums);
    to_runs(k, u, 0, u->tokens, k->logits, k->combine);
}

/* x [rows,cols] with rows `stride` apart: row i times factors[i]. */
COT_VECTOR_CLONES
static void scale_rows(size_t rows, size_t cols, size_t stride, const cot_real *factors,
                       cot_real *x)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) x[i * stride + j] *= factors[i];
}

void tokens_finish_combine(cot_tokens *k, const tokens_unit *u, const tokens_run *run)
{
    const size_t T = k->shape.T;
    const cot_real *marks = cot_gather_rows(k->marks) + u->first * 2 * T;
    cot_real *combine = k->combine + tokens_weights_at(k, u, run);
    for (size_t b = run->block; b < run->end; b++) {
        const tokens_block *block = &k->blocks[b];
        const cot_real *max = u->maxima + b * u->tokens;
        if (block->slots == 0) continue;
        for (size_t i = 0; i < u->n; i++)
            for (size_t t = 0; t < T; t++)
                k->factors[i * T + t] = max[i * T + t] - marks[2 * i * T + t];
        cot_exp(u->tokens, k->factors, k->factors);
        scale_rows(u->tokens, block->slots, run->slots, k->factors,
                   combine + block->slot - run->slot);
    }
}

/* One sample's part of the gradient: weights and their gradients [T,slots] of rows `stride` apart.
 * Through the combine softmax: dL = Cmb (dCmb - delta), over Cmb; none of it where that is uniform.
 * Through the dispatch softmax: dL += Dsp (dDsp - sum over the tokens of Dsp dDsp). */
COT_VECTOR_CLONES
static void through_softmaxes(const cot_router_options *options, size_t T, size_t slots,
                              size_t stride, const cot_real *delta, const cot_real *dcombine,
                              const cot_real *dispatch, const cot_real *ddispatch,
                              cot_real *restrict inner, cot_real *restrict combine)
{
    for (size_t j = 0; j < slots; j++) inner[j] = 0;
    for (size_t t = 0; t < T && !options->uniform_dispatch; t++)
        for (size_t j = 0; j < slots; j++)
            inner[j] += dispatch[t * stride + j] * ddispatch[t * stride + j];
    for (size_t t = 0; t < T; t++) {
        cot_real *restrict c = combine + t * stride;
        if (options->uniform_combine)
            for (size_t j = 0; j < slots; j++) c[j] = 0;
        else
            for (size_t j = 0; j < slots; j++) c[j] *= dcombine[t * stride + j] - delta[t];
        if (options->uniform_dispatch) continue;
        for (size_t j = 0; j < slots; j++)
            c[j] += dispatch[t * stride + j] * (ddispatch[t * stride + j] - inner[j]);
    }
}

void tokens_logits_gradient(cot_tokens *k, const tokens_unit *u, const tokens_run *run, size_t slot,
                            size_t slots)
{
    const size_t T = k->shape.T;
    const cot_real *marks = cot_gather_rows(k->marks) + u->first * 2 * T;
    const size_t weights = tokens_weights_at(k, u, run);
    if (!cot_router_needs_logits(&k->options.router)) return;
    for (size_t i = 0; i < u->n; i++) {
        size_t at = i * T * run->slots + slot - run->slot;
        through_softmaxes(&k->options.router, T, slots, run->slots, marks + (2 * i + 1) * T,
                          k->dcombine + at, k->dispatch + weights + at, k->ddispatch + at,
                          k->columns, k->combine + weights + at);
    }
}

/* dL [n,T,slots] for tokens as differences to the last, z (math/fused.h):
 *     sum_t x_t dL_t = sum_{t<T-1} z_t dL_t + z_{T-1} sum_t dL_t */
COT_VECTOR_CLONES
static void sum_into_last(size_t n, size_t T, size_t slots, cot_real *dlogits)
{
    for (size_t i = 0; i < n; i++, dlogits += T * slots)
        for (size_t t = 0; t < T - 1; t++)
            for (size_t j = 0; j < slots; j++)
                dlogits[(T - 1) * slots + j] += dlogits[t * slots + j];
}

/* The fused experts' rows, where they are the same tokens, are in the cache. */
void tokens_phi_gradient(cot_tokens *k, const tokens_unit *u, const tokens_run *run, bool first)
{
    const size_t D = k->shape.D;
    const cot_real *xhat = tokens_xhat_of(k, u->first);
    size_t row = D;
    cot_real *dlogits = k->combine + tokens_weights_at(k, u, run);
    if (k->fused != NULL && xhat == tokens_mixed_of(k, u->first)) {
        xhat = cot_fused_tokens(k->fused, u->grain, &row);
        sum_into_last(u->n, k->shape.T, run->slots, dlogits);
    }
    cot_gemm(COT_T, COT_N, D, run->slots, u->tokens, 1, xhat, row, dlogits, run->slots,
             first ? 0 : 1, k->dphi_hat + run->slot, k->slots);
}
