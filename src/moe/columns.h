/** A matrix whose columns the ranks of an expert group have computed, each those of its own slots:
 * from there to the whole matrix on every rank. Collective over the world, except where it says
 * not.
 *
 * A rank's columns are complete but for the samples of other expert groups: they are summed over
 * the replica group, in the order of cot_ordered_sum, and then gathered in the expert group. In
 * shared memory that is a barrier, and what a rank reads of the others'. */
#ifndef COTERIE_MOE_COLUMNS_H
#define COTERIE_MOE_COLUMNS_H

#include <coterie/comm.h>
#include <coterie/real.h>

typedef struct cot_columns cot_columns;

/** For [rows,S] matrices, S the slots of `experts` experts; `comm` outlives it. Memory is shared
 * where the expert group is one node of at most `node_ranks` ranks (nodes.h). */
cot_columns *cot_columns_create(const cot_comm *comm, size_t rows, size_t experts,
                                size_t slots_per_expert, size_t node_ranks);
void cot_columns_destroy(cot_columns **columns);

/** Where this rank writes its columns [rows, its slots] before cot_columns_run: one rank alone into
 * `whole` [rows,S]. Not collective. */
cot_real *cot_columns_own(const cot_columns *columns, cot_real *whole);

/** Bring all columns here. Returns the bytes that this rank's columns are to others. Where memory
 * is shared, the ranks meet; they must meet again, anywhere, before one writes its next columns,
 * because others read these. */
size_t cot_columns_run(cot_columns *columns, cot_real *whole);

/** Behind it: put them together in `whole`. Not collective. */
void cot_columns_put(const cot_columns *columns, cot_real *whole);

#endif
