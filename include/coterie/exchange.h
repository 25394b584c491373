/** The exchange: slots get from the ranks of their samples (home) to the ranks of their experts
 * (owners), and back.
 *
 * The ranks of an expert group form nodes (nodes.h). Inside a node, homes and owners see the same
 * memory (MPI_Win_allocate_shared). Where the group is one node they work on the same slot buffers
 * and nothing moves: an exchange is a barrier. Else a node has a home buffer and two owned ones,
 * and what lies between the nodes travels in messages which the ranks of a node share among them:
 * slots until they make up 160 KiB (or less, between ranks of one machine), and longer ones by
 * themselves, in parts of at most 1 MiB. A node may be one rank; then it is all messages. Results
 * are the same bits in every way.
 *
 * Every owner's experts are cut into chunks of consecutive ones, whose slots travel by themselves,
 * so that some can be on their way while others are computed. */
#ifndef COTERIE_EXCHANGE_H
#define COTERIE_EXCHANGE_H

#include <coterie/comm.h>
#include <coterie/real.h>
#include <coterie/shard.h>
#include <coterie/slots.h>

#include <stdbool.h>

typedef struct cot_exchange cot_exchange;

/** For E experts of P slots and rows of D numbers, batches of at most `max_batch` samples cut into
 * `grains` grains over all ranks, and nodes of at most `node_ranks` ranks (0: a machine's; 1:
 * messages only). One chunk at first. Where messages stay on one machine, some exchanges are timed
 * to find whether smaller ones, from 32 KiB on, suit it better. `comm` outlives it. Collective over
 * the world. */
cot_exchange *cot_exchange_create(const cot_comm *comm, size_t experts, size_t slots_per_expert,
                                  size_t width, size_t grains, size_t max_batch, size_t node_ranks);
void cot_exchange_destroy(cot_exchange **exchange);

/** What goes to the experts and what comes from them, as this rank sees it at its samples' home
 * [home rows, D] and as an owner [owned rows, D]. In a group of one node, home and owned are the
 * same; elsewhere home_in and home_out are, because inputs have left when outputs come. */
typedef struct cot_slot_buffers {
    cot_real *home_in, *home_out, *owned_in, *owned_out;
} cot_slot_buffers;
const cot_slot_buffers *cot_exchange_buffers(const cot_exchange *exchange);

/** The nodes of the group; with one, home and owned buffers are the same memory. */
size_t cot_exchange_nodes(const cot_exchange *exchange);

/** How it goes: "in shared memory", "by messages", or, where some ranks of the group share memory
 * and others do not, "by messages between nodes". */
const char *cot_exchange_way(const cot_exchange *exchange);

/** The most rows of this rank's experts together, and of one of them. */
size_t cot_exchange_owned_rows(const cot_exchange *exchange);
size_t cot_exchange_expert_rows(const cot_exchange *exchange);

/** From the next plan on, cut every owner's experts into so many chunks; one where there is one
 * node, and never more than the most experts of an owner. The same number on all ranks. Not
 * collective. */
void cot_exchange_set_chunks(cot_exchange *exchange, size_t chunks);
size_t cot_exchange_chunks(const cot_exchange *exchange);

/** This rank's experts of a chunk, counted from its first: [begin, begin of the next). Not
 * collective. */
size_t cot_exchange_chunk_begin(const cot_exchange *exchange, size_t chunk);

/** Plan for batches of `samples` samples in which every sample uses every expert; does nothing when
 * that is the plan already. Counts follow from the shapes, but ranks that share memory wait until
 * none reads rows of the plan before. Collective over the expert group. */
void cot_exchange_plan(cot_exchange *exchange, size_t samples);

/** Plan for a batch of `samples` samples of which used [E], of those here, use each expert; counts
 * travel first. Collective over the expert group. */
void cot_exchange_plan_kept(cot_exchange *exchange, size_t samples, const size_t *used);

/** The grains of this rank's samples in a batch of `samples` samples, and in the one planned for.
 */
cot_grains cot_exchange_grains_of(const cot_exchange *exchange, size_t samples);
const cot_grains *cot_exchange_home_grains(const cot_exchange *exchange);

/** The layout of home buffers (this rank's samples, all experts) and of owned ones (the group's
 * samples, this rank's experts). */
const cot_slots *cot_exchange_home_slots(const cot_exchange *exchange);
const cot_slots *cot_exchange_owned_slots(const cot_exchange *exchange);

/** What travels. */
typedef enum cot_leg {
    COT_LEG_INPUTS,   /**< home_in to owned_in */
    COT_LEG_OUTPUTS,  /**< owned_out to home_out */
    COT_LEG_DOUTPUTS, /**< home_out to owned_out */
    COT_LEG_DINPUTS,  /**< owned_in to home_in */
    COT_LEGS
} cot_leg;

/** Send the chunks [first, end) of this leg on their way; the bytes that this rank sends. What is
 * sent stays as it is, and must until the chunk is finished; what arrives there belongs to the
 * exchange. Collective over the expert group, all in the same order, as all that follows. */
size_t cot_exchange_start(cot_exchange *exchange, cot_leg leg, size_t first, size_t end);

/** Wait until a chunk has arrived. */
void cot_exchange_finish(cot_exchange *exchange, cot_leg leg, size_t chunk);

/** Help on what is on its way, between two pieces of work, the more often the better: MPI moves
 * nothing while it is not called, and a message needs several calls on either side. Not
 * collective. */
void cot_exchange_progress(cot_exchange *exchange);

/** Start all chunks and finish them. */
void cot_exchange_run(cot_exchange *exchange, cot_leg leg);

#endif
