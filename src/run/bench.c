#include "run/bench_state.h"

#include <coterie/clock.h>

#include <stdlib.h>

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double quantile(size_t n, const double *sorted, double share)
{
    double place = share * (double)(n - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

cot_spread cot_spread_of(size_t n, double *values)
{
    COT_ASSERT(n > 0);
    qsort(values, n, sizeof *values, compare_doubles);
    return (cot_spread){quantile(n, values, 0.25), quantile(n, values, 0.5),
                        quantile(n, values, 0.75)};
}

size_t bench_rounds(const cot_comm *comm, double seconds, double round, size_t least)
{
    const double most = 1e5;
    _Static_assert(sizeof(size_t) == sizeof(unsigned long), "MPI_UNSIGNED_LONG carries size_t");
    double wanted = round > 0 ? seconds / round : most;
    size_t rounds = (size_t)(wanted < most ? wanted : most);
    if (rounds < least) rounds = least;
    COT_MPI(MPI_Bcast(&rounds, 1, MPI_UNSIGNED_LONG, 0, comm->world));
    return rounds;
}

cot_spread bench_slowest(const cot_comm *comm, size_t n, double *times)
{
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, times, cot_comm_int(n), MPI_DOUBLE, MPI_MAX, comm->world));
    return cot_spread_of(n, times);
}

double bench_start(const cot_comm *comm)
{
    COT_MPI(MPI_Barrier(comm->world));
    return cot_seconds();
}
