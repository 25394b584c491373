/** The exchange: slots travel from the ranks of their samples (home) to the ranks of their experts
 * (owners), and back.
 *
 * One MPI_Alltoallv for each grain that a rank has: the slot buffers' order (slots.h) puts what one
 * rank sends to another in one piece, so nothing is packed. In round i every rank sends its i-th
 * grain. On an expert group of one rank nothing moves. */
#ifndef COTERIE_EXCHANGE_H
#define COTERIE_EXCHANGE_H

#include <coterie/comm.h>
#include <coterie/real.h>
#include <coterie/shard.h>
#include <coterie/slots.h>

#include <stdbool.h>

typedef struct cot_exchange cot_exchange;

/** For E experts of P slots and rows of D numbers, batches of at most `max_batch` samples cut into
 * `grains` grains over all ranks. `comm` outlives it. Collective over the world. */
cot_exchange *cot_exchange_create(const cot_comm *comm, size_t experts, size_t slots_per_expert,
                                  size_t width, size_t grains, size_t max_batch);
void cot_exchange_destroy(cot_exchange **exchange);

/** Whether one rank holds all experts: then home and owned buffers are the same memory. */
bool cot_exchange_is_local(const cot_exchange *exchange);

/** The most rows that a home buffer and an owned buffer have. */
size_t cot_exchange_home_rows(const cot_exchange *exchange);
size_t cot_exchange_owned_rows(const cot_exchange *exchange);

/** Plan for batches of `samples` samples in which every sample uses every expert; does nothing when
 * that is the plan already. Not collective: counts follow from the shapes. */
void cot_exchange_plan(cot_exchange *exchange, size_t samples);

/** Plan for a batch of `samples` samples of which used [grains here, E] use each expert; counts
 * travel first. Collective over the expert group. */
void cot_exchange_plan_kept(cot_exchange *exchange, size_t samples, const size_t *used);

/** The grains of this rank's samples and of its expert group's, in the batch planned for. */
const cot_grains *cot_exchange_home_grains(const cot_exchange *exchange);
const cot_grains *cot_exchange_owned_grains(const cot_exchange *exchange);

/** The layout of home buffers (this rank's grains, all experts) and of owned ones (the group's
 * grains, this rank's experts). */
const cot_slots *cot_exchange_home_slots(const cot_exchange *exchange);
const cot_slots *cot_exchange_owned_slots(const cot_exchange *exchange);

/** Send every slot to its expert's owner, or back to its sample's home: home [home rows, D], owned
 * [owned rows, D]. The two are the same buffer where the exchange is local, else they must not
 * overlap; what is sent stays as it is. Collective over the expert group. */
void cot_exchange_to_owners(cot_exchange *exchange, const cot_real *home, cot_real *owned);
void cot_exchange_to_homes(cot_exchange *exchange, const cot_real *owned, cot_real *home);

#endif
