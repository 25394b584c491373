/** How the plan tokens cuts its work, by the shapes alone. */
#ifndef COTERIE_MOE_TOKENS_RULES_H
#define COTERIE_MOE_TOKENS_RULES_H

#include "moe/projected.h"

#include <coterie/blas.h>
#include <coterie/router.h>

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
 * of blocks: where experts work on slots and every such product is a small one, whose elements are
 * the same bits in whatever company, so that the number of ranks decides nothing. */
static inline bool cot_tokens_join(const cot_moe_shape *shape, size_t grain, size_t experts)
{
    const size_t T = shape->T;
    const size_t D = shape->D;
    const size_t slots = experts * shape->P;
    const size_t piece = cot_tokens_piece(shape, grain, experts) * shape->P;
    return !cot_projected_pays(shape) && cot_gemm_is_small(COT_N, COT_N, slots, D) && /* logits */
           cot_gemm_is_small(COT_T, COT_N, slots, grain * T) &&                       /* dPhihat */
           cot_gemm_is_small(COT_T, COT_N, D, T) &&                                   /* slots */
           cot_gemm_is_small(COT_N, COT_T, 1, D) &&   /* gradients of weights: */
           cot_gemm_is_small(COT_N, COT_T, piece, D); /* few columns or many */
}

#endif
