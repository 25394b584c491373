#include "moe/tokens.h"

#include "moe/gather.h"
#include "moe/mix.h"
#include "moe/noise.h"
#include "moe/partial.h"

#include <coterie/blas.h>
#include <coterie/memory.h>
#include <coterie/normalize.h>
#include <coterie/softmax.h>
#include <coterie/tree.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

/* Consecutive experts of this rank. */
typedef struct block {
    size_t expert, experts; /* the first, among this rank's; how many */
    size_t slot, slots;     /* the first of all S */
    cot_real *phi_hat;      /* [D,slots] */
    cot_real *phi_inverse;  /* [slots] */
    cot_real *dphi_hat;     /* [D,slots] */
    cot_real *scratch;      /* [D,slots] */
    cot_real *dispatch;     /* [B,T,slots]: dispatch weights */
    cot_real *combine;      /* [B,T,slots]: exp(L - max); in the backward pass, combine weights */
    cot_real *max;          /* [B,T] of these slots' logits */
} block;

struct cot_tokens {
    cot_soft_moe_options options;
    cot_moe_shape shape;
    size_t layer, S;
    const cot_comm *comm;
    cot_batching batching;
    const cot_param *phi, *scale;
    cot_expert_bank *bank;
    size_t *begins;
    cot_group_batch batch; /* at hand */
    size_t first_in_batch; /* place in the batch of the group's first sample */
    size_t block_count;
    block *blocks;
    cot_gather *x, *dy, *marks;        /* marks [B,2,T]: log-sum-exp and delta of each token */
    cot_parts *numerators, *max, *sum; /* [B,T,D], [B,T], [B,T] */
    cot_parts *dmixed, *dxhat;         /* [B,T,D]; NULL where not needed */
    cot_partial_tree *outputs, *dmixed_tree, *dxhat_tree;
    cot_real *xhat, *x_inverse; /* [B,T,D], [B,T]; NULL without normalization */
    cot_real *y, *lse;          /* [b,T,D], [b,T] */
    /* One piece: some experts of a block, one grain. */
    size_t piece_experts;
    size_t *samples, *first;        /* [piece_experts] */
    cot_real *in, *out;             /* [slots of a piece, n, D] */
    cot_real *dcombine, *ddispatch; /* [n,T,slots of a block] */
    cot_real *columns;              /* [2,S] */
    cot_real *dscale;               /* [blocks] */
};

static bool normalizes(const cot_tokens *k)
{
    return k->options.router.normalize != COT_NORMALIZE_NONE;
}

static cot_l2 l2_form(const cot_tokens *k)
{
    return k->options.router.normalize == COT_NORMALIZE_INPUTS ? COT_L2_MAX : COT_L2_SUM;
}

static bool needs_logits(const cot_tokens *k)
{
    return !(k->options.router.uniform_dispatch && k->options.router.uniform_combine);
}

static bool learns(const cot_tokens *k)
{
    return needs_logits(k) && !k->options.router.freeze;
}

static cot_real scale_of(const cot_tokens *k)
{
    return k->scale != NULL ? k->scale->value[0] : 1;
}

/* The tokens that logits are made of, and those that are mixed, of the group's sample i. */
static const cot_real *xhat_of(const cot_tokens *k, size_t i)
{
    const cot_real *all = normalizes(k) ? k->xhat : cot_gather_rows(k->x);
    return all + i * k->shape.T * k->shape.D;
}

static const cot_real *mixed_of(const cot_tokens *k, size_t i)
{
    bool inputs = k->options.router.normalize == COT_NORMALIZE_INPUTS;
    const cot_real *all = inputs ? k->xhat : cot_gather_rows(k->x);
    return all + i * k->shape.T * k->shape.D;
}

/* ---- creation ---- */

/* This rank's part of each of the G blocks that cut the experts; where ranks divide G, whole
 * blocks. */
