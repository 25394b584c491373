#include "support/ranks.h"

#include "support/test.h"

#include <coterie/memory.h>

#include <sys/stat.h>

int rank_count(void)
{
    int size = 0;
    COT_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
    return size;
}

int rank_here(void)
{
    int rank = 0;
    COT_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    return rank;
}

bool on_every_rank(bool here)
{
    int all = here;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD));
    return all != 0;
}

bool exists(const char *path, const char *suffix)
{
    struct stat status;
    char *whole = cot_strprintf("%s%s", path, suffix);
    bool there = lstat(whole, &status) == 0;
    cot_free(whole);
    COT_MPI(MPI_Barrier(MPI_COMM_WORLD));
    return there;
}

static cot_comm *comm_of(MPI_Comm parent, int replicas)
{
    cot_comm *comm = NULL;
    assert_int_equal(cot_comm_create(parent, replicas, &comm), COT_OK);
    return comm;
}

cot_comm *comm_of_world(int replicas)
{
    return comm_of(MPI_COMM_WORLD, replicas);
}

cot_comm *comm_of_self(void)
{
    return comm_of(MPI_COMM_SELF, 1);
}
