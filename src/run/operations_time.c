/* What the operations of a step take, some of them at the same time. */
#include "run/chunk_tuner.h"
#include "run/operations.h"

#include <math.h>

static double far_seconds(const cot_machine *machine, double numbers)
{
    const double near = OPERATION_NEAR;
    double all = cot_machine_seconds(machine, COT_KERNEL_ROWS, numbers, 1, 1);
    double from_cache = numbers / near * cot_machine_seconds(machine, COT_KERNEL_ROWS, near, 1, 1);
    return all > from_cache ? all - from_cache : 0;
}

double operation_seconds(const operation *o, const cot_machine *machine)
{
    if ((int)o->kernel == OPERATION_FAR) return far_seconds(machine, o->m);
    return cot_machine_seconds(machine, o->kernel, o->m, o->n, o->k);
}

/* ---- what experts hide of the exchange ---- */

/* Seconds of work, by what goes on with it. */
static void work_of(const operations *list, const double *each, double work_out[STRETCHES])
{
    for (int i = 0; i < STRETCHES; i++) work_out[i] = 0;
    for (size_t i = 0; i < list->count; i++) {
        const operation *o = &list->list[i];
        if (o->phase == COT_PHASE_EXPERTS) work_out[o->stretch] += o->count * each[i];
    }
}

/* Whether it is on its way while experts compute. */
static bool travels(const operation *o)
{
    return o->stretch != STRETCH_ALONE && o->phase == COT_PHASE_EXCHANGE &&
           o->kernel != COT_KERNEL_BARRIER;
}

/* Seconds of the messages of slots in so many chunks, as if nothing else went on. */
static void messages_of(const operations *list, const cot_machine *machine, size_t chunks,
                        double messages_out[STRETCHES])
{
    const double c = (double)chunks;
    for (int i = 0; i < STRETCHES; i++) messages_out[i] = 0;
    for (size_t i = 0; i < list->count; i++) {
        const operation *o = &list->list[i];
        if (travels(o))
            messages_out[o->stretch] +=
                o->count * c * cot_machine_seconds(machine, o->kernel, o->m / c, 1, 1);
    }
}

/* Of messages and work in c chunks, the way there of the first chunk hides behind nothing, nor, in
 * front of the late work, the way home of the last: each 1/2c of the messages. */
static double exposed_in(const operations *list, const cot_machine *machine,
                         const double work[STRETCHES], size_t chunks)
{
    const double share = 1 - 1 / (double)chunks;
    double messages[STRETCHES];
    messages_of(list, machine, chunks, messages);
    const double there = messages[STRETCH_FORWARD];
    const double back = messages[STRETCH_BACKWARD];
    double forward = fmin(share * there, work[STRETCH_FORWARD]);
    double backward = fmin(share * back, work[STRETCH_BACKWARD]);
    double home = fmin(back / 2, (1 + share) / 2 * back - backward);
    return there + back - forward - backward - fmin(home, work[STRETCH_LATE]);
}

/* In as many chunks as the recipe says, or as a run would find best. */
static double exposed(const operations *list, const double *each, const cot_machine *machine)
{
    const size_t most = list->most_chunks;
    double work[STRETCHES];
    work_of(list, each, work);
    if (list->chunks > 0)
        return exposed_in(list, machine, work, list->chunks < most ? list->chunks : most);
    double least = exposed_in(list, machine, work, 1);
    for (size_t i = 0; i < CHUNK_CANDIDATES && chunk_candidates[i] <= most; i++)
        least = fmin(least, exposed_in(list, machine, work, chunk_candidates[i]));
    return least;
}

void operations_add_up(const operations *list, const double *each, const cot_machine *machine,
                       bool hides, double seconds_out[COT_PHASES])
{
    bool any = false;
    for (int i = 0; i < COT_PHASES; i++) seconds_out[i] = 0;
    for (size_t i = 0; i < list->count; i++) {
        const operation *o = &list->list[i];
        if (hides && travels(o))
            any = true;
        else
            seconds_out[o->phase] += o->count * each[i];
    }
    if (any) seconds_out[COT_PHASE_EXCHANGE] += exposed(list, each, machine);
}