static void cut_blocks(cot_tokens *k)
{
    const size_t E = k->shape.E;
    const size_t P = k->shape.P;
    size_t members = (size_t)k->comm->group_size;
    size_t me = (size_t)k->comm->group_rank;
    size_t begin = cot_shard_begin(E, members, me);
    size_t end = cot_shard_begin(E, members, me + 1);
    size_t G = k->batching.grains;
    cot_grains mine = cot_grains_of(0, G, members, me);
    k->blocks = cot_alloc(G + 1, sizeof *k->blocks);
    for (size_t b = 0; b < G; b++) {
        size_t from = cot_shard_begin(E, G, b);
        size_t to = cot_shard_begin(E, G, b + 1);
        from = from > begin ? from : begin;
        to = to < end ? to : end;
        bool own = G % members == 0 ? b >= mine.first && b < mine.end : from < to;
        if (!own) continue;
        size_t experts = from < to ? to - from : 0;
        k->blocks[k->block_count++] = (block){.expert = experts > 0 ? from - begin : 0,
                                              .experts = experts,
                                              .slot = from * P,
                                              .slots = experts * P};
    }
}

static void take_block_memory(cot_tokens *k, block *b, size_t samples)
{
    const size_t D = k->shape.D;
    size_t weights = samples * k->shape.T * b->slots;
    b->phi_hat = cot_alloc(D * b->slots, sizeof(cot_real));
    b->phi_inverse = cot_alloc(b->slots, sizeof(cot_real));
    b->dphi_hat = cot_alloc(D * b->slots, sizeof(cot_real));
    b->scratch = cot_alloc(D * b->slots, sizeof(cot_real));
    b->dispatch = cot_alloc(weights, sizeof(cot_real));
    b->combine = cot_alloc(weights, sizeof(cot_real));
    b->max = cot_alloc(samples * k->shape.T, sizeof(cot_real));
}

static void release_block_memory(block *b)
{
    cot_free(b->max);
    cot_free(b->combine);
    cot_free(b->dispatch);
    cot_free(b->scratch);
    cot_free(b->dphi_hat);
    cot_free(b->phi_inverse);
    cot_free(b->phi_hat);
}

/* As many experts at a time as keep their slots, in and out, in a part of the second-level cache.
 */
static size_t choose_piece(const cot_tokens *k, size_t grain, size_t most)
{
    const size_t cache_bytes = 512 * 1024;
    size_t bytes = 2 * k->shape.P * grain * k->shape.D * sizeof(cot_real);
    size_t experts = cache_bytes / bytes;
    if (experts > most) experts = most;
    return experts > 0 ? experts : 1;
}

static void take_piece_memory(cot_tokens *k)
{
    const cot_moe_shape *shape = &k->shape;
    size_t G = k->batching.grains;
    size_t grain = cot_shard_size(k->batching.max_batch, G, G - 1);
    size_t experts = 1;
    for (size_t b = 0; b < k->block_count; b++)
        if (k->blocks[b].experts > experts) experts = k->blocks[b].experts;
    k->piece_experts = choose_piece(k, grain, experts);
    size_t numbers = k->piece_experts * shape->P * grain * shape->D;
    size_t weights = grain * shape->T * experts * shape->P;
    k->samples = cot_alloc(k->piece_experts, sizeof *k->samples);
    k->first = cot_alloc(k->piece_experts, sizeof *k->first);
    k->in = cot_alloc(numbers, sizeof(cot_real));
    k->out = cot_alloc(numbers, sizeof(cot_real));
    k->dcombine = cot_alloc(weights, sizeof(cot_real));
    k->ddispatch = cot_alloc(weights, sizeof(cot_real));
    k->columns = cot_alloc(2 * k->S, sizeof(cot_real));
    k->dscale = cot_alloc(k->block_count + 1, sizeof(cot_real));
}

static cot_partial plain(cot_real *numerators)
{
    return (cot_partial){.numerators = numerators};
}

static void take_group_memory(cot_tokens *k, size_t samples, size_t here)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    bool messages = k->batching.messages;
    k->x = cot_gather_create(k->comm, samples, T * D, messages);
    k->dy = cot_gather_create(k->comm, samples, T * D, messages);
    k->marks = cot_gather_create(k->comm, samples, 2 * T, messages);
    k->numerators = cot_parts_create(k->comm, samples, here, T * D, messages);
    k->max = cot_parts_create(k->comm, samples, here, T, messages);
    k->sum = cot_parts_create(k->comm, samples, here, T, messages);
    k->dmixed = cot_parts_create(k->comm, samples, here, T * D, messages);
    if (k->options.router.normalize == COT_NORMALIZE_LOGITS)
        k->dxhat = cot_parts_create(k->comm, samples, here, T * D, messages);
    cot_partial root = {cot_parts_own(k->numerators), cot_parts_own(k->max), cot_parts_own(k->sum)};
    k->outputs = cot_partial_tree_create(k->block_count, samples * T, D, &root);
    root = plain(cot_parts_own(k->dmixed));
    k->dmixed_tree = cot_partial_tree_create(k->block_count, samples * T, D, &root);
    if (k->dxhat == NULL) return;
    root = plain(cot_parts_own(k->dxhat));
    k->dxhat_tree = cot_partial_tree_create(k->block_count, samples * T, D, &root);
}

