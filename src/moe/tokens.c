#include "moe/tokens.h"

#include "moe/tokens_state.h"

#include <coterie/softmax.h>
#include <coterie/tree.h>
#include <coterie/vector.h>

#include <string.h>

/* ---- forward ---- */

/* Phihat of this rank's slots, as one matrix. */
static void load_phi(const cot_tokens *k)
{
    const size_t D = k->shape.D;
    for (size_t d = 0; d < D; d++)
        memcpy(k->phi_hat + d * k->slots, k->phi->value + d * k->S + k->first_slot,
               k->slots * sizeof *k->phi_hat);
    if (cot_router_normalizes(&k->options.router))
        cot_normalize_cols(cot_router_l2_form(&k->options.router), D, k->slots, k->phi_hat,
                           k->phi_hat, k->phi_inverse);
}

/* That of a member without experts is 0 in lanes as in rows. */
static cot_partial part_of(const cot_tokens *k, size_t member)
{
    return (cot_partial){.numerators = cot_parts_of(k->numerators, &k->batch, member),
                         .max = cot_parts_of(k->max, &k->batch, member),
                         .sum = cot_parts_of(k->sum, &k->batch, member),
                         .in_lanes = k->whole_lanes};
}

/* The members' parts of this rank's samples, by a tree in rank order: the merges of parts up to
 * `strides` members apart, each into the first of its two. */
static void merge_members(const cot_tokens *k, size_t strides,
                          cot_partial (*part)(const cot_tokens *, size_t))
{
    size_t members = (size_t)k->comm->group_size;
    for (size_t stride = 1; stride <= strides; stride *= 2)
        for (size_t m = 0; m + stride < members; m += 2 * stride) {
            cot_partial a = part(k, m);
            cot_partial b = part(k, m + stride);
            cot_partial_merge(&a, &b, k->batch.here * k->shape.T, k->shape.D);
        }
}

/* How far apart the parts of the last merge are; 0: there is none. */
static size_t last_stride(const cot_tokens *k)
{
    size_t stride = 0;
    for (size_t next = 1; next < (size_t)k->comm->group_size; next *= 2) stride = next;
    return stride;
}

/* Y = N / z, and the log-sum-exp of the logits, for the backward pass. The last merge goes straight
 * to Y: written into a member's part, its numbers would be fetched back by that rank. */
static void finish_outputs(cot_tokens *k, cot_real *y)
{
    const size_t last = last_stride(k);
    const size_t tokens = k->batch.here * k->shape.T;
    const size_t D = k->shape.D;
    const cot_partial a = part_of(k, 0);
    const cot_partial b = part_of(k, last);
    merge_members(k, last / 2, part_of);
    for (size_t t = 0; t < tokens; t += COT_PARTIAL_BLOCK) {
        size_t n = tokens - t < COT_PARTIAL_BLOCK ? tokens - t : COT_PARTIAL_BLOCK;
        cot_partial_outputs(&a, last > 0 ? &b : NULL, t, n, D, k->y + t * D, k->lse + t);
        memcpy(y + t * D, k->y + t * D, n * D * sizeof *y);
    }
}

/* Tell all ranks of the group this rank's tokens: normalized, where they are needed in no other
 * form. */
static void tell_tokens(cot_tokens *k, const cot_real *x)
{
    const size_t first = k->batch.begin * k->shape.T;
    const size_t tokens = k->batch.here * k->shape.T;
    cot_real *mine = cot_gather_rows(k->x) + first * k->shape.D;
    if (k->options.router.normalize == COT_NORMALIZE_INPUTS) {
        cot_normalize_rows(cot_router_l2_form(&k->options.router), tokens, k->shape.D, x, mine,
                           k->x_inverse + first);
        cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
    } else {
        memcpy(mine, x, tokens * k->shape.D * sizeof *x);
        cot_ledger_mark(k->ledger, COT_PHASE_EXCHANGE);
    }
    cot_gather_run(k->x, k->begins);
    cot_ledger_sent(k->ledger, COT_PHASE_EXCHANGE, cot_gather_bytes(k->x, k->begins));
}

