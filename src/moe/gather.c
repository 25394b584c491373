#include "moe/gather.h"

#include <coterie/memory.h>
#include <coterie/nodes.h>
#include <coterie/ordered_sum.h>

cot_group_batch cot_group_batch_of(const cot_comm *comm, size_t samples, size_t grains,
                                   size_t *begins)
{
    size_t members = (size_t)comm->group_size;
    size_t first = (size_t)comm->replica * members;
    cot_group_batch batch = {.comm = comm, .begins = begins};
    batch.group =
        cot_grains_of(samples, grains, (size_t)comm->replica_count, (size_t)comm->replica);
    batch.home = cot_grains_of(samples, grains, (size_t)comm->size, (size_t)comm->rank);
    batch.samples = cot_grains_size(&batch.group);
    batch.begin = cot_grains_begin(&batch.home) - cot_grains_begin(&batch.group);
    batch.here = cot_grains_size(&batch.home);
    for (size_t m = 0; m < members; m++) {
        cot_grains theirs = cot_grains_of(samples, grains, (size_t)comm->size, first + m);
        begins[m] = cot_grains_begin(&theirs) - cot_grains_begin(&batch.group);
    }
    begins[members] = batch.samples;
    return batch;
}

/* What a sample has is one element of messages, so that their counts are samples, which fit. */
static MPI_Datatype row_type(size_t width)
{
    MPI_Datatype row = MPI_DATATYPE_NULL;
    COT_MPI(MPI_Type_contiguous(cot_comm_int(width), COT_MPI_REAL, &row));
    COT_MPI(MPI_Type_commit(&row));
    return row;
}

/* ---- from home to all ---- */

struct cot_gather {
    const cot_comm *comm;
    size_t width;
    size_t seen;        /* bytes that another rank brought */
    cot_shared *shared; /* NULL: messages, or one rank */
    cot_real *rows;
    MPI_Datatype row;
    int *counts, *displs; /* in rows */
};

static cot_shared *share(const cot_comm *comm, size_t bytes, size_t node_ranks)
{
    if (comm->group_size == 1 || !cot_nodes_are_one(comm->group, node_ranks)) return NULL;
    return cot_shared_create(comm->group, bytes);
}

cot_gather *cot_gather_create(const cot_comm *comm, size_t samples, size_t width, size_t node_ranks)
{
    size_t members = (size_t)comm->group_size;
    cot_gather *gather = cot_alloc(1, sizeof *gather);
    gather->comm = comm;
    gather->width = width;
    gather->row = row_type(width);
    /* The first rank brings it all. */
    size_t bytes = samples * width * sizeof(cot_real);
    gather->shared = share(comm, comm->group_rank == 0 ? bytes : 0, node_ranks);
    if (gather->shared != NULL && comm->group_rank != 0) gather->seen = bytes;
    cot_memory_see((long)gather->seen);
    gather->rows = gather->shared != NULL ? cot_shared_base(gather->shared)
                                          : cot_alloc(samples * width, sizeof(cot_real));
    gather->counts = cot_alloc(members, sizeof(int));
    gather->displs = cot_alloc(members, sizeof(int));
    return gather;
}

void cot_gather_destroy(cot_gather **gather)
{
    if (*gather == NULL) return;
    cot_free((*gather)->displs);
    cot_free((*gather)->counts);
    COT_MPI(MPI_Type_free(&(*gather)->row));
    if ((*gather)->shared == NULL) cot_free((*gather)->rows);
    cot_memory_see(-(long)(*gather)->seen);
    cot_shared_destroy(&(*gather)->shared);
    cot_free(*gather);
    *gather = NULL;
}

cot_real *cot_gather_rows(const cot_gather *gather)
{
    return gather->rows;
}

/* On a power of two of members, by recursive doubling: what 1, 2, 4, ... neighbours have goes to
 * as many others. MPI_Allgatherv would pass large rows from neighbour to neighbour, in as many
 * steps as there are members. */
static void gather_by_doubling(cot_gather *gather, const size_t *begins)
{
    const int me = gather->comm->group_rank;
    const size_t width = gather->width;
    for (int held = 1; held < gather->comm->group_size; held *= 2) {
        int mine = me & ~(held - 1);
        int theirs = mine ^ held;
        COT_MPI(MPI_Sendrecv(gather->rows + begins[mine] * width,
                             cot_comm_int(begins[mine + held] - begins[mine]), gather->row,
                             me ^ held, 0, gather->rows + begins[theirs] * width,
                             cot_comm_int(begins[theirs + held] - begins[theirs]), gather->row,
                             me ^ held, 0, gather->comm->group, MPI_STATUS_IGNORE));
    }
}