cot_tokens *cot_tokens_create(const cot_soft_moe_options *options, size_t layer,
                              const cot_batching *batching, const cot_comm *comm,
                              const cot_router *router, cot_expert_bank *bank)
{
    cot_tokens *k = cot_alloc(1, sizeof *k);
    *k = (cot_tokens){.options = *options,
                      .shape = options->shape,
                      .layer = layer,
                      .S = options->shape.E * options->shape.P,
                      .comm = comm,
                      .batching = *batching,
                      .phi = cot_router_phi(router),
                      .scale = cot_router_scale(router),
                      .bank = bank};
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    size_t samples = cot_grains_capacity(batching->max_batch, batching->grains,
                                         (size_t)comm->replica_count, (size_t)comm->replica);
    size_t here = cot_grains_capacity(batching->max_batch, batching->grains, (size_t)comm->size,
                                      (size_t)comm->rank);
    k->begins = cot_alloc((size_t)comm->group_size + 1, sizeof *k->begins);
    cut_blocks(k);
    for (size_t b = 0; b < k->block_count; b++) take_block_memory(k, &k->blocks[b], samples);
    take_group_memory(k, samples, here);
    take_piece_memory(k);
    if (normalizes(k)) {
        k->xhat = cot_alloc(samples * T * D, sizeof(cot_real));
        k->x_inverse = cot_alloc(samples * T, sizeof(cot_real));
    }
    k->y = cot_alloc(here * T * D, sizeof(cot_real));
    k->lse = cot_alloc(here * T, sizeof(cot_real));
    return k;
}

void cot_tokens_destroy(cot_tokens **tokens)
{
    cot_tokens *k = *tokens;
    if (k == NULL) return;
    cot_free(k->lse);
    cot_free(k->y);
    cot_free(k->x_inverse);
    cot_free(k->xhat);
    cot_free(k->dscale);
    cot_free(k->columns);
    cot_free(k->ddispatch);
    cot_free(k->dcombine);
    cot_free(k->out);
    cot_free(k->in);
    cot_free(k->first);
    cot_free(k->samples);
    cot_partial_tree_destroy(&k->dxhat_tree);
    cot_partial_tree_destroy(&k->dmixed_tree);
    cot_partial_tree_destroy(&k->outputs);
    cot_parts_destroy(&k->dxhat);
    cot_parts_destroy(&k->dmixed);
    cot_parts_destroy(&k->sum);
    cot_parts_destroy(&k->max);
    cot_parts_destroy(&k->numerators);
    cot_gather_destroy(&k->marks);
    cot_gather_destroy(&k->dy);
    cot_gather_destroy(&k->x);
    for (size_t b = 0; b < k->block_count; b++) release_block_memory(&k->blocks[b]);
    cot_free(k->blocks);
    cot_free(k->begins);
    cot_free(k);
    *tokens = NULL;
}

/* ---- pieces ---- */

/* One grain of the group's samples, for one block. */
typedef struct unit {
    block *block;
    size_t first, n;    /* samples, counted from the group's first */
    cot_real *dispatch; /* [n,T,slots] */
    cot_real *combine;
    cot_real *max; /* [n,T] */
} unit;

