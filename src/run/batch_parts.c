#include "run/batch_parts.h"

/* A step reads and writes all slots many times. With small experts this takes as long as the
 * products, unless the cache holds the slots; so it does, as measured, where a part has no more
 * numbers than CACHED in slot inputs and outputs. But an expert's products should have as many rows
 * as it is wide, and a grain's the samples that make them worth a call. */
enum { CACHED = 1 << 20, LEAST_OF_GRAIN = 8 };

size_t parts_by_slots(const cot_moe_shape *shape, size_t batch, size_t grains, size_t replicas)
{
    const double rows = (double)batch * (double)shape->P; /* of an expert, in all groups */
    const double numbers = 2 * rows * (double)shape->E * (double)shape->D;
    size_t parts = 1;
    while (numbers > (double)parts * CACHED &&
           (double)batch >= 2.0 * (double)parts * LEAST_OF_GRAIN * (double)grains &&
           rows >= 2.0 * (double)parts * (double)replicas * (double)shape->H)
        parts *= 2;
    return parts;
}

size_t parts_of_batch(const cot_recipe *recipe, const cot_moe_shape *shape,
                      const cot_batching *batching)
{
    size_t grains = recipe->parallel.grains;
    if (batching->grains > grains) grains = batching->grains; /* a rank of many has one */
    if (recipe->train.accumulate > 0) return recipe->train.accumulate;
    if (cot_plan_choose(batching->plan, shape) != COT_PLAN_SLOTS) return 1;
    return parts_by_slots(shape, recipe->train.batch, grains, recipe->parallel.expert_replicas);
}
