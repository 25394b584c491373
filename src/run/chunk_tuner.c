#include "run/chunk_tuner.h"

#include <coterie/log.h>
#include <coterie/memory.h>

#include <float.h>
#include <stdio.h>

/* The numbers to choose from have VISITS turns each of STEPS steps, of which the first, which plans
 * anew, does not count. */
enum { VISITS = 2, STEPS = 3 };
const size_t chunk_candidates[CHUNK_CANDIDATES] = {1, 2, 4, 8};

struct chunk_tuner {
    cot_experiment *experiment;
    size_t count;                   /* of the candidates, those that differ here */
    size_t samples;                 /* of a whole batch */
    size_t step;                    /* of all turns */
    double least[CHUNK_CANDIDATES]; /* seconds of the fastest step, on its slowest rank */
};

/* Where one expert group is one node and another is not, all take part. */
static bool anything_travels(const cot_experiment *experiment)
{
    int travels =
        cot_exchange_nodes(cot_soft_moe_exchange(cot_model_layer(experiment->model, 0))) > 1;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &travels, 1, MPI_INT, MPI_MAX, experiment->comm->world));
    return travels != 0;
}

chunk_tuner *chunk_tuner_create(cot_experiment *experiment, size_t samples)
{
    const cot_comm *comm = experiment->comm;
    const cot_moe_shape *shape = cot_model_shape(experiment->model);
    size_t members = (size_t)comm->group_size;
    size_t most = (shape->E + members - 1) / members;
    if (experiment->recipe->parallel.chunks > 0 || most < 2 ||
        cot_plan_choose(experiment->batching.plan, shape) != COT_PLAN_SLOTS ||
        !anything_travels(experiment))
        return NULL;
    chunk_tuner *tuner = cot_alloc(1, sizeof *tuner);
    tuner->experiment = experiment;
    tuner->samples = samples;
    while (tuner->count < CHUNK_CANDIDATES && chunk_candidates[tuner->count] <= most)
        tuner->least[tuner->count++] = DBL_MAX;
    return tuner;
}

void chunk_tuner_destroy(chunk_tuner **tuner)
{
    cot_free(*tuner);
    *tuner = NULL;
}

static void choose(const chunk_tuner *tuner)
{
    char times[CHUNK_CANDIDATES * 32];
    int length = 0;
    size_t best = 0;
    for (size_t i = 0; i < tuner->count; i++) {
        if (tuner->least[i] < tuner->least[best]) best = i;
        length += snprintf(times + length, sizeof times - (size_t)length, "%s%.2f ms in %zu",
                           i > 0 ? ", " : "", 1e3 * tuner->least[i], chunk_candidates[i]);
    }
    cot_model_set_chunks(tuner->experiment->model, chunk_candidates[best]);
    cot_info("slots travel in %zu chunk%s: the fastest steps took %s", chunk_candidates[best],
             chunk_candidates[best] == 1 ? "" : "s", times);
}

bool chunk_tuner_step(chunk_tuner *tuner, size_t samples, double seconds)
{
    size_t candidate = tuner->step / STEPS % tuner->count;
    /* Only whole batches are alike. */
    if (samples != tuner->samples) return false;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX,
                          tuner->experiment->comm->world));
    if (tuner->step % STEPS > 0 && seconds < tuner->least[candidate])
        tuner->least[candidate] = seconds;
    tuner->step++;
    if (tuner->step == VISITS * STEPS * tuner->count) {
        choose(tuner);
        return true;
    }
    cot_model_set_chunks(tuner->experiment->model,
                         chunk_candidates[tuner->step / STEPS % tuner->count]);
    return false;
}
