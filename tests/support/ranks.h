/** What tests on several ranks share: one outcome for all of them. */
#ifndef COTERIE_TEST_RANKS_H
#define COTERIE_TEST_RANKS_H

#include <coterie/comm.h>

#include <stdbool.h>

/** Ranks of MPI_COMM_WORLD, and this one. */
int rank_count(void);
int rank_here(void);

/** Whether every rank says so. Collective over MPI_COMM_WORLD. */
bool on_every_rank(bool here);

/** Reduce first, then assert on every rank alike: a rank that fails alone would leave the others
 * waiting. Collective over MPI_COMM_WORLD. */
#define assert_on_every_rank(condition)                                                            \
    do {                                                                                           \
        bool holds_here = (condition);                                                             \
        bool holds = on_every_rank(holds_here);                                                    \
        if (!holds)                                                                                \
            fail_msg("%s: it %s on rank %d", #condition, holds_here ? "holds" : "does not hold",   \
                     rank_here());                                                                 \
    } while (0)

/** Whether a file or a link has the path that both parts make; it stays until every rank has
 * looked. Collective over MPI_COMM_WORLD. */
bool exists(const char *path, const char *suffix);

/** Communicators over all ranks with this many expert replicas, and over this rank alone. */
cot_comm *comm_of_world(int replicas);
cot_comm *comm_of_self(void);

#endif
