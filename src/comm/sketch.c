#include "comm/sketch.h"

#include <coterie/comm.h>
#include <coterie/memory.h>

/* The attribute that marks a sketch, and how many of them there are: the key lives as long as any
 * does. */
static int key = MPI_KEYVAL_INVALID;
static int sketches;

MPI_Comm cot_sketch_create(const cot_sketch *sketch)
{
    MPI_Comm comm;
    if (sketches++ == 0)
        COT_MPI(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, MPI_COMM_NULL_DELETE_FN, &key, NULL));
    cot_sketch *copy = cot_alloc(1, sizeof *copy);
    *copy = *sketch;
    COT_MPI(MPI_Comm_dup(MPI_COMM_SELF, &comm));
    COT_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    COT_MPI(MPI_Comm_set_attr(comm, key, copy));
    return comm;
}

static cot_sketch *attribute_of(MPI_Comm comm)
{
    cot_sketch *sketch = NULL;
    int found = 0;
    if (sketches == 0) return NULL;
    COT_MPI(MPI_Comm_get_attr(comm, key, (void *)&sketch, &found));
    return found ? sketch : NULL;
}

void cot_sketch_free(MPI_Comm *comm)
{
    cot_sketch *sketch = attribute_of(*comm);
    COT_MPI(MPI_Comm_free(comm));
    if (sketch == NULL) return;
    cot_free(sketch);
    if (--sketches == 0) COT_MPI(MPI_Comm_free_keyval(&key));
}

const cot_sketch *cot_sketch_of(MPI_Comm comm)
{
    return attribute_of(comm);
}

void cot_sketch_place(MPI_Comm comm, int *rank_out, int *size_out)
{
    const cot_sketch *sketch = cot_sketch_of(comm);
    if (sketch != NULL) {
        *rank_out = sketch->rank;
        *size_out = sketch->size;
        return;
    }
    COT_MPI(MPI_Comm_rank(comm, rank_out));
    COT_MPI(MPI_Comm_size(comm, size_out));
}
