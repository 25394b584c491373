#include "moe/columns.h"
#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/shard.h>
#include <coterie/tree.h>

#include <string.h>

enum { ROWS = 7, EXPERTS = 5, PER_EXPERT = 2, S = EXPERTS * PER_EXPERT, ROUNDS = 10 };

/* What an expert group makes of the matrix. */
static void draw(int replica, int round, cot_real *matrix)
{
    draw_normal((uint64_t)(100 * round + replica), (size_t)ROWS * S, matrix);
    for (size_t i = 0; i < (size_t)ROWS * S; i++)
        matrix[i] *= (cot_real)(1 + (i + (size_t)replica) % 3 * 500);
}

/* The tree over the groups. */
static void sum_serially(int replicas, int round, cot_real *sum)
{
    cot_real *parts = cot_alloc((size_t)replicas * ROWS * S, sizeof *parts);
    for (int q = 0; q < replicas; q++) draw(q, round, parts + (size_t)q * ROWS * S);
    cot_tree_reduce((size_t)replicas, (size_t)ROWS * S, parts);
    memcpy(sum, parts, (size_t)ROWS * S * sizeof *sum);
    cot_free(parts);
}

static void write_own(const cot_comm *comm, const cot_columns *columns, const cot_real *matrix,
                      cot_real *whole)
{
    size_t members = (size_t)comm->group_size;
    size_t me = (size_t)comm->group_rank;
    size_t first = PER_EXPERT * cot_shard_begin(EXPERTS, members, me);
    size_t slots = PER_EXPERT * cot_shard_size(EXPERTS, members, me);
    cot_real *own = cot_columns_own(columns, whole);
    for (size_t row = 0; row < ROWS; row++)
        memcpy(own + row * slots, matrix + row * S + first, slots * sizeof *own);
}

/* Round after round, as the passes of a layer follow each other: behind a barrier. */
static void check(int replicas, size_t node_ranks)
{
    cot_comm *comm = comm_of_world(replicas);
    cot_columns *columns = cot_columns_create(comm, ROWS, EXPERTS, PER_EXPERT, node_ranks);
    bool right = true;
    size_t sent = 0;
    for (int round = 0; round < ROUNDS; round++) {
        cot_real matrix[ROWS * S];
        cot_real want[ROWS * S];
        cot_real whole[ROWS * S] = {0};
        draw(comm->replica, round, matrix);
        sum_serially(replicas, round, want);
        write_own(comm, columns, matrix, whole);
        sent = cot_columns_run(columns, whole);
        cot_columns_put(columns, whole);
        right = right && same_bits(whole, want, (size_t)ROWS * S);
        COT_MPI(MPI_Barrier(comm->group));
    }
    assert_on_every_rank(right);
    size_t members = (size_t)comm->group_size;
    size_t own = PER_EXPERT * cot_shard_size(EXPERTS, members, (size_t)comm->group_rank);
    bool messages = node_ranks > 0 && node_ranks < members;
    if (replicas == 1)
        assert_on_every_rank(sent ==
                             (messages ? (members - 1) * own * ROWS : 0) * sizeof(cot_real));
    cot_columns_destroy(&columns);
    assert_null(columns);
    cot_comm_destroy(&comm);
}

static void all_get_the_whole(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= rank_count(); replicas++)
        for (size_t node_ranks = 0; rank_count() % replicas == 0 && node_ranks < 3; node_ranks++)
            check(replicas, node_ranks);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_get_the_whole),
};

RUN_MPI_TESTS(tests)
