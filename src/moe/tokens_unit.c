#include "moe/mix.h"
#include "moe/tokens_state.h"

#include <coterie/blas.h>

#include <string.h>

tokens_unit tokens_unit_of(const cot_tokens *k, size_t grain)
{
    const cot_grains *grains = &k->batch.group;
    size_t first = cot_grain_begin(grains, grain) - cot_grains_begin(grains);
    size_t n = cot_grain_size(grains, grain);
    return (tokens_unit){.grain = grain - grains->first,
                         .first = first,
                         .n = n,
                         .tokens = n * k->shape.T,
                         .maxima = k->maxima + first * k->shape.T * k->block_count};
}

/* Some experts of a run: tables for the products, made for the time of their use. */
typedef struct piece {
    size_t expert; /* the first, among this rank's */
    cot_moe_shape shape;
    cot_slots slots;
    cot_mix mix;
    cot_bank_rows rows;
} piece;

/* The experts from `expert` to `end` of the piece. */
static void narrow(const piece *whole, size_t expert, size_t end, piece *part)
{
    const size_t skipped = expert - whole->expert;
    *part = *whole;
    part->expert = expert;
    part->shape.E = end - expert;
    part->slots.experts = end - expert;
    part->slots.samples += skipped;
    part->slots.first += skipped;
    part->mix.shape = &part->shape;
    part->mix.slots = &part->slots;
}

static void set_piece(cot_tokens *k, const tokens_unit *u, const tokens_run *run, size_t expert,
                      piece *at)
{
    const size_t P = k->shape.P;
    const size_t left = run->expert + run->experts - expert;
    const size_t pieces = (left + k->piece_experts - 1) / k->piece_experts;
    const size_t experts = (left + pieces - 1) / pieces; /* of about the same size */
    for (size_t e = 0; e < experts; e++) {
        k->samples[e] = u->n;
        k->first[e] = e * P * u->n;
    }
    at->expert = expert;
    at->shape = k->shape;
    at->shape.E = experts;
    at->slots = (cot_slots){experts, P, k->samples, k->first};
    at->mix =
        (cot_mix){.shape = &at->shape, .slots = &at->slots, .samples = u->n, .stride = run->slots};
    size_t before = run->expert * k->batch.samples + run->experts * u->first;
    at->rows = (cot_bank_rows){.slots = &at->slots,
                               .first_expert = expert,
                               .first_hidden = (before + (expert - run->expert) * u->n) * P};
}

/* What else a block's leaf needs when the products of its slots are in it. */
typedef void complete_leaf(cot_tokens *k, const tokens_unit *u, const tokens_run *run,
                           const tokens_block *b, const cot_partial *leaf);

/* Where the leaves of a pass go. */
typedef struct leaves {
    cot_partial_tree *tree;
    complete_leaf *complete;
    size_t block; /* the next to be pushed */
} leaves;

static void push_leaf(cot_tokens *k, const tokens_unit *u, const tokens_run *run, leaves *to)
{
    const tokens_block *b = &k->blocks[to->block++];
    cot_partial leaf = cot_partial_tree_leaf(to->tree);
    if (b->experts == 0) cot_partial_clear(&leaf, u->tokens, k->shape.D);
    to->complete(k, u, run, b, &leaf);
    cot_partial_tree_push(to->tree, u->tokens);
}

/* The piece's rows in k->out to the tokens, with the run's weights, in the leaves of its blocks;
 * those that are complete are pushed. */
static void to_leaves(cot_tokens *k, const tokens_unit *u, const tokens_run *run,
                      const piece *whole, const cot_real *weights, leaves *to)
{
    const size_t end = whole->expert + whole->shape.E;
    while (to->block < run->end && k->blocks[to->block].expert < end) {
        const tokens_block *b = &k->blocks[to->block];
        const size_t block_end = b->expert + b->experts;
        if (b->experts > 0) {
            piece part;
            narrow(whole, b->expert > whole->expert ? b->expert : whole->expert,
                   block_end < end ? block_end : end, &part);
            part.mix.adds = part.expert > b->expert;
            cot_mix_to_tokens(&part.mix, weights + part.expert * k->shape.P - run->slot, k->out,
                              cot_partial_tree_leaf(to->tree).numerators);
        }
        if (block_end > end) return;
        push_leaf(k, u, run, to);
    }
}

