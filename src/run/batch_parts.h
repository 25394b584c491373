/** Into how many parts a training batch is cut. */
#ifndef COTERIE_RUN_BATCH_PARTS_H
#define COTERIE_RUN_BATCH_PARTS_H

#include <coterie/recipe.h>

/** As many as the recipe says; where it leaves that open, one by the plan tokens, and by slots as
 * many as parts_by_slots has. */
size_t parts_of_batch(const cot_recipe *recipe, const cot_moe_shape *shape,
                      const cot_batching *batching);

/** For the cache's sake, by slots: a power of two, for a batch of `batch` samples in `grains`
 * grains, shared among `replicas` groups of experts. By these numbers alone, never by a measurement
 * or the ranks: more parts make other sums. */
size_t parts_by_slots(const cot_moe_shape *shape, size_t batch, size_t grains, size_t replicas);

#endif
