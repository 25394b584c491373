/* All ranks here are on one machine, so nodes are as large as they may be. */
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/nodes.h>

static void check(size_t most)
{
    const size_t ranks = (size_t)rank_count();
    const size_t me = (size_t)rank_here();
    const size_t size = most == 0 || most > ranks ? ranks : most;
    cot_nodes *nodes = cot_nodes_create(MPI_COMM_WORLD, most);
    bool right = nodes->count == (ranks + size - 1) / size;
    right = right && nodes->mine == me / size && nodes->rank == me % size;
    for (size_t n = 0; right && n < nodes->count; n++)
        right = nodes->begins[n] == n * size &&
                nodes->begins[n] + cot_nodes_size(nodes, n) == nodes->begins[n + 1];
    right = right && nodes->begins[nodes->count] == ranks;
    int here = 0;
    COT_MPI(MPI_Comm_size(nodes->here, &here));
    right = right && (size_t)here == cot_nodes_size(nodes, nodes->mine);
    COT_MPI(MPI_Comm_rank(nodes->here, &here));
    right = right && (size_t)here == nodes->rank;
    assert_on_every_rank(right);
    assert_on_every_rank(cot_nodes_are_one(MPI_COMM_WORLD, most) == (nodes->count == 1));
    cot_nodes_destroy(&nodes);
    assert_null(nodes);
}

static void nodes_are_as_large_as_allowed(void **state)
{
    (void)state;
    for (size_t most = 0; most <= 5; most++) check(most);
}

/* Of a communicator whose ranks are in another order. */
static void nodes_of_a_part(void **state)
{
    (void)state;
    MPI_Comm half;
    int size = 0;
    COT_MPI(MPI_Comm_split(MPI_COMM_WORLD, rank_here() % 2, -rank_here(), &half));
    COT_MPI(MPI_Comm_size(half, &size));
    cot_nodes *nodes = cot_nodes_create(half, 1);
    assert_on_every_rank(nodes->count == (size_t)size && nodes->rank == 0);
    cot_nodes_destroy(&nodes);
    COT_MPI(MPI_Comm_free(&half));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nodes_are_as_large_as_allowed),
    cmocka_unit_test(nodes_of_a_part),
};

RUN_MPI_TESTS(tests)
