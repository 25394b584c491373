#include "comm/sketch.h"

#include <coterie/comm.h>
#include <coterie/memory.h>
#include <coterie/shared.h>

#include <stdbool.h>
#include <stdint.h>

struct cot_shared {
    MPI_Comm comm;
    MPI_Win window; /* MPI_WIN_NULL in a sketch */
    void *base;
    size_t bytes; /* that this rank brought, and the first what alignment takes */
};

/* Whether all ranks got their memory. */
static bool allocate(MPI_Comm comm, size_t bytes, MPI_Win *window)
{
    MPI_Errhandler before;
    void *own = NULL;
    COT_MPI(MPI_Comm_get_errhandler(comm, &before));
    COT_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    int good = MPI_Win_allocate_shared((MPI_Aint)bytes, 1, MPI_INFO_NULL, comm, &own, window) ==
               MPI_SUCCESS;
    COT_MPI(MPI_Comm_set_errhandler(comm, before));
    COT_MPI(MPI_Errhandler_free(&before));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, comm));
    return good != 0;
}

/* MPI begins the array anywhere in a cache line, but at the same place of it on every rank: pages
 * are mapped whole. */
static void *aligned(void *base)
{
    const size_t beyond = (uintptr_t)base % COT_ALIGNMENT;
    return (char *)base + (beyond > 0 ? COT_ALIGNMENT - beyond : 0);
}

cot_shared *cot_shared_create(MPI_Comm comm, size_t bytes)
{
    MPI_Win window = MPI_WIN_NULL;
    MPI_Aint size = 0;
    void *base = NULL;
    int unit = 0;
    int rank = 0;
    bool sketched = cot_sketch_of(comm) != NULL;
    if (!sketched) {
        COT_MPI(MPI_Comm_rank(comm, &rank));
        if (rank == 0) bytes += COT_ALIGNMENT;
        if (!allocate(comm, bytes, &window)) return NULL;
    }
    cot_shared *shared = cot_alloc(1, sizeof *shared);
    *shared = (cot_shared){.comm = comm, .window = window, .bytes = bytes};
    if (sketched) {
        shared->base = cot_alloc(bytes, 1);
        return shared;
    }
    cot_memory_see((long)bytes);
    /* The lowest rank that brought any. */
    COT_MPI(MPI_Win_shared_query(window, MPI_PROC_NULL, &size, &unit, &base));
    shared->base = aligned(base);
    COT_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, window));
    return shared;
}

void cot_shared_destroy(cot_shared **shared)
{
    if (*shared == NULL) return;
    if ((*shared)->window == MPI_WIN_NULL) {
        cot_free((*shared)->base);
    } else {
        COT_MPI(MPI_Win_unlock_all((*shared)->window));
        COT_MPI(MPI_Win_free(&(*shared)->window));
        cot_memory_see(-(long)(*shared)->bytes);
    }
    cot_free(*shared);
    *shared = NULL;
}

void *cot_shared_base(const cot_shared *shared)
{
    return shared->base;
}

void cot_shared_sync(cot_shared *shared)
{
    COT_MPI(MPI_Win_sync(shared->window));
}

void cot_shared_meet(cot_shared *shared)
{
    cot_shared_sync(shared);
    COT_MPI(MPI_Barrier(shared->comm));
    cot_shared_sync(shared);
}