static unit unit_of(const cot_tokens *k, block *b, size_t grain)
{
    const size_t T = k->shape.T;
    size_t first = cot_grain_begin(&k->batch.group, grain) - cot_grains_begin(&k->batch.group);
    return (unit){.block = b,
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

static void set_piece(cot_tokens *k, const unit *u, size_t expert, piece *at)
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

/* ---- forward ---- */

/* Dispatch weights, and the combine softmax as far as these slots tell it. */
static void weigh(cot_tokens *k, const unit *u, const cot_noise *noise, cot_real *sum)
{
    const cot_router_options *options = &k->options.router;
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    const size_t slots = u->block->slots;
    const cot_slot_range range = {u->block->slot, slots, k->S};
    cot_real *logits = u->combine;
    if (needs_logits(k))
        cot_gemm(COT_N, COT_N, u->n * T, slots, D, scale_of(k), xhat_of(k, u->first), D,
                 u->block->phi_hat, slots, 0, logits, slots);
    for (size_t i = 0; needs_logits(k) && i < u->n; i++) {
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

static void forward_unit(cot_tokens *k, const unit *u, const cot_noise *noise,
                         const cot_partial *leaf)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    cot_real *numerators = leaf->numerators + u->first * T * D;
    if (u->block->experts == 0) {
        cot_partial rows = {numerators, leaf->max + u->first * T, leaf->sum + u->first * T};
        cot_partial_clear(&rows, u->n * T, D);
        return;
    }
    weigh(k, u, noise, leaf->sum + u->first * T);
    memcpy(leaf->max + u->first * T, u->max, u->n * T * sizeof *u->max);
    for (size_t e = 0; e < u->block->experts; e += k->piece_experts) {
        piece at;
        set_piece(k, u, e, &at);
        at.mix.adds = e > 0;
        cot_mix_to_slots(&at.mix, u->dispatch + at.slot, mixed_of(k, u->first), k->in);
        cot_expert_bank_forward(k->bank, &at.rows, k->in, k->out);
        cot_mix_to_tokens(&at.mix, u->combine + at.slot, k->out, numerators);
    }
}

/* Phihat of the block's slots, as one matrix. */
static void load_phi(const cot_tokens *k, const block *b)
{
    const size_t D = k->shape.D;
    for (size_t d = 0; d < D; d++)
        memcpy(b->phi_hat + d * b->slots, k->phi->value + d * k->S + b->slot,
               b->slots * sizeof *b->phi_hat);
    if (normalizes(k))
        cot_normalize_cols(l2_form(k), D, b->slots, b->phi_hat, b->phi_hat, b->phi_inverse);
}

static cot_partial part_of(const cot_tokens *k, size_t member)
{
    return (cot_partial){cot_parts_of(k->numerators, &k->batch, member),
                         cot_parts_of(k->max, &k->batch, member),
                         cot_parts_of(k->sum, &k->batch, member)};
}

/* The members' parts of this rank's samples, by a tree in rank order, into the first's. */
static void merge_members(const cot_tokens *k, cot_partial (*part)(const cot_tokens *, size_t))
{
    size_t members = (size_t)k->comm->group_size;
    for (size_t stride = 1; stride < members; stride *= 2)
        for (size_t m = 0; m + stride < members; m += 2 * stride) {
            cot_partial a = part(k, m);
            cot_partial b = part(k, m + stride);
            cot_partial_merge(&a, &b, k->batch.here * k->shape.T, k->shape.D);
        }
}

/* Y = N / z, and the log-sum-exp of the logits, for the backward pass. */
static void finish_outputs(cot_tokens *k, cot_real *y)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    cot_partial all = part_of(k, 0);
    for (size_t t = 0; t < k->batch.here * T; t++)
        cot_scale(D, 1 / all.sum[t], all.numerators + t * D, k->y + t * D);
    memcpy(y, k->y, k->batch.here * T * D * sizeof *y);
    for (size_t t = 0; t < k->batch.here * T; t++)
        k->lse[t] = all.max[t] + (cot_real)log((double)all.sum[t]);
}

void cot_tokens_forward(cot_tokens *k, const cot_pass *pass, const cot_real *x, cot_real *y)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    k->batch = cot_group_batch_of(k->comm, pass->samples, k->batching.grains, k->begins);
    const cot_grains *grains = &k->batch.group;
    k->first_in_batch = cot_grains_begin(grains);
    memcpy(cot_gather_rows(k->x) + k->batch.begin * T * D, x, k->batch.here * T * D * sizeof *x);
    cot_gather_run(k->x, &k->batch);
    cot_ledger_mark(pass->ledger, COT_PHASE_EXCHANGE);
    if (normalizes(k))
        cot_normalize_rows(l2_form(k), k->batch.samples * T, D, cot_gather_rows(k->x), k->xhat,
                           k->x_inverse);
    for (size_t b = 0; b < k->block_count; b++) {
        cot_partial leaf = cot_partial_tree_leaf(k->outputs);
        load_phi(k, &k->blocks[b]);
        for (size_t g = grains->first; g < grains->end; g++) {
            unit u = unit_of(k, &k->blocks[b], g);
            forward_unit(k, &u, pass->noise, &leaf);
        }
        cot_partial_tree_push(k->outputs, k->batch.samples * T);
    }
    cot_partial_tree_finish(k->outputs, k->batch.samples * T);
    cot_ledger_mark(pass->ledger, COT_PHASE_EXPERTS);
    cot_parts_run(k->numerators, &k->batch);
    cot_parts_run(k->max, &k->batch);
    cot_parts_run(k->sum, &k->batch);
    cot_ledger_mark(pass->ledger, COT_PHASE_EXCHANGE);
    merge_members(k, part_of);
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
    cot_gather_run(k->dy, &k->batch);
    cot_gather_run(k->marks, &k->batch);
}

/* Combine weights of the unit: exp(L - log-sum-exp), from exp(L - max). */
static void finish_combine(const cot_tokens *k, const unit *u)
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

/* Where a unit's gradients with respect to tokens go; NULL: nowhere. */
typedef struct input_leaf {
    cot_real *dmixed, *dxhat;
} input_leaf;

/* The experts of a unit, and what tokens and slots exchange, backward: dcombine and ddispatch
 * become the gradients with respect to the weights. */
static void backward_pieces(cot_tokens *k, const unit *u, const input_leaf *leaf)
{
    const cot_real *dy = cot_gather_rows(k->dy) + u->first * k->shape.T * k->shape.D;
    const cot_real *mixed = mixed_of(k, u->first);
    for (size_t e = 0; e < u->block->experts; e += k->piece_experts) {
        piece at;
        set_piece(k, u, e, &at);
        at.mix.adds = e > 0;
        cot_mix_to_slots(&at.mix, u->dispatch + at.slot, mixed, k->in);
        cot_expert_bank_outputs(k->bank, &at.rows, k->out);
        cot_mix_to_weights(&at.mix, dy, k->out, k->dcombine + at.slot);
        cot_mix_to_slots(&at.mix, u->combine + at.slot, dy, k->out);
        cot_expert_bank_backward(k->bank, &at.rows, k->in, k->out);
        cot_mix_to_weights(&at.mix, mixed, k->out, k->ddispatch + at.slot);
        if (leaf->dmixed != NULL)
            cot_mix_to_tokens(&at.mix, u->dispatch + at.slot, k->out, leaf->dmixed);
    }
}

/* dL of the unit, over dcombine: Cmb (dCmb - delta), and what comes through the dispatch softmax.
 */
static void logits_gradient(cot_tokens *k, const unit *u)
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

static void backward_unit(cot_tokens *k, const unit *u, bool first, const input_leaf *leaf)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    const size_t slots = u->block->slots;
    finish_combine(k, u);
    backward_pieces(k, u, leaf);
    if (!needs_logits(k)) return;
    logits_gradient(k, u);
    if (learns(k))
        cot_gemm(COT_T, COT_N, D, slots, u->n * T, 1, xhat_of(k, u->first), D, k->dcombine, slots,
                 first ? 0 : 1, u->block->dphi_hat, slots);
    if (leaf->dxhat != NULL)
        cot_gemm(COT_N, COT_T, u->n * T, D, slots, scale_of(k), k->dcombine, slots,
                 u->block->phi_hat, slots, leaf->dxhat == leaf->dmixed, leaf->dxhat, D);
}

