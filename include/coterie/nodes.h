/** Which ranks of a communicator share memory: its nodes, as the exchange sees them. */
#ifndef COTERIE_NODES_H
#define COTERIE_NODES_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

/** Consecutive ranks on one machine are a node. Where ranks of several machines alternate, a
 * machine makes up several. */
typedef struct cot_nodes {
    size_t count;   /**< nodes of the communicator */
    size_t mine;    /**< this rank's */
    size_t rank;    /**< this rank's place in its node */
    size_t *begins; /**< [count + 1]: the first rank of each, and the end */
    MPI_Comm here;  /**< the ranks of this rank's node */
} cot_nodes;

/** The nodes of `comm`, of at most `most_ranks` ranks each; 0: as many as there are on a machine.
 * Collective. */
cot_nodes *cot_nodes_create(MPI_Comm comm, size_t most_ranks);
void cot_nodes_destroy(cot_nodes **nodes);

/** Ranks of node n. */
size_t cot_nodes_size(const cot_nodes *nodes, size_t n);

/** Whether all ranks of `comm` are one node; the answer is the same on every rank. Collective. */
bool cot_nodes_are_one(MPI_Comm comm, size_t most_ranks);

#endif
