/** How many different subsets of experts there are among those of all samples.
 *
 * A subset is known by the exclusive or of 128 random bits for each of its experts (Zobrist's
 * hashing), which grows with a subset an expert at a time. Two different subsets among n share
 * theirs with a probability below n^2 / 2^129. */
#ifndef COTERIE_SPECIAL_DISTINCT_H
#define COTERIE_SPECIAL_DISTINCT_H

#include <coterie/comm.h>

#include <stdint.h>

typedef struct cot_subset_hash {
    uint64_t high, low;
} cot_subset_hash; /* zero: of no expert */

typedef struct cot_distinct cot_distinct;

/** For `lists` lists of at most `capacity` subsets on this rank. */
cot_distinct *cot_distinct_create(size_t experts, size_t lists, size_t capacity);
void cot_distinct_destroy(cot_distinct **distinct);

/** An expert comes into a subset. */
void cot_distinct_include(const cot_distinct *distinct, size_t expert, cot_subset_hash *hash);

/** Note a subset in a list. */
void cot_distinct_add(cot_distinct *distinct, size_t list, cot_subset_hash hash);

/** The different ones in a list, over all ranks; the list is sorted. Collective over the world. */
uint64_t cot_distinct_count(cot_distinct *distinct, size_t list, const cot_comm *comm);

#endif
