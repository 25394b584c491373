/** Communicators of ranks that are only thought of. */
#ifndef COTERIE_COMM_SKETCH_H
#define COTERIE_COMM_SKETCH_H

#include <mpi.h>
#include <stdbool.h>

typedef struct cot_sketch {
    int rank, size;
    bool one_node; /**< its ranks share memory */
} cot_sketch;

/** A communicator that says so; freed by cot_sketch_free. */
MPI_Comm cot_sketch_create(const cot_sketch *sketch);
void cot_sketch_free(MPI_Comm *comm);

/** What it is a sketch of; NULL for ranks that are there. */
const cot_sketch *cot_sketch_of(MPI_Comm comm);

/** Place in `comm` and its size, of real ranks or of those of a sketch. */
void cot_sketch_place(MPI_Comm comm, int *rank_out, int *size_out);

#endif
