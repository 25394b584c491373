/** Which samples make up which batch: the order of an epoch, on every rank alike.
 *
 * The order is 0, 1, 2, ... or, shuffled, a Fisher-Yates permutation drawn by Philox from (seed,
 * epoch). */
#ifndef COTERIE_SAMPLER_H
#define COTERIE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cot_sampler cot_sampler;

/** `samples` > 0 samples in batches of `batch` > 0; the last batch of an epoch is smaller, or left
 * out with drop_last. */
cot_sampler *cot_sampler_create(size_t samples, size_t batch, bool shuffle, bool drop_last,
                                uint64_t seed);
void cot_sampler_destroy(cot_sampler **sampler);

/** Batches in an epoch. With drop_last, fewer samples than a batch make 0 batches, which the caller
 * reports. */
size_t cot_sampler_batches(const cot_sampler *sampler);

/** Prepare the order of an epoch (0, 1, ...); does nothing when it is prepared already. */
void cot_sampler_start_epoch(cot_sampler *sampler, uint64_t epoch);

/** Samples in batch `batch` of an epoch. */
size_t cot_sampler_batch_size(const cot_sampler *sampler, size_t batch);

/** Data set index of sample `position` of batch `batch` of the epoch prepared last. */
size_t cot_sampler_index(const cot_sampler *sampler, size_t batch, size_t position);

#endif