/* Where logits alone are made of normalized tokens. */
static void normalize(const cot_tokens *k, const tokens_unit *u)
{
    const size_t token = u->first * k->shape.T;
    const size_t at = token * k->shape.D;
    cot_normalize_rows(cot_router_l2_form(&k->options.router), u->tokens, k->shape.D,
                       cot_gather_rows(k->x) + at, k->xhat + at, k->x_inverse + token);
}

static void load_weights(cot_tokens *k)
{
    if (k->way == COT_TOKENS_BY_SLOTS) cot_expert_bank_load(k->bank);
    if (k->fused != NULL) cot_fused_load(k->fused);
    load_phi(k);
    for (size_t b = 0; b < k->block_count; b++)
        if (k->blocks[b].projected != NULL) cot_projected_load(k->blocks[b].projected);
}

/* Whether fused experts can leave a batch's numerators in lanes: where every grain fills them, it
 * takes as much room as in rows. */
static bool fills_lanes(const cot_tokens *k)
{
    const cot_grains *grains = &k->batch.group;
    if (k->way != COT_TOKENS_FUSED) return false;
    for (size_t g = grains->first; g < grains->end; g++)
        if (cot_grain_size(grains, g) % COT_FUSED_LANES != 0) return false;
    return true;
}

/* All blocks' partial outputs of one grain, while they are in the cache. */
static void forward_grain(cot_tokens *k, size_t grain, const cot_noise *noise)
{
    const tokens_unit u = tokens_unit_of(k, grain);
    const size_t token = u.first * k->shape.T;
    cot_real *numerators = cot_parts_own(k->numerators) + token * k->shape.D;
    const bool in_lanes = k->fused != NULL;
    const bool comes_out = in_lanes && !k->whole_lanes;
    const cot_partial root = {.numerators = comes_out ? cot_fused_numerators(k->fused) : numerators,
                              .max = cot_parts_own(k->max) + token,
                              .sum = cot_parts_own(k->sum) + token,
                              .in_lanes = in_lanes};
    if (k->xhat != NULL) normalize(k, &u);
    tokens_weigh(k, &u, noise);
    cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
    tokens_take(k, &u);
    cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
    cot_partial_tree_set_root(k->outputs, &root);
    for (size_t r = 0; r < k->run_count; r++) tokens_run_forward(k, &u, &k->runs[r]);
    cot_partial_tree_finish(k->outputs, u.tokens);
    if (comes_out) cot_fused_give_numerators(k->fused, u.n, numerators);
    cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
}

void cot_tokens_forward(cot_tokens *k, const cot_pass *pass, const cot_real *x, cot_real *y)
{
    k->batch = cot_group_batch_of(k->comm, pass->samples, k->batching.grains, k->begins);
    const cot_grains *grains = &k->batch.group;
    k->first_in_batch = cot_grains_begin(grains);
    k->ledger = pass->ledger;
    k->whole_lanes = fills_lanes(k);
    tell_tokens(k, x);
    if (pass->part == 0) load_weights(k);
    for (size_t g = grains->first; g < grains->end; g++) forward_grain(k, g, pass->noise);
    cot_parts_run(k->numerators, &k->batch);
    cot_parts_run(k->max, &k->batch);
    cot_parts_run(k->sum, &k->batch);
    cot_ledger_sent(pass->ledger, COT_PHASE_EXCHANGE,
                    cot_parts_bytes(k->numerators, &k->batch) + cot_parts_bytes(k->max, &k->batch) +
                        cot_parts_bytes(k->sum, &k->batch));
    finish_outputs(k, y);
    cot_ledger_mark(pass->ledger, COT_PHASE_COMBINE);
}

/* ---- backward ---- */

/* Tell all ranks of the group this rank's dY, and of each token the log-sum-exp and
 * delta = dY . Y. */
