/* Time against K (Algorithm 2): the first batches of the split with every K, one after the other in
 * one call, so that ratios are fair; the median over the batches, of the slowest rank's times. */
#include "run/specializer.h"

#include <coterie/clock.h>
#include <coterie/memory.h>

#include <stdlib.h>

enum { TIMES = SPECIALIZE_TIMES };

size_t specialize_timed_batches(const specializer *s)
{
    size_t batches = specialize_batch_count(s);
    return s->options->timed_batches < batches ? s->options->timed_batches : batches;
}

/* One forward pass; times a sample, the same on every rank. */
static void time_batch(specializer *s, size_t index, cot_selector *selector, double times[TIMES])
{
    cot_batch batch = specialize_batch(s, index);
    MPI_Comm world = s->ex->comm->world;
    COT_MPI(MPI_Barrier(world));
    s->ex->ledger = cot_ledger_create(0);
    double started = cot_seconds();
    cot_ledger_start(s->ex->ledger);
    (void)cot_experiment_forward(s->ex, &batch, NULL, selector);
    times[0] = cot_seconds() - started;
    times[1] = cot_ledger_seconds(s->ex->ledger, COT_PHASE_EXPERTS);
    times[2] = cot_ledger_seconds(s->ex->ledger, COT_PHASE_EXCHANGE);
    cot_ledger_destroy(&s->ex->ledger);
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, times, TIMES, MPI_DOUBLE, MPI_MAX, world));
    for (size_t i = 0; i < TIMES; i++) times[i] /= (double)batch.samples;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* All sizes on one batch, behind a pass that brings its samples into the caches; times
 * [TIMES,keeps,batches]. */
static cot_status time_sizes(specializer *s, size_t b, double *times)
{
    const size_t batches = specialize_timed_batches(s);
    const size_t keeps = s->plan.keeps.count;
    const size_t E = cot_model_shape(s->ex->model)->E;
    double measured[TIMES];
    time_batch(s, b, NULL, measured);
    for (size_t k = 0; k < keeps; k++) {
        size_t keep = s->plan.keeps.sizes[k];
        cot_selector *selector = keep < E ? cot_selector_combine(E, keep) : NULL;
        time_batch(s, b, selector, measured);
        cot_selector_destroy(&selector);
        for (size_t i = 0; i < TIMES; i++) times[(i * keeps + k) * batches + b] = measured[i];
        COT_TRY(specialize_advance(s, "measuring time"));
    }
    return COT_OK;
}

cot_status specialize_time(specializer *s)
{
    const size_t batches = specialize_timed_batches(s);
    const size_t keeps = s->plan.keeps.count;
    double *times = cot_alloc(TIMES * keeps * batches, sizeof *times);
    cot_status status = COT_OK;
    for (size_t b = 0; b < batches && status == COT_OK; b++) status = time_sizes(s, b, times);
    for (size_t i = 0; i < TIMES; i++)
        for (size_t k = 0; k < keeps; k++)
            s->seconds[i][k] = median(times + (i * keeps + k) * batches, batches);
    cot_free(times);
    return status;
}

void specialize_list_times(specializer *s)
{
    static const struct {
        const char *name, *meaning;
    } variables[TIMES] = {
        {"timing/seconds_per_sample", "time of a forward pass that keeps K experts, a sample"},
        {"timing/experts_seconds_per_sample", "of that, computing experts"},
        {"timing/exchange_seconds_per_sample", "of that, sending slots and their counts"}};
    for (size_t i = 0; i < TIMES; i++)
        cot_catalog_add_reals(&s->catalog, variables[i].name, "keep", "s", variables[i].meaning,
                              s->seconds[i]);
}
