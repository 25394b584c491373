/** What each expert of a model's last Soft MoE layer adds to the model's outputs.
 *
 * Behind that layer there are only sums and products with constants (residual, pooling, head), so
 * the outputs with a subset of its experts are base + the sum of the effects of those kept, as by
 * Algorithm 2 of arXiv 2409.00879: combine weights are not renormalized. Not collective. */
#ifndef COTERIE_EFFECTS_H
#define COTERIE_EFFECTS_H

#include <coterie/model.h>

typedef struct cot_effects cot_effects;

/** Takes workspace; `model` outlives it. */
cot_effects *cot_effects_create(const cot_model *model);
void cot_effects_destroy(cot_effects **effects);

/** After a forward pass without selector, for this rank's sample i: base [outputs] = the outputs
 * without any expert, by_expert [E,outputs] = what each of them adds. */
void cot_effects_of(cot_effects *effects, size_t i, cot_real *base, cot_real *by_expert);

#endif
