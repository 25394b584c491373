/** What the benchmarks share (bench.c). */
#ifndef COTERIE_RUN_BENCH_STATE_H
#define COTERIE_RUN_BENCH_STATE_H

#include <coterie/bench.h>
#include <coterie/comm.h>

/** How many rounds of `round` seconds fill `seconds`, at least `least`, by rank 0's clock.
 * Collective over the world. */
size_t bench_rounds(const cot_comm *comm, double seconds, double round, size_t least);

/** The spread over rounds of the slowest rank's times [n], which get lost. Collective over the
 * world. */
cot_spread bench_slowest(const cot_comm *comm, size_t n, double *times);

/** Seconds now, on all ranks behind one barrier. Collective over the world. */
double bench_start(const cot_comm *comm);

#endif
