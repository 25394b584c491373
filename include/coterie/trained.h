/** A trained model: what a checkpoint's recipe asks for, with the checkpoint's weights. */
#ifndef COTERIE_TRAINED_H
#define COTERIE_TRAINED_H

#include <coterie/experiment.h>

typedef struct cot_trained {
    cot_recipe *recipe; /**< the checkpoint's, with the overrides */
    cot_experiment *experiment;
    uint64_t step, epoch; /**< the checkpoint's */
} cot_trained;

/** Load one, in one expert group whatever it was trained with. Collective over the world.
 * Errors, on every rank alike: those of cot_checkpoint_read, cot_recipe_parse and
 * cot_experiment_create. */
COT_MUST_CHECK cot_status cot_trained_load(const cot_comm *world, const char *path,
                                           size_t override_count, const cot_override *overrides,
                                           cot_trained **trained_out);
void cot_trained_destroy(cot_trained **trained);

#endif
