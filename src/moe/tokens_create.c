#include "moe/tokens_state.h"

#include <coterie/memory.h>

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
        size_t first = from - begin;
        k->blocks[k->block_count++] = (tokens_block){
            .expert = first, .experts = experts, .slot = first * P, .slots = experts * P};
    }
    k->first_slot = begin * P;
    k->slots = (end - begin) * P;
    k->block_slots = cot_alloc(k->block_count + 1, sizeof *k->block_slots);
    for (size_t b = 0; b < k->block_count; b++) k->block_slots[b] = k->blocks[b].slot;
    k->block_slots[k->block_count] = k->slots;
}

static size_t largest_grain(const cot_tokens *k)
{
    size_t G = k->batching.grains;
    return cot_shard_size(k->batching.max_batch, G, G - 1);
}

/* One block a run, or more where that changes no bit. */
static void cut_runs(cot_tokens *k)
{
    k->runs = cot_alloc(k->block_count + 1, sizeof *k->runs);
    k->joined = cot_tokens_join(&k->shape, largest_grain(k), k->slots / k->shape.P);
    for (size_t b = 0; b < k->block_count; b++) {
        const tokens_block *block = &k->blocks[b];
        tokens_run *run = k->run_count > 0 ? &k->runs[k->run_count - 1] : NULL;
        if (k->joined && k->way == COT_TOKENS_BY_SLOTS && run != NULL &&
            run->experts + block->experts <= k->piece_experts) {
            run->end = b + 1;
            run->experts += block->experts;
            run->slots += block->slots;
        } else {
            k->runs[k->run_count++] =
                (tokens_run){b, b + 1, block->expert, block->experts, block->slot, block->slots};
        }
    }
}

static void take_projected_memory(cot_tokens *k, tokens_block *b)
{
    if (b->experts > 0)
        b->projected =
            cot_projected_create(k->bank, k->options.activation, &k->shape, b->expert, b->experts,
                                 k->capacity, largest_grain(k), k->batching.hidden);
}

static void take_routing_memory(cot_tokens *k, size_t samples)
{
    const size_t numbers = k->shape.D * k->slots;
    const size_t weights = samples * k->shape.T * k->slots;
    k->phi_hat = cot_alloc(numbers, sizeof(cot_real));
    k->phi_inverse = cot_alloc(k->slots, sizeof(cot_real));
    k->dphi_hat = cot_alloc(numbers, sizeof(cot_real));
    k->dispatch = cot_alloc(weights, sizeof(cot_real));
    k->combine = cot_alloc(weights, sizeof(cot_real));
    k->maxima = cot_alloc(samples * k->shape.T * k->block_count, sizeof(cot_real));
    k->columns = cot_alloc(2 * k->S, sizeof(cot_real));
    k->dscale = cot_alloc(k->block_count + 1, sizeof(cot_real));
}

static void take_piece_memory(cot_tokens *k)
{
    const cot_moe_shape *shape = &k->shape;
    const size_t numbers = k->piece_experts * shape->P * largest_grain(k) * shape->D;
    k->samples = cot_alloc(k->piece_experts, sizeof *k->samples);
    k->first = cot_alloc(k->piece_experts, sizeof *k->first);
    k->in = cot_alloc(numbers, sizeof(cot_real));
    k->out = cot_alloc(numbers, sizeof(cot_real));
}

static void take_grain_memory(cot_tokens *k)
{
    const cot_moe_shape *shape = &k->shape;
    const size_t grain = largest_grain(k);
    const size_t weights = grain * shape->T * k->slots;
    k->logits = cot_alloc(weights, sizeof(cot_real));
    k->weights = cot_alloc(shape->T * k->slots, sizeof(cot_real));
    k->dcombine = cot_alloc(weights, sizeof(cot_real));
    k->ddispatch = cot_alloc(weights, sizeof(cot_real));
    k->sums = cot_alloc(k->block_count * grain * shape->T, sizeof(cot_real));
    k->factors = cot_alloc(grain * shape->T, sizeof(cot_real));
}

/* A tree for each grain, so that runs of blocks may come one after the other. */
static cot_partial_tree **create_trees(const cot_tokens *k, size_t grains, cot_parts *parts)
{
    const cot_partial root = cot_partial_plain(cot_parts_own(parts));
    cot_partial_tree **trees = cot_alloc(grains, sizeof *trees);
    for (size_t g = 0; g < grains; g++)
        trees[g] = cot_partial_tree_create(k->block_count, largest_grain(k) * k->shape.T,
                                           k->shape.D, &root);
    return trees;
}

static void destroy_trees(cot_partial_tree **trees, size_t grains)
{
    for (size_t g = 0; trees != NULL && g < grains; g++) cot_partial_tree_destroy(&trees[g]);
    cot_free(trees);
}

