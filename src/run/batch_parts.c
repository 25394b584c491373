#include "run/batch_parts.h"

/* A step reads and writes all slots many times. With small experts this takes as long as the
 * products, unless the cache holds the slots; so it does, as measured, where a part has no more
 * numbers than CACHED in slot inputs and outputs. But an expert's products should have as many rows
 * as it is wide, and a grain's the samples that make them worth a call. */
enum { CACHED = 1 << 20, LEAST_OF_GRAIN = 8 };

size_t batch_parts(const cot_moe_shape *shape, size_t batch, size_t grains)
{
    const size_t numbers = 2 * batch * shape->E * shape->P * shape->D;
    size_t parts = 1;
    while (numbers > parts * CACHED && batch >= 2 * parts * LEAST_OF_GRAIN * grains &&
           batch * shape->P >= 2 * parts * shape->H)
        parts *= 2;
    return parts;
}
