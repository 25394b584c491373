/** From every rank's share of the gradients to the whole ones, in one order whatever the number of
 * ranks.
 *
 * Replicated parameters: a backward pass leaves the sum over this rank's grains; it is summed over
 * all ranks for each micro-batch (cot_ordered_sum), unless gathered (cot_params_gather), and
 * micro-batches add in order. Expert
 * parameters: the owner has added all the grains of its expert group already; the owners of one
 * expert sum over the groups. */
#ifndef COTERIE_GRADIENTS_H
#define COTERIE_GRADIENTS_H

#include <coterie/comm.h>
#include <coterie/param.h>

typedef struct cot_gradients cot_gradients;

typedef struct cot_gradients_options {
    bool ordered;        /**< as in cot_ordered_sum_create */
    size_t node_ranks;   /**< likewise */
    size_t most_batches; /**< micro-batches in a step */
} cot_gradients_options;

/** `comm` and `params` (allocated) outlive it. Collective over the world. */
cot_gradients *cot_gradients_create(const cot_comm *comm, cot_params *params,
                                    const cot_gradients_options *options);
void cot_gradients_destroy(cot_gradients **gradients);

/** Before the first micro-batch of a step. Not collective. */
void cot_gradients_begin(cot_gradients *gradients);

/** After the backward pass of each micro-batch. Returns the bytes that this rank sent, here and
 * below. Collective over the world. */
size_t cot_gradients_add_batch(cot_gradients *gradients);

/** After the last: the parameters' grad hold the whole gradient. Collective over the replica
 * group. */
size_t cot_gradients_finish(cot_gradients *gradients);

#endif