static void tell_gradients(cot_tokens *k, const cot_real *dy)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    const size_t begin = k->batch.begin;
    const size_t here = k->batch.here;
    cot_real *marks = cot_gather_rows(k->marks) + begin * 2 * T;
    memcpy(cot_gather_rows(k->dy) + begin * T * D, dy, here * T * D * sizeof *dy);
    for (size_t i = 0; i < here; i++)
        for (size_t t = 0; t < T; t++) {
            size_t token = i * T + t;
            marks[2 * i * T + t] = k->lse[token];
            marks[(2 * i + 1) * T + t] = cot_dot(D, dy + token * D, k->y + token * D);
        }
    cot_ledger_mark(k->ledger, COT_PHASE_COMBINE);
    cot_gather_run(k->dy, k->begins);
    cot_gather_run(k->marks, k->begins);
    cot_ledger_sent(k->ledger, COT_PHASE_EXCHANGE,
                    cot_gather_bytes(k->dy, k->begins) + cot_gather_bytes(k->marks, k->begins));
}

/* sums [blocks] = the sum of dPhihat Phihat over a block's slots, each slot's own first. */
static void sum_blocks(const cot_tokens *k, cot_real *sums)
{
    cot_real *columns = k->columns;
    cot_fill(k->slots, 0, columns);
    for (size_t d = 0; d < k->shape.D; d++)
        for (size_t j = 0; j < k->slots; j++)
            columns[j] += k->dphi_hat[d * k->slots + j] * k->phi_hat[d * k->slots + j];
    for (size_t b = 0; b < k->block_count; b++)
        sums[b] = cot_sum(k->blocks[b].slots, columns + k->blocks[b].slot);
}

/* This rank's columns of the gradient of Phi, and its share of the scale's; with C = Xhat^T dL:
 *     ds = sum of C Phihat,  dPhihat = s C, through the normalization to dPhi */
static void finish_gradients(cot_tokens *k)
{
    const size_t D = k->shape.D;
    const size_t numbers = D * k->slots;
    if (k->scale != NULL) *k->scale->grad = 0;
    if (k->dphi == NULL) return;
    cot_real *dphi = cot_columns_own(k->dphi, k->phi->grad);
    if (!cot_router_normalizes(&k->options.router)) {
        memcpy(dphi, k->dphi_hat, numbers * sizeof *dphi);
        return;
    }
    k->dscale[0] = 0;
    sum_blocks(k, k->dscale);
    cot_tree_reduce(k->block_count, 1, k->dscale);
    if (k->scale != NULL) *k->scale->grad = k->dscale[0];
    cot_scale(numbers, tokens_scale_of(k), k->dphi_hat, k->dphi_hat);
    cot_fill(numbers, 0, dphi);
    cot_normalize_cols_backward(cot_router_l2_form(&k->options.router), D, k->slots, k->phi_hat,
                                k->phi_inverse, k->dphi_hat, dphi, k->columns);
}

/* The columns of all ranks' slots, on all ranks. Nobody writes tokens of the next batch before all
 * are done with these: where memory is shared, the ranks meet here. */
static void finish_phi(cot_tokens *k)
{
    if (k->dphi == NULL) {
        cot_gather_wait(k->x);
        cot_ledger_sent(k->ledger, COT_PHASE_EXCHANGE, 0);
        cot_fill(k->phi->count, 0, k->phi->grad);
    } else {
        size_t sent = cot_columns_run(k->dphi, k->phi->grad);
        cot_ledger_sent(k->ledger, COT_PHASE_EXCHANGE, sent);
        cot_columns_put(k->dphi, k->phi->grad);
    }
    cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
}

static cot_partial dmixed_part(const cot_tokens *k, size_t member)
{
    return cot_partial_plain(cot_parts_of(k->dmixed, &k->batch, member));
}

static cot_partial dxhat_part(const cot_tokens *k, size_t member)
{
    return cot_partial_plain(cot_parts_of(k->dxhat, &k->batch, member));
}

