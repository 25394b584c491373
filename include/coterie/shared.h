/** Memory that the ranks of a node share (MPI-3 windows).
 *
 * Every rank brings a part; the parts follow each other in rank order and make up one array that
 * all see. Collective over the communicator, except where it says not. */
#ifndef COTERIE_SHARED_H
#define COTERIE_SHARED_H

#include <mpi.h>
#include <stddef.h>

typedef struct cot_shared cot_shared;

/** Take `bytes` on this rank; NULL, on every rank, where the node has too little memory to share.
 * `comm` outlives it. */
cot_shared *cot_shared_create(MPI_Comm comm, size_t bytes);
void cot_shared_destroy(cot_shared **shared);

/** The first rank's part, behind which lie the others'; aligned to COT_ALIGNMENT. Not collective.
 */
void *cot_shared_base(const cot_shared *shared);

/** A barrier: what any rank wrote before it, all see behind it. */
void cot_shared_meet(cot_shared *shared);

/** What this rank wrote before it, and what others have before a barrier, is seen behind it. For a
 * second array, around the barrier of a first. Not collective. */
void cot_shared_sync(cot_shared *shared);

#endif
