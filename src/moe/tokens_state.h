/** The state of the plan `tokens`, shared by the files that make it up: tokens_create.c (memory),
 * tokens_unit.c (one block of experts, one grain), tokens.c (the passes). */
#ifndef COTERIE_MOE_TOKENS_STATE_H
#define COTERIE_MOE_TOKENS_STATE_H

#include "moe/columns.h"
#include "moe/gather.h"
#include "moe/partial.h"
#include "moe/projected.h"
#include "moe/router_rules.h"
#include "moe/tokens.h"

/** Consecutive experts of this rank. */
typedef struct tokens_block {
    size_t expert, experts; /* the first, among this rank's; how many */
    size_t slot, slots;     /* the first of all S */
    cot_real *phi_hat;      /* [D,slots] */
    cot_real *phi_inverse;  /* [slots] */
    cot_real *dphi_hat;     /* [D,slots] */
    cot_real *scratch;      /* [D,slots] */
    cot_real *dispatch;     /* [B,T,slots]: dispatch weights */
    cot_real *combine;      /* [B,T,slots]: exp(L - max); in the backward pass, combine weights */
    cot_real *max;          /* [B,T] of these slots' logits */
    cot_projected *thin;    /* the experts, where they are thin enough; else NULL */
} tokens_block;

struct cot_tokens {
    cot_ledger *ledger; /* of the last pass */
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
    tokens_block *blocks;
    cot_gather *x, *dy, *marks;        /* marks [B,2,T]: log-sum-exp and delta of each token */
    cot_parts *numerators, *max, *sum; /* [B,T,D], [B,T], [B,T] */
    cot_parts *dmixed, *dxhat;         /* [B,T,D]; NULL where not needed */
    cot_columns *dphi;                 /* NULL where nothing learns from logits */
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

static inline cot_real tokens_scale_of(const cot_tokens *k)
{
    return k->scale != NULL ? k->scale->value[0] : 1;
}

/* The tokens that logits are made of, and those that are mixed, of the group's sample i. */
static inline const cot_real *tokens_xhat_of(const cot_tokens *k, size_t i)
{
    const cot_real *all =
        cot_router_normalizes(&k->options.router) ? k->xhat : cot_gather_rows(k->x);
    return all + i * k->shape.T * k->shape.D;
}

static inline const cot_real *tokens_mixed_of(const cot_tokens *k, size_t i)
{
    bool inputs = k->options.router.normalize == COT_NORMALIZE_INPUTS;
    const cot_real *all = inputs ? k->xhat : cot_gather_rows(k->x);
    return all + i * k->shape.T * k->shape.D;
}

/* ---- tokens_unit.c ---- */

/** One grain of the group's samples, for one block. */
typedef struct tokens_unit {
    tokens_block *block;
    size_t first, n;    /* samples, counted from the group's first */
    cot_real *dispatch; /* [n,T,slots] */
    cot_real *combine;
    cot_real *max; /* [n,T] */
} tokens_unit;

tokens_unit tokens_unit_of(const cot_tokens *k, tokens_block *b, size_t grain);

/** What the unit's slots make of its samples' tokens, into `leaf`; noise NULL: none. */
void tokens_unit_forward(cot_tokens *k, const tokens_unit *u, const cot_noise *noise,
                         const cot_partial *leaf);

/** Where gradients with respect to the unit's tokens go; NULL: nowhere. Where logits and slots are
 * made of the same tokens, both are the same. */
typedef struct tokens_input_leaf {
    cot_real *dmixed, *dxhat; /**< [n,T,D] */
} tokens_input_leaf;

/** The way back; `first`: the block's first unit, whose share of dPhihat overwrites. */
void tokens_unit_backward(cot_tokens *k, const tokens_unit *u, bool first,
                          const tokens_input_leaf *leaf);

#endif
