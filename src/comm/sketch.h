/** Communicators of ranks that are only thought of. */
#ifndef COTERIE_COMM_SKETCH_H
#define COTERIE_COMM_SKETCH_H

#include <mpi.h>

typedef struct cot_sketch {
    int rank, size;
    int first, stride; /**< rank r is number first + r * stride of all */
    int node_ranks;    /**< so many of these are a node */
} cot_sketch;

/** A communicator that says so. */
MPI_Comm cot_sketch_create(const cot_sketch *sketch);

/** Free a communicator, a sketch or not. */
void cot_sketch_free(MPI_Comm *comm);

/** The node of rank r. */
static inline int cot_sketch_node(const cot_sketch *sketch, int r)
{
    return (sketch->first + r * sketch->stride) / sketch->node_ranks;
}

/** What it is a sketch of; NULL for ranks that are there. */
const cot_sketch *cot_sketch_of(MPI_Comm comm);

/** Place in `comm` and its size, of real ranks or of those of a sketch. */
void cot_sketch_place(MPI_Comm comm, int *rank_out, int *size_out);

#endif
