#include "comm/sketch.h"

#include <coterie/comm.h>
#include <coterie/memory.h>
#include <coterie/nodes.h>

/* Of each rank, the lowest rank on its machine, or in a sketch another number of the machine. */
static void find_machines(MPI_Comm comm, int rank, int size, int *lowest)
{
    MPI_Comm machine;
    int mine = rank;
    const cot_sketch *sketch = cot_sketch_of(comm);
    for (int r = 0; sketch != NULL && r < size; r++) lowest[r] = cot_sketch_node(sketch, r);
    if (sketch != NULL) return;
    COT_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine));
    COT_MPI(MPI_Bcast(&mine, 1, MPI_INT, 0, machine));
    COT_MPI(MPI_Comm_free(&machine));
    COT_MPI(MPI_Allgather(&mine, 1, MPI_INT, lowest, 1, MPI_INT, comm));
}

/* A node begins where the machine is another, or the last node is full. */
static void cut(cot_nodes *nodes, size_t ranks, const int *machines, size_t most)
{
    nodes->count = 0;
    for (size_t r = 0; r < ranks; r++) {
        size_t begin = nodes->count > 0 ? nodes->begins[nodes->count - 1] : 0;
        bool full = most > 0 && r - begin == most;
        if (r == 0 || machines[r] != machines[r - 1] || full) nodes->begins[nodes->count++] = r;
    }
    nodes->begins[nodes->count] = ranks;
}

/* The ranks of this rank's node. */
static MPI_Comm split(const cot_nodes *nodes, MPI_Comm comm, int rank)
{
    MPI_Comm here;
    const cot_sketch *sketch = cot_sketch_of(comm);
    if (sketch != NULL) {
        int begin = (int)nodes->begins[nodes->mine];
        return cot_sketch_create(&(cot_sketch){
            rank - begin, (int)cot_nodes_size(nodes, nodes->mine),
            sketch->first + begin * sketch->stride, sketch->stride, sketch->node_ranks});
    }
    COT_MPI(MPI_Comm_split(comm, (int)nodes->mine, rank, &here));
    return here;
}

cot_nodes *cot_nodes_create(MPI_Comm comm, size_t most_ranks)
{
    int rank = 0;
    int size = 0;
    cot_sketch_place(comm, &rank, &size);
    cot_nodes *nodes = cot_alloc(1, sizeof *nodes);
    nodes->begins = cot_alloc((size_t)size + 1, sizeof *nodes->begins);
    int *machines = cot_alloc((size_t)size, sizeof *machines);
    find_machines(comm, rank, size, machines);
    cut(nodes, (size_t)size, machines, most_ranks);
    cot_free(machines);
    while (nodes->begins[nodes->mine + 1] <= (size_t)rank) nodes->mine++;
    nodes->rank = (size_t)rank - nodes->begins[nodes->mine];
    nodes->here = split(nodes, comm, rank);
    return nodes;
}

void cot_nodes_destroy(cot_nodes **nodes)
{
    if (*nodes == NULL) return;
    cot_sketch_free(&(*nodes)->here);
    cot_free((*nodes)->begins);
    cot_free(*nodes);
    *nodes = NULL;
}

size_t cot_nodes_size(const cot_nodes *nodes, size_t n)
{
    return nodes->begins[n + 1] - nodes->begins[n];
}

bool cot_nodes_are_one(MPI_Comm comm, size_t most_ranks)
{
    cot_nodes *nodes = cot_nodes_create(comm, most_ranks);
    bool one = nodes->count == 1;
    cot_nodes_destroy(&nodes);
    return one;
}
