#include <coterie/memory.h>
#include <coterie/norms.h>
#include <coterie/shard.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

struct cot_norms {
    const cot_comm *comm;
    const cot_params *params;
    size_t *place;        /* [params]: first entry of each parameter in `squares` */
    double *squares;      /* by parameter, then by expert */
    double *gathered;     /* those of the experts by rank of the group, then by parameter */
    int *counts, *displs; /* of these, by rank */
};

static size_t entries(const cot_param *param)
{
    return param->placement == COT_SHARDED ? param->dims[0] : 1;
}

/* What each rank has to tell of its experts. */
static void cut_experts(cot_norms *norms)
{
    const size_t ranks = (size_t)norms->comm->group_size;
    size_t next = 0;
    for (size_t r = 0; r < ranks; r++) {
        norms->displs[r] = cot_comm_int(next);
        for (size_t i = 0; i < cot_params_count(norms->params); i++) {
            const cot_param *param = cot_params_at(norms->params, i);
            if (param->placement == COT_SHARDED) next += cot_shard_size(param->dims[0], ranks, r);
        }
        norms->counts[r] = cot_comm_int(next) - norms->displs[r];
    }
}

cot_norms *cot_norms_create(const cot_comm *comm, const cot_params *params)
{
    size_t count = cot_params_count(params);
    size_t ranks = (size_t)comm->group_size;
    cot_norms *norms = cot_alloc(1, sizeof *norms);
    norms->comm = comm;
    norms->params = params;
    norms->place = cot_alloc(count, sizeof *norms->place);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        norms->place[i] = total;
        total += entries(cot_params_at(params, i));
    }
    norms->squares = cot_alloc(total, sizeof *norms->squares);
    norms->gathered = cot_alloc(total, sizeof *norms->gathered);
    norms->counts = cot_alloc(ranks, sizeof *norms->counts);
    norms->displs = cot_alloc(ranks, sizeof *norms->displs);
    cut_experts(norms);
    return norms;
}

void cot_norms_destroy(cot_norms **norms)
{
    if (*norms == NULL) return;
    cot_free((*norms)->displs);
    cot_free((*norms)->counts);
    cot_free((*norms)->gathered);
    cot_free((*norms)->squares);
    cot_free((*norms)->place);
    cot_free(*norms);
    *norms = NULL;
}

/* Copy the squares of a rank's experts to or from where they are gathered. */
static void move_experts(cot_norms *norms, size_t rank, bool in)
{
    const size_t ranks = (size_t)norms->comm->group_size;
    double *gathered = norms->gathered + norms->displs[rank];
    for (size_t i = 0; i < cot_params_count(norms->params); i++) {
        const cot_param *param = cot_params_at(norms->params, i);
        if (param->placement != COT_SHARDED) continue;
        size_t count = cot_shard_size(param->dims[0], ranks, rank);
        double *squares =
            norms->squares + norms->place[i] + cot_shard_begin(param->dims[0], ranks, rank);
        memcpy(in ? gathered : squares, in ? squares : gathered, count * sizeof *squares);
        gathered += count;
    }
}

/* Each rank has the squares of its own experts; all get all. Returns the bytes sent. */
static size_t gather_experts(cot_norms *norms)
{
    const size_t ranks = (size_t)norms->comm->group_size;
    const size_t me = (size_t)norms->comm->group_rank;
    if (ranks == 1) return 0;
    move_experts(norms, me, true);
    COT_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, norms->gathered, norms->counts,
                           norms->displs, MPI_DOUBLE, norms->comm->group));
    for (size_t rank = 0; rank < ranks; rank++)
        if (rank != me) move_experts(norms, rank, false);
    return (ranks - 1) * (size_t)norms->counts[me] * sizeof *norms->gathered;
}

size_t cot_norms_measure(cot_norms *norms, const cot_real *array)
{
    for (size_t i = 0; i < cot_params_count(norms->params); i++) {
        const cot_param *param = cot_params_at(norms->params, i);
        const cot_real *part = array + param->offset;
        double *squares = norms->squares + norms->place[i];
        if (param->placement == COT_REPLICATED) {
            squares[0] = cot_dot_double(param->count, part, part);
            continue;
        }
        for (size_t e = 0; e < param->rows; e++) {
            const cot_real *expert = part + e * param->row_size;
            squares[param->first_row + e] = cot_dot_double(param->row_size, expert, expert);
        }
    }
    return gather_experts(norms);
}

double cot_norms_squares(const cot_norms *norms, size_t i, size_t e)
{
    return norms->squares[norms->place[i] + e];
}

double cot_norms_total(const cot_norms *norms)
{
    double total = 0;
    for (size_t i = 0; i < cot_params_count(norms->params); i++) {
        const cot_param *param = cot_params_at(norms->params, i);
        if (param->frozen) continue;
        for (size_t e = 0; e < entries(param); e++) total += cot_norms_squares(norms, i, e);
    }
    return sqrt(total);
}

/* The rank of the first expert group that owns the expert. */
static int owner_of(const cot_norms *norms, size_t experts, size_t e)
{
    int rank = 0;
    while (cot_shard_begin(experts, (size_t)norms->comm->group_size, (size_t)rank + 1) <= e) rank++;
    return rank;
}

/* The first parameter of a placement, and its first expert, with a number that is not finite. */
static bool find_fault_in(const cot_norms *norms, cot_placement placement,
                          cot_norms_fault *fault_out)
{
    for (size_t i = 0; i < cot_params_count(norms->params); i++) {
        const cot_param *param = cot_params_at(norms->params, i);
        if (param->placement != placement) continue;
        for (size_t e = 0; e < entries(param); e++) {
            if (isfinite(cot_norms_squares(norms, i, e))) continue;
            bool sharded = placement == COT_SHARDED;
            *fault_out =
                (cot_norms_fault){param, e, sharded ? owner_of(norms, param->dims[0], e) : 0};
            return true;
        }
    }
    return false;
}

bool cot_norms_find_fault(const cot_norms *norms, cot_norms_fault *fault_out)
{
    return find_fault_in(norms, COT_SHARDED, fault_out) ||
           find_fault_in(norms, COT_REPLICATED, fault_out);
}
