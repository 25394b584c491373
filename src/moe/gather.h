/** Rows of all samples of an expert group, on all its ranks. Collective over the group, except
 * where it says not. */
#ifndef COTERIE_MOE_GATHER_H
#define COTERIE_MOE_GATHER_H

#include <coterie/comm.h>
#include <coterie/real.h>
#include <coterie/shard.h>
#include <coterie/shared.h>

/** Whose samples are whose, in one batch. */
typedef struct cot_group_batch {
    const cot_comm *comm;
    cot_grains group, home; /**< the grains of the group, and of this rank */
    size_t samples;         /**< of the group */
    size_t begin, here; /**< this rank's: the first, counted from the group's first; and how many */
    size_t *begins;     /**< [members + 1]: first sample of each member, and the end */
} cot_group_batch;

/** Of a batch of `samples` samples over all ranks, cut into `grains` grains. begins [members + 1]
 * is the caller's memory. Not collective. */
cot_group_batch cot_group_batch_of(const cot_comm *comm, size_t samples, size_t grains,
                                   size_t *begins);

typedef struct cot_gather cot_gather;

/** Rows of `width` numbers for at most `samples` samples of the group, or as many other things that
 * members have in turn; in shared memory where the group is one node of at most `node_ranks` ranks
 * (nodes.h). */
cot_gather *cot_gather_create(const cot_comm *comm, size_t samples, size_t width,
                              size_t node_ranks);
void cot_gather_destroy(cot_gather **gather);

/** All rows [samples,width]; member m writes those from begins[m] to begins[m + 1] before
 * cot_gather_run, and reads all behind it. cot_gather_rows is not collective. */
cot_real *cot_gather_rows(const cot_gather *gather);
void cot_gather_run(cot_gather *gather, const size_t *begins);

/** Bytes that this rank's rows are to others, in one cot_gather_run; 0 in shared memory. Not
 * collective. */
size_t cot_gather_bytes(const cot_gather *gather, const size_t *begins);

/** Wait until all ranks have read what they need, before the next rows are written. */
void cot_gather_wait(cot_gather *gather);

/** The other way: every rank has something on every sample of the group, and a sample's home needs
 * it from all of them. */
typedef struct cot_parts cot_parts;

cot_parts *cot_parts_create(const cot_comm *comm, size_t samples, size_t here, size_t width,
                            size_t node_ranks);
void cot_parts_destroy(cot_parts **parts);

/** This rank's rows [samples,width], to be written before cot_parts_run. Not collective. */
cot_real *cot_parts_own(const cot_parts *parts);
void cot_parts_run(cot_parts *parts, const cot_group_batch *batch);

/** Bytes that this rank sends to others in one cot_parts_run; 0 in shared memory. Not collective.
 */
size_t cot_parts_bytes(const cot_parts *parts, const cot_group_batch *batch);

/** Behind it: what rank `member` has on this rank's samples, [here,width]. The home may overwrite
 * it. Not collective. */
cot_real *cot_parts_of(const cot_parts *parts, const cot_group_batch *batch, size_t member);

#endif