/* dX of this rank's samples, through the normalization where there is one. */
static void finish_inputs(cot_tokens *k, cot_real *dx)
{
    const size_t tokens = k->batch.here * k->shape.T;
    const size_t D = k->shape.D;
    const size_t first = k->batch.begin * k->shape.T;
    bool inputs = k->options.router.normalize == COT_NORMALIZE_INPUTS;
    cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
    cot_parts_run(k->dmixed, &k->batch);
    cot_ledger_sent(k->ledger, COT_PHASE_EXCHANGE, cot_parts_bytes(k->dmixed, &k->batch));
    merge_members(k, last_stride(k), dmixed_part);
    const cot_real *dmixed = dmixed_part(k, 0).numerators;
    const cot_real *dxhat = dmixed;
    if (k->dxhat != NULL) {
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
        cot_parts_run(k->dxhat, &k->batch);
        cot_ledger_sent(k->ledger, COT_PHASE_EXCHANGE, cot_parts_bytes(k->dxhat, &k->batch));
        merge_members(k, last_stride(k), dxhat_part);
        dxhat = dxhat_part(k, 0).numerators;
    }
    if (inputs)
        cot_fill(tokens * D, 0, dx);
    else
        memcpy(dx, dmixed, tokens * D * sizeof *dx);
    if (cot_router_normalizes(&k->options.router))
        cot_normalize_rows_backward(cot_router_l2_form(&k->options.router), tokens, D,
                                    tokens_xhat_of(k, k->batch.begin), k->x_inverse + first, dxhat,
                                    dx);
}

static void begin_trees(cot_tokens *k)
{
    const cot_grains *grains = &k->batch.group;
    for (size_t g = grains->first; g < grains->end; g++) {
        const tokens_unit u = tokens_unit_of(k, g);
        const size_t at = u.first * k->shape.T * k->shape.D;
        cot_partial root = cot_partial_plain(cot_parts_own(k->dmixed) + at);
        cot_partial_tree_set_root(k->dmixed_trees[u.grain], &root);
        if (k->dxhat == NULL) continue;
        root = cot_partial_plain(cot_parts_own(k->dxhat) + at);
        cot_partial_tree_set_root(k->dxhat_trees[u.grain], &root);
    }
}

static void finish_trees(cot_tokens *k)
{
    const cot_grains *grains = &k->batch.group;
    for (size_t g = grains->first; g < grains->end; g++) {
        const tokens_unit u = tokens_unit_of(k, g);
        cot_partial_tree_finish(k->dmixed_trees[u.grain], u.tokens);
        if (k->dxhat != NULL) cot_partial_tree_finish(k->dxhat_trees[u.grain], u.tokens);
    }
}

/* All grains, while the run's weights and their gradients are in the cache. The first run takes the
 * gradients of a grain's outputs, just before it uses them. */
static void backward_run(cot_tokens *k, const tokens_run *run, bool wanted)
{
    const cot_grains *grains = &k->batch.group;
    cot_projected *projected = k->blocks[run->block].projected;
    for (size_t g = grains->first; g < grains->end; g++) {
        const tokens_unit u = tokens_unit_of(k, g);
        if (run == k->runs) tokens_take_gradients(k, &u);
        tokens_run_backward(k, &u, run, g == grains->first, wanted);
    }
    if (projected != NULL)
        cot_projected_finish(projected);
    else
        cot_expert_bank_finish(k->bank, run->expert, run->experts);
}

void cot_tokens_backward(cot_tokens *k, const cot_real *dy, cot_real *dx)
{
    const bool wanted = dx != NULL;
    tell_gradients(k, dy);
    if (wanted) begin_trees(k);
    for (size_t r = 0; r < k->run_count; r++) backward_run(k, &k->runs[r], wanted);
    cot_ledger_mark(k->ledger, COT_PHASE_EXPERTS);
    finish_gradients(k);
    cot_ledger_mark(k->ledger, COT_PHASE_ROUTE);
    if (wanted) {
        finish_trees(k);
        finish_inputs(k, dx);
        cot_ledger_mark(k->ledger, COT_PHASE_DISPATCH);
    }
    finish_phi(k);
}
