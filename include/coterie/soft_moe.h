/** The Soft MoE layer: router, exchange and expert bank joined, forward and backward.
 *
 * Equations: router.h and expert_bank.h. Experts are sharded over the ranks of the expert group,
 * samples over all ranks. */
#ifndef COTERIE_SOFT_MOE_H
#define COTERIE_SOFT_MOE_H

#include <coterie/comm.h>
#include <coterie/exchange.h>
#include <coterie/expert_bank.h>
#include <coterie/ledger.h>
#include <coterie/router.h>
#include <coterie/selector.h>

/** What travels between samples and experts. */
typedef enum cot_plan {
    COT_PLAN_SLOTS,  /**< slots, to the owners of their experts and back */
    COT_PLAN_TOKENS, /**< in training, tokens to all owners, and partial outputs back */
    COT_PLAN_AUTO    /**< one of the two, by cot_plan_choose */
} cot_plan;

/** What `plan` comes to: itself or, for COT_PLAN_AUTO, tokens where a sample has more than eight
 * times as many slots as tokens. A rule of the shapes alone, so that it is the same on any number
 * of ranks. */
cot_plan cot_plan_choose(cot_plan plan, const cot_moe_shape *shape);

/** "slots", "tokens" or "auto". */
const char *cot_plan_name(cot_plan plan);

/** How batches are cut, how large they get, and how they travel. */
typedef struct cot_batching {
    size_t max_batch;  /**< samples of a pass over all ranks, at the most */
    size_t grains;     /**< G */
    size_t node_ranks; /**< the most ranks that share memory; 0: all that can; 1: messages only */
    cot_plan plan;
    size_t chunks;          /**< in which slots travel; 0: one */
    cot_hidden_rows hidden; /**< the experts', between forward and backward pass */
} cot_batching;

typedef struct cot_soft_moe_options {
    cot_moe_shape shape;
    cot_router_options router;
    cot_activation activation;
    bool expert_bias;
} cot_soft_moe_options;

/** What a forward pass is told of the batch at hand. */
typedef struct cot_pass {
    size_t samples;         /**< in the batch, over all ranks */
    size_t first;           /**< index in the split of the batch's first sample */
    const cot_noise *noise; /**< NULL: no logit noise, as in evaluation */
    bool training;          /**< a backward pass follows */
    size_t part, parts;     /**< which part of a step's batch this is, of how many, which all go
                               through, from 0 on, with the same weights; 0 of 0: all of it */
    cot_selector *selector; /**< NULL: every sample uses every expert */
    cot_real *slot_norms;   /**< where a pass without selector that is not for training leaves the
                               L2 norms of slot outputs, [layers,b,S]; NULL: nowhere */
    cot_ledger *ledger;     /**< where the time is noted; NULL: nowhere */
} cot_pass;

typedef struct cot_soft_moe cot_soft_moe;

/** Register the layer's parameters under "moe.<layer>" and take all its memory. `comm` outlives it.
 * Collective over the world. */
cot_soft_moe *cot_soft_moe_create(const cot_soft_moe_options *options, size_t layer,
                                  const cot_batching *batching, const cot_comm *comm,
                                  cot_params *params);
void cot_soft_moe_destroy(cot_soft_moe **layer);

/** y [b,T,D] = layer(x [b,T,D]) for this rank's b samples; x stays the caller's, is needed by the
 * backward pass, and must not overlap y. Collective over the expert group. */
void cot_soft_moe_forward(cot_soft_moe *layer, const cot_pass *pass, const cot_real *x,
                          cot_real *y);

/** From dy [b,T,D], after a forward pass for training: replicated gradients are overwritten
 * with the sum over this rank's samples (by the plan tokens, Phi's with that over all samples:
 * cot_params_gather), expert gradients are added to, and whole behind a step's last part alone; dx
 * [b,T,D] is overwritten, unless NULL, and must not overlap dy. Collective over the world. */
void cot_soft_moe_backward(cot_soft_moe *layer, const cot_real *dy, cot_real *dx);

/** The layer's exchange: how it goes, and in how many chunks. */
const cot_exchange *cot_soft_moe_exchange(const cot_soft_moe *layer);

/** From the next forward pass on, slots travel in so many chunks (cot_exchange_set_chunks). Results
 * are the same bits. The same on all ranks. Not collective. */
void cot_soft_moe_set_chunks(cot_soft_moe *layer, size_t chunks);

/** The routing of this rank's sample i in the last forward pass. */
cot_routing cot_soft_moe_routing(const cot_soft_moe *layer, size_t i);

/** The output [D] of slot s for this rank's sample i, after a forward pass without selector and
 * before a backward pass. */
const cot_real *cot_soft_moe_slot_output(const cot_soft_moe *layer, size_t i, size_t s);

/** Which experts this rank's samples kept in the last forward pass, [b,E]; NULL after one without
 * selector. */
const uint8_t *cot_soft_moe_kept(const cot_soft_moe *layer);

#endif
