/** How the plan tokens cuts its work, by the shapes alone. */
#ifndef COTERIE_MOE_TOKENS_RULES_H
#define COTERIE_MOE_TOKENS_RULES_H

#include "moe/fused_experts.h"

#include <coterie/blas.h>
#include <coterie/router.h>

/** How experts are computed. */
typedef enum cot_tokens_way {
    COT_TOKENS_BY_SLOTS,  /**< dispatch, expert_bank.h, combine: on some slots at a time */
    COT_TOKENS_PROJECTED, /**< projected.h */
    COT_TOKENS_FUSED      /**< fused_experts.h */
} cot_tokens_way;

/** The fastest. Multiply-adds of a step for one slot and number of D are 5 T H projected and some
 * 7 (T + H) otherwise (without a gradient for the tokens T less by slots, five less fused). Fused
 * or projected, seven of them take about as long as five by slots. */
static inline cot_tokens_way cot_tokens_way_of(const cot_moe_shape *shape, size_t grain)
{
    const size_t projected = 5 * shape->T * shape->H;
    const size_t others = 7 * (shape->T + shape->H);
    if (cot_fused_fits(shape, grain))
        return shape->P == 1 && projected < others ? COT_TOKENS_PROJECTED : COT_TOKENS_FUSED;
    return shape->P == 1 && 5 * projected <= 7 * others ? COT_TOKENS_PROJECTED
                                                        : COT_TOKENS_BY_SLOTS;
}

/** As many experts at a time, of at most `most`, as keep their slots of `grain` samples, in and
 * out, in a part of the second-level cache. */
static inline size_t cot_tokens_piece(const cot_moe_shape *shape, size_t grain, size_t most)
{
    const size_t cache_bytes = 512 * 1024;
    size_t bytes = 2 * shape->P * grain * shape->D * sizeof(cot_real);
    size_t experts = bytes > 0 ? cache_bytes / bytes : most;
    if (experts > most) experts = most;
    return experts > 0 ? experts : 1;
}

/** Whether the columns of a rank's `experts` experts go through products together, over the bounds
 * of blocks: where every such product is a small one, whose elements are the same bits in whatever
 * company, so that the number of ranks decides nothing. */
static inline bool cot_tokens_join(const cot_moe_shape *shape, size_t grain, size_t experts)
{
    const size_t T = shape->T;
    const size_t D = shape->D;
    const size_t slots = experts * shape->P;
    const size_t piece = cot_tokens_piece(shape, grain, experts) * shape->P;
    const cot_tokens_way way = cot_tokens_way_of(shape, grain);
    if (!cot_gemm_is_small(COT_N, COT_N, slots, D)) return false; /* logits, and by slots: */
    if (way != COT_TOKENS_BY_SLOTS) return way == COT_TOKENS_FUSED;
    return cot_gemm_is_small(COT_T, COT_N, slots, grain * T) && /* dPhihat */
           cot_gemm_is_small(COT_T, COT_N, D, T) &&             /* slots */
           cot_gemm_is_small(COT_N, COT_T, 1, D) &&             /* gradients of weights: */
           cot_gemm_is_small(COT_N, COT_T, piece, D);           /* few columns or many */
}

#endif
