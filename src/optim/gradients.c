#include <coterie/gradients.h>
#include <coterie/memory.h>
#include <coterie/ordered_sum.h>
#include <coterie/vector.h>

#include <string.h>

struct cot_gradients {
    const cot_comm *comm;
    cot_params *params;
    cot_ordered_sum *over_ranks, *over_replicas;
    size_t most_batches;
    size_t batches; /* micro-batches added in this step */
    cot_real *sum;  /* [replicated]: of all the micro-batches; NULL where there is one */
};

cot_gradients *cot_gradients_create(const cot_comm *comm, cot_params *params,
                                    const cot_gradients_options *options)
{
    cot_gradients *gradients = cot_alloc(1, sizeof *gradients);
    size_t sharded = cot_params_sharded_size(params);
    gradients->comm = comm;
    gradients->params = params;
    gradients->over_ranks = cot_ordered_sum_create(comm->world, cot_params_summed_size(params),
                                                   options->ordered, options->node_ranks);
    gradients->most_batches = options->most_batches;
    if (options->most_batches > 1)
        gradients->sum = cot_alloc(cot_params_replicated_size(params), sizeof(cot_real));
    if (comm->replica_count > 1)
        gradients->over_replicas =
            cot_ordered_sum_create(comm->replicas, sharded, options->ordered, options->node_ranks);
    return gradients;
}

void cot_gradients_destroy(cot_gradients **gradients)
{
    if (*gradients == NULL) return;
    cot_ordered_sum_destroy(&(*gradients)->over_replicas);
    cot_free((*gradients)->sum);
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

size_t cot_gradients_add_batch(cot_gradients *gradients)
{
    size_t n = cot_params_replicated_size(gradients->params);
    size_t summed = cot_params_summed_size(gradients->params);
    cot_real *batch = cot_params_grads(gradients->params);
    size_t sent = cot_ordered_sum_real(gradients->over_ranks, summed, batch, batch);
    COT_ASSERT(gradients->batches < gradients->most_batches);
    gradients->batches++;
    if (gradients->sum == NULL) return sent;
    if (gradients->batches == 1)
        memcpy(gradients->sum, batch, n * sizeof *batch);
    else
        cot_add(n, batch, gradients->sum);
    return sent;
}

size_t cot_gradients_finish(cot_gradients *gradients)
{
    size_t replicated = cot_params_replicated_size(gradients->params);
    size_t sharded = cot_params_sharded_size(gradients->params);
    if (gradients->sum != NULL)
        memcpy(cot_params_grads(gradients->params), gradients->sum, replicated * sizeof(cot_real));
    if (gradients->over_replicas == NULL) return 0;
    cot_real *experts = sharded_grads(gradients);
    return cot_ordered_sum_real(gradients->over_replicas, sharded, experts, experts);
}
