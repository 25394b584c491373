#include "moe/mix.h"
#include "moe/noise.h"
#include "moe/tokens_state.h"

#include <coterie/blas.h>
#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <string.h>

tokens_unit tokens_unit_of(const cot_tokens *k, tokens_block *b, size_t grain)
{
    const size_t T = k->shape.T;
    size_t first = cot_grain_begin(&k->batch.group, grain) - cot_grains_begin(&k->batch.group);
    return (tokens_unit){.block = b,
                         .first = first,
                         .n = cot_grain_size(&k->batch.group, grain),
                         .dispatch = b->dispatch + first * T * b->slots,
                         .combine = b->combine + first * T * b->slots,
                         .max = b->max + first * T};
}

/* Some experts of a unit: tables for the products, made for the time of their use. */
typedef struct piece {
    cot_moe_shape shape; /* with the piece's experts */
    cot_slots slots;
    cot_mix mix;
    cot_bank_rows rows;
    size_t slot; /* the first, among the block's */
} piece;

static void set_piece(cot_tokens *k, const tokens_unit *u, size_t expert, piece *at)
{
    const size_t P = k->shape.P;
    size_t experts = u->block->experts - expert;
    if (experts > k->piece_experts) experts = k->piece_experts;
    for (size_t e = 0; e < experts; e++) {
        k->samples[e] = u->n;
        k->first[e] = e * P * u->n;
    }
    at->shape = k->shape;
    at->shape.E = experts;
    at->slots = (cot_slots){experts, P, k->samples, k->first};
    at->mix = (cot_mix){
        .shape = &at->shape, .slots = &at->slots, .samples = u->n, .stride = u->block->slots};
    size_t before = u->block->expert * k->batch.samples + u->block->experts * u->first;
    at->rows = (cot_bank_rows){.slots = &at->slots,
                               .first_expert = u->block->expert + expert,
                               .first_hidden = (before + expert * u->n) * P};
    at->slot = expert * P;
}

/* Dispatch weights, and the combine softmax as far as these slots tell it. */
static void weigh(cot_tokens *k, const tokens_unit *u, const cot_noise *noise, cot_real *sum)
{
    const cot_router_options *options = &k->options.router;
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    const size_t slots = u->block->slots;
    const cot_slot_range range = {u->block->slot, slots, k->S};
    cot_real *logits = u->combine;
    if (cot_router_needs_logits(&k->options.router))
        cot_gemm(COT_N, COT_N, u->n * T, slots, D, tokens_scale_of(k), tokens_xhat_of(k, u->first),
                 D, u->block->phi_hat, slots, 0, logits, slots);
    for (size_t i = 0; cot_router_needs_logits(&k->options.router) && i < u->n; i++) {
        cot_real *mine = logits + i * T * slots;
        if (noise != NULL)
            cot_add_logit_noise(noise, (cot_real)options->noise, k->layer,
                                k->first_in_batch + u->first + i, T, &range, k->columns, mine);
        if (!options->uniform_dispatch)
            cot_softmax_cols(T, slots, mine, u->dispatch + i * T * slots, k->columns);
    }
    if (options->uniform_dispatch) cot_fill(u->n * T * slots, 1 / (cot_real)T, u->dispatch);
    if (options->uniform_combine) cot_fill(u->n * T * slots, 0, logits);
    cot_softmax_part(u->n * T, slots, logits, u->combine, u->max, sum);
}

