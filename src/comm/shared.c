#include "comm/sketch.h"

#include <coterie/comm.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/shared.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* of Linux 5.14, which older headers do not know */
#endif

struct cot_shared {
    MPI_Comm comm;
    MPI_Win window; /* MPI_WIN_NULL in a sketch */
    void *base;
    size_t bytes; /* that this rank brought, and the first what alignment takes */
};

static bool all_agree(MPI_Comm comm, bool mine)
{
    int good = mine;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, comm));
    return good != 0;
}

/* Whether there is room for what all ranks bring. Open MPI looks on the first rank, which returns
 * where there is none, while the others wait for it for ever; so we look before. It wants a
 * twentieth more than it takes, and each rank's messages go through 4 MiB of the same space. */
static bool has_room(MPI_Comm comm, size_t bytes)
{
    const char *asked = getenv("OMPI_MCA_osc_sm_backing_directory");
    unsigned long wanted = bytes + bytes / 16 + ((size_t)4 << 20);
    struct statvfs space;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &wanted, 1, MPI_UNSIGNED_LONG, MPI_SUM, comm));
    bool known = statvfs(asked != NULL ? asked : "/dev/shm", &space) == 0;
    return all_agree(comm, !known || wanted <= space.f_bavail * space.f_frsize);
}

/* Have pages behind the memory now: a window is a sparse file, and where others have taken what it
 * was promised, the first write would end the process. Linux before 5.14 cannot be asked. */
static bool has_pages(void *memory, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t before = (uintptr_t)memory % page;
    if (bytes == 0) return true;
    if (madvise((char *)memory - before, before + bytes, MADV_POPULATE_WRITE) == 0) return true;
    if (errno != EINVAL) return false;
    memset(memory, 0, bytes);
    return true;
}

/* Whether all ranks got their memory. */
static bool allocate(MPI_Comm comm, size_t bytes, MPI_Win *window)
{
    MPI_Errhandler before;
    void *own = NULL;
    if (!has_room(comm, bytes)) return false;
    COT_MPI(MPI_Comm_get_errhandler(comm, &before));
    COT_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    bool good = MPI_Win_allocate_shared((MPI_Aint)bytes, 1, MPI_INFO_NULL, comm, &own, window) ==
                MPI_SUCCESS;
    COT_MPI(MPI_Comm_set_errhandler(comm, before));
    COT_MPI(MPI_Errhandler_free(&before));
    if (!all_agree(comm, good)) return false;
    good = all_agree(comm, has_pages(own, bytes));
    if (!good) COT_MPI(MPI_Win_free(window));
    return good;
}

/* A layer takes several windows, and many layers do. */
static void warn_once(void)
{
    static bool said;
    if (!said)
        cot_warn("too little memory that ranks of a machine can share: they send messages, which "
                 "is slower; `df /dev/shm` tells how much there is (docker run --shm-size)");
    said = true;
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
        if (!allocate(comm, bytes, &window)) {
            warn_once();
            return NULL;
        }
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
