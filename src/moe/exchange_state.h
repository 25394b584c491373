/** What the parts of the exchange share: exchange.c makes it and places rows, exchange_messages.c
 * moves them between nodes. */
#ifndef COTERIE_MOE_EXCHANGE_STATE_H
#define COTERIE_MOE_EXCHANGE_STATE_H

#include <coterie/exchange.h>
#include <coterie/nodes.h>
#include <coterie/shared.h>

/* One side's table of slots, with the memory behind it. */
typedef struct table {
    cot_slots slots;
    size_t *samples, *first;
} table;

/* Memory of a node, to which every rank brings a part. */
typedef struct node_memory {
    cot_shared *shared; /* NULL: the node is this rank alone */
    cot_real *base;
} node_memory;

/* One message to or from another rank: some slots of a pair of nodes, as this side sees them. */
typedef struct message {
    int peer;
    bool at_home; /* this rank's node is that of the samples, not of the experts */
    size_t rows;
    size_t place;      /* row of the home buffer, or the owned one, where it begins */
    int count;         /* elements of `type` */
    MPI_Datatype type; /* a row, or rows in several places, which the message frees */
} message;

struct cot_exchange {
    const cot_comm *comm;
    size_t experts, slots_per_expert, width, grains, max_batch;
    size_t first_expert, owned_experts;
    cot_nodes *nodes;
    node_memory in, out, home_rows; /* the last only where there are several nodes */
    cot_slot_buffers buffers;
    size_t seen;    /* bytes of other ranks' memory that this rank uses */
    size_t planned; /* samples of the full plan in force; 0: none */
    bool has_rows;  /* some plan has placed them */
    cot_grains home_grains;
    table home, owned;
    /* Samples that use each expert: before[n,E] those of the nodes in front of node n, the last row
     * of all, [nodes + 1,E]; and those of the members in front of this one, and its own. */
    size_t *before, *before_me, *mine;
    /* [E] of the node's two buffers: the row of each expert's first slot, for the first sample of
     * the node (home) or of the group (owned; only of the node's experts). */
    size_t *home_first, *owned_first;
    size_t chunks;
    size_t piece; /* bytes that consecutive slots of a message make up at least */
    /* Messages between nodes, chunk by chunk, with a request of each for every leg. */
    MPI_Datatype row; /* D numbers */
    message *messages;
    size_t message_count;
    size_t *chunk_messages; /* [chunks + 1]: first of each chunk, and the end */
    MPI_Request *requests[COT_LEGS];
    /* For making the plan: rows of a message, and messages of a pair, by the other node: where this
     * one is home, and where it owns, [2,nodes]. */
    int *lengths, *places;
    size_t *numbers;
};

/** The most experts of one owner: there are never more chunks. */
size_t exchange_most_owned(const cot_exchange *exchange);

/** Samples that use expert e, of the nodes [first, end). */
size_t exchange_used(const cot_exchange *exchange, size_t e, size_t first, size_t end);

/** The experts of a member that belong to a chunk: those from here to the begin of the next. */
size_t exchange_chunk_begin(const cot_exchange *exchange, size_t member, size_t chunk);

/* ---- exchange_messages.c ---- */

void exchange_messages_create(cot_exchange *exchange);
void exchange_messages_destroy(cot_exchange *exchange);

/** On ranks of one machine, find the piece that suits messages there; else leave it. Collective
 * over the group. */
void exchange_messages_choose(cot_exchange *exchange);

/** Experts of the ranks of node n. */
size_t exchange_node_experts(const cot_exchange *exchange, size_t n);

/** From the samples that use experts and the tables, list this rank's messages. */
void exchange_messages_plan(cot_exchange *exchange);

#endif
