/** The exchange plan `tokens`: tokens travel instead of slots.
 *
 * Every rank gets the tokens of all the samples of its expert group, computes logits, dispatch,
 * experts and the partial combine for its own slots, and the samples' homes merge the partial
 * outputs (partial.h). Backward likewise, from dY, the log-sum-exp of the logits and
 * delta = dY . Y of every token. A token's numbers travel R times each way, however many slots
 * there are; where a rank holds more slots than a sample has tokens, that is less than the slots.
 *
 * Work goes by blocks of experts and, in them, by grains: the slots of one such piece stay in the
 * cache and are never seen outside it; the backward pass makes them again. */
#ifndef COTERIE_MOE_TOKENS_H
#define COTERIE_MOE_TOKENS_H

#include <coterie/soft_moe.h>

typedef struct cot_tokens cot_tokens;

/** For a layer with this router and these experts, which outlive it. Collective over the world. */
cot_tokens *cot_tokens_create(const cot_soft_moe_options *options, size_t layer,
                              const cot_batching *batching, const cot_comm *comm,
                              const cot_router *router, cot_expert_bank *bank);
void cot_tokens_destroy(cot_tokens **tokens);

/** As cot_soft_moe_forward without selector, and cot_soft_moe_backward. */
void cot_tokens_forward(cot_tokens *tokens, const cot_pass *pass, const cot_real *x, cot_real *y);
void cot_tokens_backward(cot_tokens *tokens, const cot_real *dy, cot_real *dx);

#endif
