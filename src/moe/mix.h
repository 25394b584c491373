/** The three products that join tokens and slots, for some of this rank's samples.
 *
 * With weights W [n,T,S] (whose rows may be parts of longer ones), tokens X [n,T,D] and the
 * samples' slot rows Z ([S,D] for each sample, laid out by slots.h):
 *
 *     Z = W^T X    dispatch, and how a gradient leaves combine
 *     X = W Z      combine, and how a gradient leaves dispatch
 *     W = X Z^T    how a gradient reaches either's weights
 *
 * One product a sample (one an expert, where a subset is kept): no shape depends on the batch. */
#ifndef COTERIE_MOE_MIX_H
#define COTERIE_MOE_MIX_H

#include <coterie/router.h>

#include <stdbool.h>

/** The samples at work. */
typedef struct cot_mix {
    const cot_moe_shape *shape;
    const cot_slots *slots;
    size_t first;        /**< of this rank's samples, the first at work; 0 with a kept subset */
    size_t samples;      /**< n */
    size_t stride;       /**< numbers from one row of the weights to the next; at least S */
    bool adds;           /**< cot_mix_to_tokens adds to X */
    const uint8_t *kept; /**< [n,E], or NULL when every expert is kept */
    cot_real *norms;     /**< where cot_mix_to_tokens leaves the L2 norms of the rows that it reads,
                            [n,S]; NULL: nowhere. Only where every expert is kept */
} cot_mix;

/** Z = W^T X for each sample, overwriting their rows of `rows`. */
void cot_mix_to_slots(const cot_mix *mix, const cot_real *weights, const cot_real *x,
                      cot_real *rows);

/** X = W Z for each sample; experts that are not kept count as 0. */
void cot_mix_to_tokens(const cot_mix *mix, const cot_real *weights, const cot_real *rows,
                       cot_real *x);

/** W = X Z^T for each sample. Only where every expert is kept. */
void cot_mix_to_weights(const cot_mix *mix, const cot_real *x, const cot_real *rows,
                        cot_real *weights);

#endif