/* The experts one after the other, on slots. */
static void forward_pieces(cot_tokens *k, const tokens_unit *u, cot_real *numerators)
{
    for (size_t e = 0; e < u->block->experts; e += k->piece_experts) {
        piece at;
        set_piece(k, u, e, &at);
        at.mix.adds = e > 0;
        cot_mix_to_slots(&at.mix, u->dispatch + at.slot, tokens_mixed_of(k, u->first), k->in);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
        cot_expert_bank_forward(k->bank, &at.rows, k->in, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
        cot_mix_to_tokens(&at.mix, u->combine + at.slot, k->out, numerators);
        cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
    }
}

static cot_projected_unit thin_unit(const cot_tokens *k, const tokens_unit *u)
{
    return (cot_projected_unit){.first = u->first,
                                .n = u->n,
                                .tokens = tokens_mixed_of(k, u->first),
                                .dispatch = u->dispatch,
                                .combine = u->combine};
}

void tokens_unit_forward(cot_tokens *k, const tokens_unit *u, const cot_noise *noise,
                         const cot_partial *leaf)
{
    const size_t T = k->shape.T;
    if (u->block->experts == 0) {
        cot_partial_clear(leaf, u->n * T, k->shape.D);
        return;
    }
    weigh(k, u, noise, leaf->sum);
    memcpy(leaf->max, u->max, u->n * T * sizeof *u->max);
    cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
    if (u->block->thin == NULL) {
        forward_pieces(k, u, leaf->numerators);
        return;
    }
    cot_projected_unit thin = thin_unit(k, u);
    cot_projected_forward(u->block->thin, &thin, leaf->numerators);
    cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
}

/* Combine weights of the unit: exp(L - log-sum-exp), from exp(L - max). */
static void finish_combine(const cot_tokens *k, const tokens_unit *u)
{
    const size_t T = k->shape.T;
    const size_t slots = u->block->slots;
    const cot_real *marks = cot_gather_rows(k->marks) + u->first * 2 * T;
    for (size_t i = 0; i < u->n; i++)
        for (size_t t = 0; t < T; t++) {
            size_t row = i * T + t;
            cot_real factor = u->max[row] - marks[2 * i * T + t];
            cot_exp(1, &factor, &factor);
            cot_scale(slots, factor, u->combine + row * slots, u->combine + row * slots);
        }
}

/* The experts of a unit, and what tokens and slots exchange, backward: dcombine and ddispatch
 * become the gradients with respect to the weights. */
static void backward_pieces(cot_tokens *k, const tokens_unit *u, const tokens_input_leaf *leaf)
{
    const cot_real *dy = cot_gather_rows(k->dy) + u->first * k->shape.T * k->shape.D;
    const cot_real *mixed = tokens_mixed_of(k, u->first);
    for (size_t e = 0; e < u->block->experts; e += k->piece_experts) {
        piece at;
        set_piece(k, u, e, &at);
        at.mix.adds = e > 0;
        cot_mix_to_slots(&at.mix, u->dispatch + at.slot, mixed, k->in);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
        cot_expert_bank_outputs(k->bank, &at.rows, k->in, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
        cot_mix_to_weights(&at.mix, dy, k->out, k->dcombine + at.slot);
        cot_mix_to_slots(&at.mix, u->combine + at.slot, dy, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
        cot_expert_bank_backward(k->bank, &at.rows, k->in, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
        cot_mix_to_weights(&at.mix, mixed, k->out, k->ddispatch + at.slot);
        if (leaf->dmixed != NULL)
            cot_mix_to_tokens(&at.mix, u->dispatch + at.slot, k->out, leaf->dmixed);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
    }
}

static void backward_thin(cot_tokens *k, const tokens_unit *u, bool first,
                          const tokens_input_leaf *leaf)
{
    const cot_real *dy = cot_gather_rows(k->dy) + u->first * k->shape.T * k->shape.D;
    cot_projected_unit thin = thin_unit(k, u);
    cot_projected_backward(u->block->thin, &thin, first, dy, k->dcombine, k->ddispatch,
                           leaf->dmixed);
    cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
}

/* dL of the unit, over dcombine: Cmb (dCmb - delta), and what comes through the dispatch softmax.
 */
static void logits_gradient(cot_tokens *k, const tokens_unit *u)
{
    const cot_router_options *options = &k->options.router;
    const size_t T = k->shape.T;
    const size_t slots = u->block->slots;
    const cot_real *marks = cot_gather_rows(k->marks) + u->first * 2 * T;
    for (size_t i = 0; i < u->n; i++) {
        cot_real *dlogits = k->dcombine + i * T * slots;
        if (options->uniform_combine)
            cot_fill(T * slots, 0, dlogits);
        else
            for (size_t t = 0; t < T; t++)
                cot_softmax_given(slots, u->combine + (i * T + t) * slots,
                                  marks[(2 * i + 1) * T + t], dlogits + t * slots);
        if (!options->uniform_dispatch)
            cot_softmax_cols_backward(T, slots, u->dispatch + i * T * slots,
                                      k->ddispatch + i * T * slots, dlogits, k->columns);
    }
}

void tokens_unit_backward(cot_tokens *k, const tokens_unit *u, bool first,
                          const tokens_input_leaf *leaf)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    const size_t slots = u->block->slots;
    finish_combine(k, u);
    cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
    if (u->block->thin == NULL)
        backward_pieces(k, u, leaf);
    else
        backward_thin(k, u, first, leaf);
    if (!cot_router_needs_logits(&k->options.router)) return;
    logits_gradient(k, u);
    if (cot_router_learns(&k->options.router))
        cot_gemm(COT_T, COT_N, D, slots, u->n * T, 1, tokens_xhat_of(k, u->first), D, k->dcombine,
                 slots, first ? 0 : 1, u->block->dphi_hat, slots);
    if (leaf->dxhat != NULL)
        cot_gemm(COT_N, COT_T, u->n * T, D, slots, tokens_scale_of(k), k->dcombine, slots,
                 u->block->phi_hat, slots, leaf->dxhat == leaf->dmixed, leaf->dxhat, D);
    cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
}