static size_t group_grains(const cot_tokens *k)
{
    return cot_shard_size(k->batching.grains, (size_t)k->comm->replica_count,
                          (size_t)k->comm->replica);
}

static void take_expert_memory(cot_tokens *k)
{
    switch (k->way) {
    case COT_TOKENS_BY_SLOTS:
        take_piece_memory(k);
        return;
    case COT_TOKENS_PROJECTED:
        for (size_t b = 0; b < k->block_count; b++) take_projected_memory(k, &k->blocks[b]);
        return;
    case COT_TOKENS_FUSED:
        if (k->slots == 0) return;
        k->fused =
            cot_fused_create(k->bank, k->options.activation, &k->shape, k->slots / k->shape.P,
                             group_grains(k), largest_grain(k), k->batching.hidden);
    }
}

static void take_group_memory(cot_tokens *k, size_t samples, size_t here)
{
    const size_t T = k->shape.T;
    const size_t D = k->shape.D;
    const size_t node_ranks = k->batching.node_ranks;
    k->x = cot_gather_create(k->comm, samples, T * D, node_ranks);
    k->dy = cot_gather_create(k->comm, samples, T * D, node_ranks);
    k->marks = cot_gather_create(k->comm, samples, 2 * T, node_ranks);
    k->numerators = cot_parts_create(k->comm, samples, here, T * D, node_ranks);
    k->max = cot_parts_create(k->comm, samples, here, T, node_ranks);
    k->sum = cot_parts_create(k->comm, samples, here, T, node_ranks);
    k->dmixed = cot_parts_create(k->comm, samples, here, T * D, node_ranks);
    if (k->options.router.normalize == COT_NORMALIZE_LOGITS)
        k->dxhat = cot_parts_create(k->comm, samples, here, T * D, node_ranks);
    if (cot_router_learns(&k->options.router))
        k->dphi = cot_columns_create(k->comm, D, k->shape.E, k->shape.P, node_ranks);
    const cot_partial like = {
        .max = cot_parts_own(k->max), .sum = cot_parts_own(k->sum), .in_lanes = k->fused != NULL};
    k->outputs = cot_partial_tree_create(k->block_count, largest_grain(k) * T, D, &like);
    k->dmixed_trees = create_trees(k, group_grains(k), k->dmixed);
    if (k->dxhat != NULL) k->dxhat_trees = create_trees(k, group_grains(k), k->dxhat);
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
    k->way = cot_tokens_way_of(&k->shape, largest_grain(k));
    k->piece_experts = cot_tokens_piece(&k->shape, largest_grain(k), k->slots / k->shape.P);
    cut_runs(k);
    k->capacity = samples;
    take_expert_memory(k);
    take_group_memory(k, samples, here);
    take_routing_memory(k, samples);
    take_grain_memory(k);
    if (k->options.router.normalize == COT_NORMALIZE_LOGITS)
        k->xhat = cot_alloc(samples * T * D, sizeof(cot_real));
    if (cot_router_normalizes(&k->options.router))
        k->x_inverse = cot_alloc(samples * T, sizeof(cot_real));
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
    cot_free(k->factors);
    cot_free(k->sums);
    cot_free(k->ddispatch);
    cot_free(k->dcombine);
    cot_free(k->weights);
    cot_free(k->logits);
    cot_free(k->out);
    cot_free(k->in);
    cot_free(k->first);
    cot_free(k->samples);
    cot_free(k->dscale);
    cot_free(k->columns);
    cot_free(k->maxima);
    cot_free(k->combine);
    cot_free(k->dispatch);
    cot_free(k->dphi_hat);
    cot_free(k->phi_inverse);
    cot_free(k->phi_hat);
    destroy_trees(k->dxhat_trees, group_grains(k));
    destroy_trees(k->dmixed_trees, group_grains(k));
    cot_partial_tree_destroy(&k->outputs);
    cot_columns_destroy(&k->dphi);
    cot_parts_destroy(&k->dxhat);
    cot_parts_destroy(&k->dmixed);
    cot_parts_destroy(&k->sum);
    cot_parts_destroy(&k->max);
    cot_parts_destroy(&k->numerators);
    cot_gather_destroy(&k->marks);
    cot_gather_destroy(&k->dy);
    cot_gather_destroy(&k->x);
    cot_fused_destroy(&k->fused);
    for (size_t b = 0; b < k->block_count; b++) cot_projected_destroy(&k->blocks[b].projected);
    cot_free(k->runs);
    cot_free(k->block_slots);
    cot_free(k->blocks);
    cot_free(k->begins);
    cot_free(k);
    *tokens = NULL;
}
