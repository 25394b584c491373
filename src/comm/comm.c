#include "comm/sketch.h"

#include <coterie/comm.h>
#include <coterie/log.h>
#include <coterie/memory.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = 1024 };

static void abort_all_ranks(int exit_code)
{
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

void cot_comm_mpi_failed(const char *file, int line, const char *call, int mpi_code)
{
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(mpi_code, reason, &length);
    cot_abort(file, line, "%s: %s", call, reason);
}

int cot_comm_int(size_t value)
{
    COT_ASSERT(value <= INT_MAX);
    return (int)value;
}

static cot_status check_replicas(int size, int expert_replicas)
{
    if (expert_replicas >= 1 && size % expert_replicas == 0) return COT_OK;
    return cot_fail(
        COT_E_CONFIG,
        "parallel.expert_replicas: %d does not divide the %d ranks of this run; use a divisor or "
        "another number of ranks",
        expert_replicas, size);
}

/* Ranks of one expert group are consecutive; ranks at the same place in their groups are
 * replicas. */
static cot_comm *place(int size, int rank, int expert_replicas)
{
    cot_comm *comm = cot_alloc(1, sizeof *comm);
    *comm = (cot_comm){.size = size, .rank = rank, .replica_count = expert_replicas};
    comm->group_size = size / expert_replicas;
    comm->group_rank = rank % comm->group_size;
    comm->replica = rank / comm->group_size;
    return comm;
}

cot_status cot_comm_create(MPI_Comm parent, int expert_replicas, cot_comm **comm_out)
{
    int size = 0;
    int rank = 0;
    COT_MPI(MPI_Comm_size(parent, &size));
    COT_MPI(MPI_Comm_rank(parent, &rank));
    COT_TRY(check_replicas(size, expert_replicas));
    cot_comm *comm = place(size, rank, expert_replicas);
    COT_MPI(MPI_Comm_dup(parent, &comm->world));
    COT_MPI(MPI_Comm_set_errhandler(comm->world, MPI_ERRORS_RETURN));
    COT_MPI(MPI_Comm_split(comm->world, comm->replica, rank, &comm->group));
    COT_MPI(MPI_Comm_split(comm->world, comm->group_rank, rank, &comm->replicas));
    cot_set_abort_handler(abort_all_ranks);
    *comm_out = comm;
    return COT_OK;
}

cot_status cot_comm_sketch(int ranks, int rank, int nodes, int expert_replicas, cot_comm **comm_out)
{
    COT_ASSERT(rank < ranks && nodes >= 1 && ranks % nodes == 0);
    COT_TRY(check_replicas(ranks, expert_replicas));
    cot_comm *comm = place(ranks, rank, expert_replicas);
    const int on_node = ranks / nodes;
    const int members = comm->group_size;
    comm->world = cot_sketch_create(&(cot_sketch){rank, ranks, 0, 1, on_node});
    comm->group = cot_sketch_create(
        &(cot_sketch){comm->group_rank, members, comm->replica * members, 1, on_node});
    comm->replicas = cot_sketch_create(
        &(cot_sketch){comm->replica, comm->replica_count, comm->group_rank, members, on_node});
    *comm_out = comm;
    return COT_OK;
}

void cot_comm_destroy(cot_comm **comm)
{
    if (*comm == NULL) return;
    cot_sketch_free(&(*comm)->replicas);
    cot_sketch_free(&(*comm)->group);
    cot_sketch_free(&(*comm)->world);
    cot_free(*comm);
    *comm = NULL;
}

/* Rank 0 prints, whoever failed: one stream, one line. A failure agreed on before has left no
 * message. */
static void report(const cot_comm *comm, int failed_rank, int failed_count)
{
    char message[MESSAGE_SIZE] = "";
    const char *mine = cot_failure();
    if (comm->rank == failed_rank)
        snprintf(message, sizeof message, "%s", mine != NULL ? mine : "");
    COT_MPI(MPI_Bcast(message, sizeof message, MPI_CHAR, failed_rank, comm->world));
    if (comm->rank == 0 && message[0] != '\0') {
        cot_log_live(NULL);
        if (failed_count == comm->size)
            fprintf(stderr, "coterie: error: %s\n", message);
        else
            fprintf(stderr, "coterie: error: rank %d: %s\n", failed_rank, message);
        fflush(stderr);
    }
    cot_failure_clear();
}

cot_status cot_comm_agree(const cot_comm *comm, cot_status mine)
{
    int lowest = mine == COT_OK ? comm->size : comm->rank;
    int failures = mine != COT_OK;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, comm->world));
    if (lowest == comm->size) return COT_OK;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &failures, 1, MPI_INT, MPI_SUM, comm->world));
    int status = (int)mine;
    COT_MPI(MPI_Bcast(&status, 1, MPI_INT, lowest, comm->world));
    report(comm, lowest, failures);
    return (cot_status)status;
}

cot_status cot_comm_agree_text(const cot_comm *comm, const char *what, const char *text)
{
    char *reference = cot_comm_broadcast_text(comm, text);
    cot_status status = COT_OK;
    if (strcmp(reference, text) != 0)
        status =
            cot_fail(COT_E_CONFIG, "%s is '%s' here but '%s' on rank 0; all ranks must run alike",
                     what, text, reference);
    cot_free(reference);
    return cot_comm_agree(comm, status);
}

char *cot_comm_broadcast_text(const cot_comm *comm, const char *text)
{
    unsigned long size = comm->rank == 0 ? strlen(text) + 1 : 0;
    COT_MPI(MPI_Bcast(&size, 1, MPI_UNSIGNED_LONG, 0, comm->world));
    char *copy = cot_alloc(size, 1);
    if (comm->rank == 0) memcpy(copy, text, size);
    COT_MPI(MPI_Bcast(copy, cot_comm_int(size), MPI_CHAR, 0, comm->world));
    return copy;
}
