/** Who owns what: even cuts of a range of indices into consecutive blocks. Pure arithmetic, no
 * communication.
 *
 * One rule for everything: block b of n indices cut into k blocks is [b*n/k, (b+1)*n/k), rounded
 * down. It cuts experts over ranks, samples over grains and grains over ranks. When r divides k,
 * the blocks of a cut into k nest in those of a cut into r: that is what makes results independent
 * of the number of ranks. */
#ifndef COTERIE_SHARD_H
#define COTERIE_SHARD_H

#include <stddef.h>

/** First index of block `block` when `total` indices are cut into `blocks` blocks; block == blocks
 * gives total. */
static inline size_t cot_shard_begin(size_t total, size_t blocks, size_t block)
{
    return (size_t)((unsigned __int128)total * block / blocks);
}

/** Number of indices in that block. */
static inline size_t cot_shard_size(size_t total, size_t blocks, size_t block)
{
    return cot_shard_begin(total, blocks, block + 1) - cot_shard_begin(total, blocks, block);
}

/** The grains [first, end) of a batch: `samples` samples cut into `count` grains, some of them
 * perhaps empty. A rank owns consecutive grains of the batch; the ranks of an expert group together
 * own consecutive ones too. */
typedef struct cot_grains {
    size_t samples; /**< samples in the whole batch at hand, B */
    size_t count;   /**< grains in the whole batch, G */
    size_t first;   /**< first grain of this part */
    size_t end;     /**< one past the last grain of this part */
} cot_grains;

/** The grains of part `part` of `parts` (a rank of the world, or an expert group of all the
 * groups). */
static inline cot_grains cot_grains_of(size_t samples, size_t count, size_t parts, size_t part)
{
    return (cot_grains){samples, count, cot_shard_begin(count, parts, part),
                        cot_shard_begin(count, parts, part + 1)};
}

/** Index in the batch of the first sample of grain `grain`. */
static inline size_t cot_grain_begin(const cot_grains *grains, size_t grain)
{
    return cot_shard_begin(grains->samples, grains->count, grain);
}

/** Samples in grain `grain`. */
static inline size_t cot_grain_size(const cot_grains *grains, size_t grain)
{
    return cot_shard_size(grains->samples, grains->count, grain);
}

/** Index in the batch of this part's first sample. */
static inline size_t cot_grains_begin(const cot_grains *grains)
{
    return cot_grain_begin(grains, grains->first);
}

/** Samples in this part. */
static inline size_t cot_grains_size(const cot_grains *grains)
{
    return cot_grain_begin(grains, grains->end) - cot_grains_begin(grains);
}

/** The most samples that part `part` of `parts` holds for any batch of at most `samples` samples: a
 * floor can shift by one at either end, so one more than an even cut, and never more than the
 * batch. */
size_t cot_grains_capacity(size_t samples, size_t count, size_t parts, size_t part);

#endif
