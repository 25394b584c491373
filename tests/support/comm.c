#include "support/comm.h"

#include "support/ranks.h"

cot_comm *comm;

int create_comm(void **unused)
{
    (void)unused;
    comm = comm_of_world(1);
    return 0;
}

int destroy_comm(void **unused)
{
    (void)unused;
    MPI_Barrier(MPI_COMM_WORLD);
    cot_comm_destroy(&comm);
    cot_set_abort_handler(NULL);
    return 0;
}