void cot_gather_run(cot_gather *gather, const size_t *begins)
{
    const int members = gather->comm->group_size;
    if (members == 1) return;
    if (gather->shared != NULL) {
        cot_shared_meet(gather->shared);
        return;
    }
    if ((members & (members - 1)) == 0) {
        gather_by_doubling(gather, begins);
        return;
    }
    for (int m = 0; m < members; m++) {
        gather->counts[m] = cot_comm_int(begins[m + 1] - begins[m]);
        gather->displs[m] = cot_comm_int(begins[m]);
    }
    COT_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, gather->rows, gather->counts,
                           gather->displs, gather->row, gather->comm->group));
}

size_t cot_gather_bytes(const cot_gather *gather, const size_t *begins)
{
    if (gather->shared != NULL) return 0;
    size_t others = (size_t)gather->comm->group_size - 1;
    const size_t *mine = begins + gather->comm->group_rank;
    return others * (mine[1] - mine[0]) * gather->width * sizeof(cot_real);
}

void cot_gather_wait(cot_gather *gather)
{
    if (gather->shared != NULL) cot_shared_meet(gather->shared);
}

/* ---- from all to home ---- */

struct cot_parts {
    const cot_comm *comm;
    size_t width, samples; /* capacity */
    size_t seen;           /* bytes of the others' rows that this rank reads */
    cot_shared *shared;    /* NULL: messages, or one rank */
    cot_real *own;         /* [samples,width] */
    cot_real *arrived;     /* [members,here,width]; NULL where memory is shared */
    MPI_Datatype row;
    int *counts, *displs, *mine, *mine_displs; /* in rows */
};

cot_parts *cot_parts_create(const cot_comm *comm, size_t samples, size_t here, size_t width,
                            size_t node_ranks)
{
    size_t members = (size_t)comm->group_size;
    cot_parts *parts = cot_alloc(1, sizeof *parts);
    *parts = (cot_parts){.comm = comm, .width = width, .samples = samples, .row = row_type(width)};
    size_t numbers = samples * width;
    parts->shared = share(comm, numbers * sizeof(cot_real), node_ranks);
    parts->own = parts->shared != NULL ? (cot_real *)cot_shared_base(parts->shared) +
                                             (size_t)comm->group_rank * numbers
                                       : cot_alloc(numbers, sizeof(cot_real));
    if (parts->shared != NULL)
        parts->seen = (members - 1) * here * width * sizeof(cot_real);
    else if (members > 1)
        parts->arrived = cot_alloc(members * here * width, sizeof(cot_real));
    cot_memory_see((long)parts->seen);
    parts->counts = cot_alloc(members, sizeof(int));
    parts->displs = cot_alloc(members, sizeof(int));
    parts->mine = cot_alloc(members, sizeof(int));
    parts->mine_displs = cot_alloc(members, sizeof(int));
    return parts;
}

void cot_parts_destroy(cot_parts **parts_at)
{
    cot_parts *parts = *parts_at;
    if (parts == NULL) return;
    cot_free(parts->mine_displs);
    cot_free(parts->mine);
    cot_free(parts->displs);
    cot_free(parts->counts);
    COT_MPI(MPI_Type_free(&parts->row));
    cot_free(parts->arrived);
    if (parts->shared == NULL) cot_free(parts->own);
    cot_memory_see(-(long)parts->seen);
    cot_shared_destroy(&parts->shared);
    cot_free(parts);
    *parts_at = NULL;
}

cot_real *cot_parts_own(const cot_parts *parts)
{
    return parts->own;
}

void cot_parts_run(cot_parts *parts, const cot_group_batch *batch)
{
    if (parts->comm->group_size == 1) return;
    if (parts->shared != NULL) {
        cot_shared_meet(parts->shared);
        return;
    }
    for (int m = 0; m < parts->comm->group_size; m++) {
        parts->counts[m] = cot_comm_int(batch->begins[m + 1] - batch->begins[m]);
        parts->displs[m] = cot_comm_int(batch->begins[m]);
        parts->mine[m] = cot_comm_int(batch->here);
        parts->mine_displs[m] = cot_comm_int((size_t)m * batch->here);
    }
    COT_MPI(MPI_Alltoallv(parts->own, parts->counts, parts->displs, parts->row, parts->arrived,
                          parts->mine, parts->mine_displs, parts->row, parts->comm->group));
}

size_t cot_parts_bytes(const cot_parts *parts, const cot_group_batch *batch)
{
    if (parts->shared != NULL) return 0;
    return (batch->samples - batch->here) * parts->width * sizeof(cot_real);
}

cot_real *cot_parts_of(const cot_parts *parts, const cot_group_batch *batch, size_t member)
{
    if (parts->arrived != NULL) return parts->arrived + member * batch->here * parts->width;
    size_t me = (size_t)parts->comm->group_rank;
    cot_real *first = parts->own - me * parts->samples * parts->width;
    return first + (member * parts->samples + batch->begin) * parts->width;
}