static const cot_real *dy_of(const cot_tokens *k, const tokens_unit *u)
{
    return cot_gather_rows(k->dy) + u->first * k->shape.T * k->shape.D;
}

void tokens_take(cot_tokens *k, const tokens_unit *u)
{
    if (k->fused != NULL)
        cot_fused_take_tokens(k->fused, u->grain, u->n, tokens_mixed_of(k, u->first));
}

void tokens_take_gradients(cot_tokens *k, const tokens_unit *u)
{
    if (k->fused != NULL) cot_fused_take_gradients(k->fused, u->grain, u->n, dy_of(k, u));
}

/* ---- forward ---- */

static void complete_output(cot_tokens *k, const tokens_unit *u, const tokens_run *run,
                            const tokens_block *b, const cot_partial *leaf)
{
    const size_t at = (size_t)(b - k->blocks) * u->tokens;
    (void)run;
    if (b->experts == 0) return;
    memcpy(leaf->max, u->maxima + at, u->tokens * sizeof *leaf->max);
    memcpy(leaf->sum, k->sums + at, u->tokens * sizeof *leaf->sum);
}

/* The experts one after the other, on slots. */
static void forward_pieces(cot_tokens *k, const tokens_unit *u, const tokens_run *run, leaves *to)
{
    const size_t weights = tokens_weights_at(k, u, run);
    piece at;
    for (size_t e = run->expert; e < run->expert + run->experts; e += at.shape.E) {
        set_piece(k, u, run, e, &at);
        cot_mix_to_slots(&at.mix, k->dispatch + weights + e * k->shape.P - run->slot,
                         tokens_mixed_of(k, u->first), k->in);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
        cot_expert_bank_forward(k->bank, &at.rows, k->in, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
        to_leaves(k, u, run, &at, k->combine + weights, to);
        cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
    }
}

static cot_projected_unit projected_unit(const cot_tokens *k, const tokens_unit *u,
                                         const tokens_run *run)
{
    const size_t weights = tokens_weights_at(k, u, run);
    return (cot_projected_unit){.first = u->first,
                                .n = u->n,
                                .tokens = tokens_mixed_of(k, u->first),
                                .dispatch = k->dispatch + weights,
                                .combine = k->combine + weights};
}

static cot_fused_unit fused_unit(const cot_tokens *k, const tokens_unit *u, const tokens_run *run)
{
    const size_t weights = tokens_weights_at(k, u, run);
    return (cot_fused_unit){.grain = u->grain,
                            .n = u->n,
                            .expert = run->expert,
                            .experts = run->experts,
                            .dispatch = k->dispatch + weights,
                            .combine = k->combine + weights};
}

/* The experts of a block together, without slots. */
static void forward_block(cot_tokens *k, const tokens_unit *u, const tokens_run *run)
{
    cot_real *numerators = cot_partial_tree_leaf(k->outputs).numerators;
    if (k->way == COT_TOKENS_FUSED) {
        cot_fused_unit unit = fused_unit(k, u, run);
        cot_fused_forward(k->fused, &unit, numerators);
    } else {
        cot_projected_unit unit = projected_unit(k, u, run);
        cot_projected_forward(k->blocks[run->block].projected, &unit, numerators);
    }
    cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
}

void tokens_run_forward(cot_tokens *k, const tokens_unit *u, const tokens_run *run)
{
    leaves to = {k->outputs, complete_output, run->block};
    if (k->way == COT_TOKENS_BY_SLOTS)
        forward_pieces(k, u, run, &to);
    else if (run->experts > 0)
        forward_block(k, u, run);
    while (to.block < run->end) push_leaf(k, u, run, &to);
}

/* ---- backward ---- */

/* dXhat = s dL Phihat^T of a block's slots: a leaf of its own, or added to dmixed's. */
static void complete_input(cot_tokens *k, const tokens_unit *u, const tokens_run *run,
                           const tokens_block *b, const cot_partial *leaf)
{
    const size_t D = k->shape.D;
    const cot_real *dlogits = k->combine + tokens_weights_at(k, u, run) + b->slot - run->slot;
    const bool apart = k->dxhat_trees != NULL;
    cot_partial to = apart ? cot_partial_tree_leaf(k->dxhat_trees[u->grain]) : *leaf;
    if (cot_router_needs_logits(&k->options.router))
        cot_gemm(COT_N, COT_T, u->tokens, D, b->slots, tokens_scale_of(k), dlogits, run->slots,
                 k->phi_hat + b->slot, k->slots, apart ? 0 : 1, to.numerators, D);
    else if (apart)
        cot_partial_clear(&to, u->tokens, D);
    if (apart) cot_partial_tree_push(k->dxhat_trees[u->grain], u->tokens);
}

static void backward_pieces(cot_tokens *k, const tokens_unit *u, const tokens_run *run, leaves *to)
{
    const size_t P = k->shape.P;
    const size_t weights = tokens_weights_at(k, u, run);
    const cot_real *dy = dy_of(k, u);
    const cot_real *mixed = tokens_mixed_of(k, u->first);
    piece at;
    for (size_t e = run->expert; e < run->expert + run->experts; e += at.shape.E) {
        const size_t slot = e * P - run->slot;
        set_piece(k, u, run, e, &at);
        cot_mix_to_slots(&at.mix, k->dispatch + weights + slot, mixed, k->in);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
        cot_expert_bank_outputs(k->bank, &at.rows, k->in, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
        cot_mix_to_weights(&at.mix, dy, k->out, k->dcombine + slot);
        cot_mix_to_slots(&at.mix, k->combine + weights + slot, dy, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
        cot_expert_bank_backward(k->bank, &at.rows, k->in, k->out);
        cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
        cot_mix_to_weights(&at.mix, mixed, k->out, k->ddispatch + slot);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
        tokens_logits_gradient(k, u, run, e * P, at.shape.E * P);
        cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
        if (to == NULL) continue;
        to_leaves(k, u, run, &at, k->dispatch + weights, to);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
    }
}

static void backward_block(cot_tokens *k, const tokens_unit *u, const tokens_run *run, bool first,
                           const leaves *to)
{
    cot_real *dtokens = to != NULL ? cot_partial_tree_leaf(to->tree).numerators : NULL;
    if (k->way == COT_TOKENS_FUSED) {
        cot_fused_unit unit = fused_unit(k, u, run);
        cot_fused_backward(k->fused, &unit, k->dcombine, k->ddispatch, dtokens);
    } else {
        cot_projected_unit unit = projected_unit(k, u, run);
        cot_projected_backward(k->blocks[run->block].projected, &unit, first, dy_of(k, u),
                               k->dcombine, k->ddispatch, dtokens);
    }
    cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
    tokens_logits_gradient(k, u, run, run->slot, run->slots);
}

void tokens_run_backward(cot_tokens *k, const tokens_unit *u, const tokens_run *run, bool first,
                         bool wanted)
{
    leaves to = {wanted ? k->dmixed_trees[u->grain] : NULL, complete_input, run->block};
    tokens_finish_combine(k, u, run);
    cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
    if (k->way == COT_TOKENS_BY_SLOTS)
        backward_pieces(k, u, run, wanted ? &to : NULL);
    else if (run->experts > 0)
        backward_block(k, u, run, first, wanted ? &to : NULL);
    while (wanted && to.block < run->end) push_leaf(k, u, run, &to);
    if (cot_router_learns(&k->options.router)) tokens_phi_gradient(k, u, run, first);
    cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
}