/* One block's share of the gradients of the scale and of Phi; with C = Xhat^T dL:
 *     ds = sum of C Phihat,  dPhihat = s C, through the normalization to dPhi */
static void finish_block(cot_tokens *k, const block *b, cot_real *dscale)
{
    const size_t D = k->shape.D;
    const size_t numbers = D * b->slots;
    cot_real *dphi = b->dphi_hat;
    *dscale = 0;
    if (normalizes(k)) {
        *dscale = cot_dot(numbers, b->dphi_hat, b->phi_hat);
        cot_scale(numbers, scale_of(k), b->dphi_hat, b->dphi_hat);
        dphi = b->scratch;
        cot_fill(numbers, 0, dphi);
        cot_normalize_cols_backward(l2_form(k), D, b->slots, b->phi_hat, b->phi_inverse,
                                    b->dphi_hat, dphi, k->columns);
    }
    for (size_t d = 0; d < D; d++)
        memcpy(k->phi->grad + d * k->S + b->slot, dphi + d * b->slots, b->slots * sizeof *dphi);
}

/* The columns of Phi that belong to other ranks' slots stay 0 here: the sum over the ranks puts
 * them together. */
static void finish_gradients(cot_tokens *k)
{
    cot_fill(k->phi->count, 0, k->phi->grad);
    k->dscale[0] = 0;
    for (size_t b = 0; learns(k) && b < k->block_count; b++)
        finish_block(k, &k->blocks[b], &k->dscale[b]);
    cot_tree_reduce(k->block_count, 1, k->dscale);
    if (k->scale != NULL) *k->scale->grad = k->dscale[0];
}

