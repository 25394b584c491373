#include <coterie/gradients.h>
#include <coterie/memory.h>
#include <coterie/ordered_sum.h>
#include <coterie/vector.h>

#include <string.h>

struct cot_gradients {
    const cot_comm *comm;
    cot_params *params;
    cot_ordered_sum *over_ranks, *over_replicas;
    size_t batches;        /* micro-batches added in this step */
    cot_real *batch_sum;   /* [replicated]: of the last micro-batch */
    cot_real *sum;         /* [replicated]: of all the micro-batches */
    cot_real *experts_sum; /* [sharded]: over the replicas */
};

cot_gradients *cot_gradients_create(const cot_comm *comm, cot_params *params, bool ordered)
{
    cot_gradients *gradients = cot_alloc(1, sizeof *gradients);
    size_t replicated = cot_params_replicated_size(params);
    size_t sharded = cot_params_sharded_size(params);
    gradients->comm = comm;
    gradients->params = params;
    gradients->over_ranks = cot_ordered_sum_create(comm->world, replicated, ordered);
    gradients->batch_sum = cot_alloc(replicated, sizeof(cot_real));
    gradients->sum = cot_alloc(replicated, sizeof(cot_real));
    if (comm->replica_count > 1) {
        gradients->over_replicas = cot_ordered_sum_create(comm->replicas, sharded, ordered);
        gradients->experts_sum = cot_alloc(sharded, sizeof(cot_real));
    }
    return gradients;
}

void cot_gradients_destroy(cot_gradients **gradients)
{
    if (*gradients == NULL) return;
    cot_free((*gradients)->experts_sum);
    cot_ordered_sum_destroy(&(*gradients)->over_replicas);
    cot_free((*gradients)->sum);
    cot_free((*gradients)->batch_sum);
    cot_ordered_sum_destroy(&(*gradients)->over_ranks);
    cot_free(*gradients);
    *gradients = NULL;
}

static cot_real *sharded_grads(const cot_gradients *gradients)
{
    return cot_params_grads(gradients->params) + cot_params_replicated_size(gradients->params);
}

void cot_gradients_begin(cot_gradients *gradients)
{
    gradients->batches = 0;
    cot_fill(cot_params_sharded_size(gradients->params), 0, sharded_grads(gradients));
}

void cot_gradients_add_batch(cot_gradients *gradients)
{
    size_t n = cot_params_replicated_size(gradients->params);
    const cot_real *mine = cot_params_grads(gradients->params);
    bool first = gradients->batches++ == 0;
    cot_ordered_sum_real(gradients->over_ranks, n, mine,
                         first ? gradients->sum : gradients->batch_sum);
    if (!first) cot_add(n, gradients->batch_sum, gradients->sum);
}

void cot_gradients_finish(cot_gradients *gradients)
{
    size_t replicated = cot_params_replicated_size(gradients->params);
    size_t sharded = cot_params_sharded_size(gradients->params);
    memcpy(cot_params_grads(gradients->params), gradients->sum, replicated * sizeof(cot_real));
    if (gradients->over_replicas == NULL) return;
    cot_real *experts = sharded_grads(gradients);
    cot_ordered_sum_real(gradients->over_replicas, sharded, experts, gradients->experts_sum);
    memcpy(experts, gradients->experts_sum, sharded * sizeof(cot_real));
}
