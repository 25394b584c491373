/** Small experts on few tokens, computed without slots in memory (math/fused.h): dispatch, experts
 * and combine of a sample in one go, and the same way back.
 *
 *     hidden_s = act(W1^T sum_t Dsp[t,s] x_t + b1)          every slot s of an expert
 *     N_t = sum_s Cmb[t,s] (W2^T hidden_s + b2)             partial output of token t
 *
 * Backward, from dY: dCmb, the hidden rows' gradients, dDsp and dX in the same way; the gradients
 * of W1 and W2 from the tokens' sums, made once more. A slot's Dsp sum to 1 over the tokens. Not
 * collective. */
#ifndef COTERIE_MOE_FUSED_EXPERTS_H
#define COTERIE_MOE_FUSED_EXPERTS_H

#include <coterie/expert_bank.h>

#include <stdbool.h>

/** Whether experts of this shape can be fused, and grains of so many samples fill the lanes of
 * vectors well. */
bool cot_fused_fits(const cot_moe_shape *shape, size_t grain);

typedef struct cot_fused cot_fused;

/** For the experts of the bank, which outlives it, and so many grains of at most `grain` samples.
 */
cot_fused *cot_fused_create(cot_expert_bank *bank, cot_activation activation,
                            const cot_moe_shape *shape, size_t experts, size_t grains, size_t grain,
                            cot_hidden_rows hidden);
void cot_fused_destroy(cot_fused **fused);

/** Take the weights as they are now, before forward passes whenever they may have changed. */
void cot_fused_load(cot_fused *fused);

/** Take the n samples of a grain: tokens x [n,T,D], before its forward pass; and the gradients
 * dy [n,T,D] of its outputs, before its backward pass. */
void cot_fused_take_tokens(cot_fused *fused, size_t grain, size_t n, const cot_real *x);
void cot_fused_take_gradients(cot_fused *fused, size_t grain, size_t n, const cot_real *dy);

/** The tokens that were taken, apart as math/fused.h has them, *row numbers from one to the next.
 */
const cot_real *cot_fused_tokens(const cot_fused *fused, size_t grain, size_t *row);

/** A grain of n samples, at work with some of the experts, which have S slots. */
typedef struct cot_fused_unit {
    size_t grain, n;
    size_t expert, experts;   /**< of the bank's */
    const cot_real *dispatch; /**< Dsp [n,T,S] */
    const cot_real *combine;  /**< Cmb [n,T,S], in the forward pass without its normalization */
} cot_fused_unit;

/** numerators [blocks,D,T,lanes], in lanes as of math/fused.h, is overwritten. */
void cot_fused_forward(cot_fused *fused, const cot_fused_unit *unit, cot_real *numerators);

/** Room for the numerators of one grain in lanes, until the next backward pass; and what is there,
 * of n samples, to [n,T,D]. */
cot_real *cot_fused_numerators(cot_fused *fused);
void cot_fused_give_numerators(const cot_fused *fused, size_t n, cot_real *numerators);

/** After the forward pass of the same unit: the gradients dcombine and ddispatch [n,T,S] are
 * overwritten, and dtokens [n,T,D], unless NULL; those of the parameters are added to, W1's by
 * cot_expert_bank_finish. Dsp is as it was, and Cmb is normalized now. Of a slot's ddispatch only
 * differences between tokens count, as for the gradient of a softmax. */
void cot_fused_backward(cot_fused *fused, const cot_fused_unit *unit, cot_real *dcombine,
                        cot_real *ddispatch, cot_real *dtokens);

#endif
