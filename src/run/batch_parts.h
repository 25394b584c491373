/** Into how many parts the exchange plan `slots` cuts a training batch, for the cache's sake. */
#ifndef COTERIE_RUN_BATCH_PARTS_H
#define COTERIE_RUN_BATCH_PARTS_H

#include <coterie/router.h>

/** A power of two, for a batch of `batch` samples in `grains` grains, shared among `replicas`
 * groups of experts. By these numbers alone, never by a measurement or the ranks: more parts make
 * other sums. */
size_t batch_parts(const cot_moe_shape *shape, size_t batch, size_t grains, size_t replicas);

#endif
