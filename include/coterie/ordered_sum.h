/** Sums over ranks in one fixed order: MPI_Allreduce promises none.
 *
 * Reduce-scatter, then all-gather: an element's parts add by one binary tree in rank order,
 * wherever the array is cut. On a power of two of ranks by halving and doubling, with log2(ranks)
 * messages each way; else a rank gets all ranks' parts of one segment (MPI_Alltoallv,
 * MPI_Allgatherv). Where the ranks are one node, they do the same in shared memory, between two
 * barriers. */
#ifndef COTERIE_ORDERED_SUM_H
#define COTERIE_ORDERED_SUM_H

#include <coterie/real.h>

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cot_ordered_sum cot_ordered_sum;

/** For arrays of at most `size` elements over the ranks of `comm`, which outlives it; memory is
 * shared where they are one node of at most `node_ranks` ranks (nodes.h). Without `ordered`, sums
 * are left to MPI_Allreduce: faster on some networks, in no promised order. Collective. */
cot_ordered_sum *cot_ordered_sum_create(MPI_Comm comm, size_t size, bool ordered,
                                        size_t node_ranks);
void cot_ordered_sum_destroy(cot_ordered_sum **sum);

/** total [n] = the sum over ranks of part [n]; n is the same on every rank. total may be part, but
 * must not overlap it otherwise. Returns the bytes that this rank sent, none in shared memory;
 * MPI_Allreduce counts as what it has of other ranks' segments, and its own segment's sum to each
 * of them. Collective over comm.
 */
size_t cot_ordered_sum_real(cot_ordered_sum *sum, size_t n, const cot_real *part, cot_real *total);

/** values [n] = their sum over the ranks, in place, by the same tree: of a few, every rank gathers
 * and adds all; of more, a part. Returns the bytes that this rank sent. Collective over comm. */
size_t cot_ordered_sum_doubles(cot_ordered_sum *sum, size_t n, double *values);

/** MPI's name of cot_real. */
#ifdef COT_DOUBLE
#define COT_MPI_REAL MPI_DOUBLE
#else
#define COT_MPI_REAL MPI_FLOAT
#endif

#endif
