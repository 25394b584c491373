/** The exchange: slots get from the ranks of their samples (home) to the ranks of their experts
 * (owners), and back.
 *
 * Where the ranks of an expert group share a node's memory, home and owners work on the same slot
 * buffers (MPI_Win_allocate_shared) and nothing moves: an exchange is a barrier. Elsewhere it is
 * one MPI_Alltoallw, whose data types put rows where the owner's table wants them, so neither side
 * packs. Results are the same bits either way. */
#ifndef COTERIE_EXCHANGE_H
#define COTERIE_EXCHANGE_H

#include <coterie/comm.h>
#include <coterie/real.h>
#include <coterie/shard.h>
#include <coterie/slots.h>

#include <stdbool.h>

typedef struct cot_exchange cot_exchange;

/** For E experts of P slots and rows of D numbers, batches of at most `max_batch` samples cut into
 * `grains` grains over all ranks. With `messages`, memory is not shared even where it could be.
 * `comm` outlives it. Collective over the world. */
cot_exchange *cot_exchange_create(const cot_comm *comm, size_t experts, size_t slots_per_expert,
                                  size_t width, size_t grains, size_t max_batch, bool messages);
void cot_exchange_destroy(cot_exchange **exchange);

/** What goes to the experts and what comes from them, as this rank sees it at its samples' home
 * [home rows, D] and as an owner [owned rows, D]. Where memory is shared, home and owned are the
 * same; elsewhere home_in and home_out are, because inputs have left when outputs come. */
typedef struct cot_slot_buffers {
    cot_real *home_in, *home_out, *owned_in, *owned_out;
} cot_slot_buffers;
const cot_slot_buffers *cot_exchange_buffers(const cot_exchange *exchange);

/** Whether home and owned buffers are the same memory. */
bool cot_exchange_is_shared(const cot_exchange *exchange);

/** The most rows of this rank's experts together, and of one of them. */
size_t cot_exchange_owned_rows(const cot_exchange *exchange);
size_t cot_exchange_expert_rows(const cot_exchange *exchange);

/** Plan for batches of `samples` samples in which every sample uses every expert; does nothing when
 * that is the plan already. Not collective: counts follow from the shapes. */
void cot_exchange_plan(cot_exchange *exchange, size_t samples);

/** Plan for a batch of `samples` samples of which used [E], of those here, use each expert; counts
 * travel first. Collective over the expert group. */
void cot_exchange_plan_kept(cot_exchange *exchange, size_t samples, const size_t *used);

/** The grains of this rank's samples in the batch planned for. */
const cot_grains *cot_exchange_home_grains(const cot_exchange *exchange);

/** The layout of home buffers (this rank's samples, all experts) and of owned ones (the group's
 * samples, this rank's experts). */
const cot_slots *cot_exchange_home_slots(const cot_exchange *exchange);
const cot_slots *cot_exchange_owned_slots(const cot_exchange *exchange);

/** Slot inputs to their experts' owners; slot outputs, or their gradients, to the owners; and back
 * to the samples' homes. What is sent stays as it is. Collective over the expert group. */
void cot_exchange_inputs_to_owners(cot_exchange *exchange);
void cot_exchange_outputs_to_owners(cot_exchange *exchange);
void cot_exchange_outputs_to_homes(cot_exchange *exchange);

/** Bytes of rows that this rank sends to others each time slots go to their owners, and to their
 * homes, by the plan in force; 0 in shared memory. Not collective. */
size_t cot_exchange_bytes_to_owners(const cot_exchange *exchange);
size_t cot_exchange_bytes_to_homes(const cot_exchange *exchange);

#endif
