/** The ranks of a run: the world, its expert groups, and the replica groups across them.
 *
 * R ranks form Q expert groups of R/Q consecutive ranks. The ranks of a group hold all the experts
 * between them; the ranks with the same place in every group hold the same experts and form a
 * replica group. */
#ifndef COTERIE_COMM_H
#define COTERIE_COMM_H

#include <coterie/status.h>

#include <mpi.h>
#include <stddef.h>

/** Call MPI; a failing call ends the job with rank, file and line. */
#define COT_MPI(call)                                                                              \
    do {                                                                                           \
        int mpi_code = (call);                                                                     \
        if (mpi_code != MPI_SUCCESS) cot_comm_mpi_failed(__FILE__, __LINE__, #call, mpi_code);     \
    } while (0)
_Noreturn void cot_comm_mpi_failed(const char *file, int line, const char *call, int mpi_code);

typedef struct cot_comm {
    MPI_Comm world; /**< all R ranks */
    int rank, size;
    MPI_Comm group; /**< the R/Q ranks that hold all the experts between them */
    int group_rank, group_size;
    MPI_Comm replicas; /**< the Q ranks that hold the same experts */
    int replica, replica_count;
} cot_comm;

/** Split `parent` into `expert_replicas` expert groups. The caller keeps `parent`; destroy frees
 * the copies made. Collective over parent.
 * Errors: COT_E_CONFIG when expert_replicas does not divide the number of ranks. */
COT_MUST_CHECK cot_status cot_comm_create(MPI_Comm parent, int expert_replicas,
                                          cot_comm **comm_out);
void cot_comm_destroy(cot_comm **comm);

/** Rank `rank` of a run of `ranks` on `nodes` nodes, as many on each, that is only thought of: for
 * learning what creations would take there. Nothing that communicates works on it. Destroyed like
 * any other. Not collective.
 * Errors: COT_E_CONFIG as cot_comm_create. */
COT_MUST_CHECK cot_status cot_comm_sketch(int ranks, int rank, int nodes, int expert_replicas,
                                          cot_comm **comm_out);

/** Make one decision of all ranks' outcomes: COT_OK if every rank says so, else the status of the
 * lowest failing rank, whose message is printed once (with its rank, when not all ranks failed) and
 * forgotten everywhere; agreeing on the same failure again prints nothing more. Collective over the
 * world. Stands before every collective call that some rank might not reach. */
COT_MUST_CHECK cot_status cot_comm_agree(const cot_comm *comm, cot_status mine);

/** Check that all ranks hold the same text; `what` names it in the message. Collective over the
 * world.
 * Errors: COT_E_CONFIG on every rank, naming the lowest rank that differs from rank 0. */
COT_MUST_CHECK cot_status cot_comm_agree_text(const cot_comm *comm, const char *what,
                                              const char *text);

/** Give every rank rank 0's text (allocated; release with cot_free). On other ranks `text` is
 * ignored. Collective over the world. */
char *cot_comm_broadcast_text(const cot_comm *comm, const char *text);

/** `value` as an int for MPI; aborts when it does not fit. */
int cot_comm_int(size_t value);

#endif
