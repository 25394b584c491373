/** Into how many parts a training batch is cut for the cache's sake, where its slots travel. */
#ifndef COTERIE_RUN_BATCH_PARTS_H
#define COTERIE_RUN_BATCH_PARTS_H

#include <coterie/router.h>

/** A power of two, for a batch of `batch` samples in `grains` grains. By these numbers alone, never
 * by a measurement or the ranks: more parts make other sums. */
size_t batch_parts(const cot_moe_shape *shape, size_t batch, size_t grains);

#endif
