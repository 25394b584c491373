/** The state of the plan `tokens`, shared by the files that make it up: tokens_create.c (memory),
 * tokens_route.c (weights of one grain, and the way back to logits and Phi), tokens_unit.c (the
 * experts and one grain), tokens.c (the passes). */
#ifndef COTERIE_MOE_TOKENS_STATE_H
#define COTERIE_MOE_TOKENS_STATE_H

#include "moe/columns.h"
#include "moe/gather.h"
#include "moe/partial.h"
#include "moe/projected.h"
#include "moe/router_rules.h"
#include "moe/tokens.h"
#include "moe/tokens_rules.h"

/** Consecutive experts of this rank, whose sum over experts is one leaf of the tree. Experts and
 * slots are counted from this rank's first. */
typedef struct tokens_block {
    size_t expert, experts;
    size_t slot, slots;
    cot_projected *projected; /* the experts, where this is their way */
} tokens_block;

/** Consecutive blocks, as many as go through the experts together while the cache holds them. */
typedef struct tokens_run {
    size_t block, end;
    size_t expert, experts;
    size_t slot, slots;
} tokens_run;

struct cot_tokens {
    cot_ledger *ledger; /* of the last pass */
    cot_soft_moe_options options;
    cot_moe_shape shape;
    size_t layer, S;
    const cot_comm *comm;
    cot_batching batching;
    const cot_param *phi, *scale;
    cot_expert_bank *bank;
    cot_tokens_way way;
    cot_fused *fused; /* NULL where this is not the way, or no expert is here */
    size_t *begins;
    cot_group_batch batch; /* at hand */
    size_t first_in_batch; /* place in the batch of the group's first sample */
    bool whole_lanes;      /* numerators are in lanes, which the batch's grains fill */
    size_t block_count, run_count;
    tokens_block *blocks;
    tokens_run *runs;
    size_t *block_slots;      /* [blocks + 1]: first slot of each block, and the end */
    bool joined;              /* logits are made of the columns of all blocks at once */
    size_t first_slot, slots; /* this rank's, of all S */
    cot_real *phi_hat;        /* [D,slots] */
    cot_real *phi_inverse;    /* [slots] */
    cot_real *dphi_hat;       /* [D,slots] */
    size_t capacity;          /* samples of the group, at most */
    /* Weights lie by runs, [runs][capacity,T,slots of the run]: dispatch weights; and exp(L - max
     * of the block), which become combine weights in the backward pass, then dL. */
    cot_real *dispatch, *combine;
    cot_real *maxima;       /* [B,blocks,T], by grains [blocks,n,T]: of a block's logits */
    cot_gather *x;          /* [B,T,D]: the tokens that are mixed */
    cot_gather *dy, *marks; /* marks [B,2,T]: log-sum-exp and delta of each token */
    cot_parts *numerators, *max, *sum; /* [B,T,D], [B,T], [B,T] */
    cot_parts *dmixed, *dxhat;         /* [B,T,D]; dxhat NULL where both are one */
    cot_columns *dphi;                 /* NULL where nothing learns from logits */
    cot_partial_tree *outputs;
    cot_partial_tree **dmixed_trees, **dxhat_trees; /* one a grain */
    cot_real *xhat;      /* [B,T,D]; NULL where the mixed tokens make the logits too */
    cot_real *x_inverse; /* [B,T]; NULL without normalization */
    cot_real *y, *lse;   /* [b,T,D], [b,T] */
    /* One piece: some experts of a run, one grain of n samples. */
    size_t piece_experts;
    size_t *samples, *first;        /* [piece_experts] */
    cot_real *in, *out;             /* [slots of a piece, n, D] */
    cot_real *logits, *weights;     /* [n,T,slots], [T,slots] */
    cot_real *dcombine, *ddispatch; /* [n,T,slots of a run] */
    cot_real *sums;                 /* [blocks,n,T]: of exp(L - max) */
    cot_real *factors;              /* [n,T] */
    cot_real *columns;              /* [2,S] */
    cot_real *dscale;               /* [blocks] */
};

static inline cot_real tokens_scale_of(const cot_tokens *k)
{
    return k->scale != NULL ? k->scale->value[0] : 1;
}

/* The tokens that are mixed, and those that logits are made of, of the group's sample i. */
static inline const cot_real *tokens_mixed_of(const cot_tokens *k, size_t i)
{
    return cot_gather_rows(k->x) + i * k->shape.T * k->shape.D;
}

static inline const cot_real *tokens_xhat_of(const cot_tokens *k, size_t i)
{
    return k->xhat != NULL ? k->xhat + i * k->shape.T * k->shape.D : tokens_mixed_of(k, i);
}

/** One grain of the group's samples. */
typedef struct tokens_unit {
    size_t grain;     /* counted from the group's first */
    size_t first, n;  /* samples, counted from the group's first */
    size_t tokens;    /* n T */
    cot_real *maxima; /* [blocks,n,T] */
} tokens_unit;

tokens_unit tokens_unit_of(const cot_tokens *k, size_t grain);

/** Where in k->dispatch and k->combine the unit's weights [n,T,slots] of a run begin. */
static inline size_t tokens_weights_at(const cot_tokens *k, const tokens_unit *u,
                                       const tokens_run *run)
{
    return (k->capacity * run->slot + u->first * run->slots) * k->shape.T;
}

/* ---- tokens_route.c ---- */

/** Dispatch weights, and each block's share of the combine softmax: exp(L - max), the maxima, and
 * the sums; noise NULL: none. */
void tokens_weigh(cot_tokens *k, const tokens_unit *u, const cot_noise *noise);

/** The blocks' combine weights exp(L - log-sum-exp), from exp(L - max). */
void tokens_finish_combine(cot_tokens *k, const tokens_unit *u, const tokens_run *run);

/** dL of some of the run's slots, over their combine weights, from k->dcombine and k->ddispatch. */
void tokens_logits_gradient(cot_tokens *k, const tokens_unit *u, const tokens_run *run, size_t slot,
                            size_t slots);

/** dPhihat += Xhat^T dL of the run's slots; `first`: it is overwritten. The last to read dL, which
 * it may change. */
void tokens_phi_gradient(cot_tokens *k, const tokens_unit *u, const tokens_run *run, bool first);

/* ---- tokens_unit.c ---- */

/** Bring the unit's tokens, or gradients of its outputs, into the order that the experts want. */
void tokens_take(cot_tokens *k, const tokens_unit *u);
void tokens_take_gradients(cot_tokens *k, const tokens_unit *u);

/** What the slots of a run make of the unit's tokens: the run's leaves of k->outputs. */
void tokens_run_forward(cot_tokens *k, const tokens_unit *u, const tokens_run *run);

/** The way back: gradients of the experts' weights, and dL over the run's combine weights; with
 * `wanted`, the run's leaves of the grain's trees. `first`: the run's first unit. */
void tokens_run_backward(cot_tokens *k, const tokens_unit *u, const tokens_run *run, bool first,
                         bool wanted);

#endif
