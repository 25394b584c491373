/** Thin experts of one block, computed from tokens instead of slots.
 *
 * With P = 1, a slot's input is a sum over tokens, sum_t Dsp[t,s] x_t, and an expert's first layer
 * is linear, so the tokens can go through it first; the second layer can come behind the combine
 * weights likewise:
 *
 *     U = X W1               [T, H E]   all experts of the block in one product
 *     h_s = act(sum_t Dsp[t,s] U[t,s] + b1)
 *     N = (Cmb[t,s] h_s) W2  [T, D]     plus sum_s Cmb[t,s] b2
 *
 * No slot of width D ever exists. A sample costs 2 T D H E multiply-adds instead of
 * 2 D E (T + H), but in two wide products; that wins where H and T are small (tokens_rules.h).
 * Not collective. */
#ifndef COTERIE_MOE_PROJECTED_H
#define COTERIE_MOE_PROJECTED_H

#include <coterie/expert_bank.h>

#include <stdbool.h>

typedef struct cot_projected cot_projected;

/** For `experts` experts of the bank from this rank's number `first_expert` on, at most `samples`
 * samples, of which `grain` at a time. The bank outlives it. */
cot_projected *cot_projected_create(const cot_expert_bank *bank, cot_activation activation,
                                    const cot_moe_shape *shape, size_t first_expert, size_t experts,
                                    size_t samples, size_t grain, cot_hidden_rows hidden);
void cot_projected_destroy(cot_projected **projected);

/** Take the parameters' values as they are now. */
void cot_projected_load(cot_projected *projected);

/** The samples at work: n of them, the first at place `first`. */
typedef struct cot_projected_unit {
    size_t first, n;
    const cot_real *tokens;   /**< X [n,T,D] */
    const cot_real *dispatch; /**< Dsp [n,T,E] */
    const cot_real *combine;  /**< Cmb [n,T,E], in the forward pass without its normalization */
} cot_projected_unit;

/** numerators [n,T,D] is overwritten. */
void cot_projected_forward(cot_projected *projected, const cot_projected_unit *unit,
                           cot_real *numerators);

/** After the forward pass of the same samples, from dy [n,T,D]: dcombine and ddispatch [n,T,E] are
 * overwritten, and dtokens [n,T,D], unless NULL; the parameters' gradients are kept, from anew with
 * `anew`. */
void cot_projected_backward(cot_projected *projected, const cot_projected_unit *unit, bool anew,
                            const cot_real *dy, cot_real *dcombine, cot_real *ddispatch,
                            cot_real *dtokens);

/** Add the gradients kept to the parameters' grad. */
void cot_projected_finish(cot_projected *projected);

#endif