static cot_partial dmixed_part(const cot_tokens *k, size_t member)
{
    return plain(cot_parts_of(k->dmixed, &k->batch, member));
}

static cot_partial dxhat_part(const cot_tokens *k, size_t member)
{
    return plain(cot_parts_of(k->dxhat, &k->batch, member));
}

/* dX of this rank's samples, through the normalization where there is one. */
static void finish_inputs(cot_tokens *k, cot_real *dx)
{
    const size_t tokens = k->batch.here * k->shape.T;
    const size_t D = k->shape.D;
    const size_t begin = k->batch.begin * k->shape.T;
    bool inputs = k->options.router.normalize == COT_NORMALIZE_INPUTS;
    cot_parts_run(k->dmixed, &k->batch);
    merge_members(k, dmixed_part);
    const cot_real *dmixed = dmixed_part(k, 0).numerators;
    const cot_real *dxhat = dmixed;
    if (k->dxhat != NULL) {
        cot_parts_run(k->dxhat, &k->batch);
        merge_members(k, dxhat_part);
        dxhat = dxhat_part(k, 0).numerators;
    }
    if (inputs)
        cot_fill(tokens * D, 0, dx);
    else
        memcpy(dx, dmixed, tokens * D * sizeof *dx);
    if (normalizes(k))
        cot_normalize_rows_backward(l2_form(k), tokens, D, k->xhat + begin * D,
                                    k->x_inverse + begin, dxhat, dx);
}

/* The leaves of one block. */
static input_leaf leaves_of(cot_tokens *k, bool wanted)
{
    input_leaf leaf = {NULL, NULL};
    if (!wanted) return leaf;
    leaf.dmixed = cot_partial_tree_leaf(k->dmixed_tree).numerators;
    leaf.dxhat = k->dxhat != NULL ? cot_partial_tree_leaf(k->dxhat_tree).numerators : leaf.dmixed;
    return leaf;
}

static input_leaf rows_of(const cot_tokens *k, const input_leaf *leaf, const unit *u)
{
    size_t at = u->first * k->shape.T * k->shape.D;
    return (input_leaf){leaf->dmixed != NULL ? leaf->dmixed + at : NULL,
                        leaf->dxhat != NULL ? leaf->dxhat + at : NULL};
}

static void backward_block(cot_tokens *k, block *b, bool wanted)
{
    const size_t numbers = k->batch.samples * k->shape.T * k->shape.D;
    const cot_grains *grains = &k->batch.group;
    input_leaf leaf = leaves_of(k, wanted);
    if (b->experts == 0 || !needs_logits(k)) {
        if (leaf.dmixed != NULL) cot_fill(numbers, 0, leaf.dmixed);
        if (leaf.dxhat != NULL) cot_fill(numbers, 0, leaf.dxhat);
    }
    for (size_t g = grains->first; b->experts > 0 && g < grains->end; g++) {
        unit u = unit_of(k, b, g);
        input_leaf rows = rows_of(k, &leaf, &u);
        backward_unit(k, &u, g == grains->first, &rows);
    }
    if (!wanted) return;
    cot_partial_tree_push(k->dmixed_tree, k->batch.samples * k->shape.T);
    if (k->dxhat != NULL) cot_partial_tree_push(k->dxhat_tree, k->batch.samples * k->shape.T);
}

void cot_tokens_backward(cot_tokens *k, const cot_real *dy, cot_real *dx)
{
    const size_t tokens = k->batch.samples * k->shape.T;
    tell_gradients(k, dy);
    for (size_t b = 0; b < k->block_count; b++) backward_block(k, &k->blocks[b], dx != NULL);
    finish_gradients(k);
    if (dx != NULL) {
        cot_partial_tree_finish(k->dmixed_tree, tokens);
        if (k->dxhat != NULL) cot_partial_tree_finish(k->dxhat_tree, tokens);
        finish_inputs(k, dx);
    }
    /* Nobody writes tokens of the next batch before all are done with these. */
    cot_gather_wait(k->x);
}
