#include "run/choose_exchange.h"

#include "run/machine_kernels.h"
#include "run/operations.h"

#include <coterie/memory.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What both plans do in a step, and how fast this is here. */
typedef struct trial {
    const cot_comm *comm;
    machine_arena arena;
    cot_machine messages; /* its messages and barriers alone */
    int nodes;
    operations plans[2];
    double seconds[2];
    bool lacks; /* messages of a kind that could not be measured */
} trial;

/* Loading samples, the head and updates are nearly the same by either plan: parts of a batch make
 * them a little longer. */
static bool decides(const operation *o)
{
    bool of_layer = o->phase >= COT_PHASE_ROUTE && o->phase <= COT_PHASE_COMBINE;
    return of_layer || o->phase == COT_PHASE_SUMS;
}

/* A kernel of exactly these sizes, or of part of them where they are large. */
static double time_operation(const trial *t, const operation *o)
{
    const double enough = 4e-3;
    double m = ceil(o->m);
    double n = ceil(o->n);
    const double k = ceil(o->k);
    /* Numbers that are drawn take as long one as the other. */
    const double most_drawn = 4096;
    const double room = o->kernel == COT_KERNEL_NORMALS ? most_drawn : (double)t->arena.region;
    while (m > 1 && m * fmax(n, k) > room) m = ceil(m / 2);
    while (n > 1 && n * fmax(m, k) > room) n = ceil(n / 2);
    machine_arena_warm(&t->arena);
    double seconds =
        machine_time_kernel(&t->arena, o->kernel, (size_t)m, (size_t)n, (size_t)k, enough);
    return seconds * o->m * o->n * o->k / (m * n * k);
}

/* As operation_seconds has it, by arrays that fit into the arena. */
static double time_far(const trial *t, double numbers)
{
    const double enough = 5e-3;
    const size_t near = OPERATION_NEAR;
    size_t m = numbers < (double)t->arena.region ? (size_t)ceil(numbers) : t->arena.region;
    if (m <= near) return 0;
    double all = machine_time_kernel(&t->arena, COT_KERNEL_ROWS, m, 1, 1, enough) / (double)m;
    double cached =
        machine_time_kernel(&t->arena, COT_KERNEL_ROWS, near, 1, 1, enough) / (double)near;
    return all > cached ? (all - cached) * numbers : 0;
}

static void time_plan(trial *t, cot_plan plan)
{
    const operations *list = &t->plans[plan];
    double seconds[OPERATIONS_MOST] = {0};
    double phases[COT_PHASES];
    COT_MPI(MPI_Barrier(t->comm->world));
    for (size_t i = 0; i < list->count; i++) {
        const operation *o = &list->list[i];
        if (!decides(o)) continue;
        if ((int)o->kernel == OPERATION_FAR)
            seconds[i] = time_far(t, o->m);
        else if (o->kernel < COT_KERNEL_BARRIER)
            seconds[i] = time_operation(t, o);
        else if (cot_machine_knows(&t->messages, o->kernel))
            seconds[i] = cot_machine_seconds(&t->messages, o->kernel, o->m, o->n, o->k);
        else
            t->lacks = true;
    }
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, seconds, cot_comm_int(list->count), MPI_DOUBLE, MPI_MAX,
                          t->comm->world));
    if (t->lacks) return;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    operations_add_up(list, seconds, &t->messages, t->comm->size / t->nodes <= cores, phases);
    for (int i = 0; i < COT_PHASES; i++) t->seconds[plan] += phases[i];
}

/* The plan's operations on the last rank, which has as much to do as any. */
static cot_status list_operations(const cot_experiment *ex, cot_plan plan, trial *t)
{
    cot_recipe recipe = *ex->recipe;
    cot_experiment *sketch = NULL;
    const int ranks = ex->comm->size;
    cot_sketch_place place = {ranks, ranks - 1, t->nodes};
    recipe.parallel.exchange = plan;
    cot_memory_sketch(true);
    cot_status status = cot_experiment_sketch(&recipe, ex->dataset, &place, &sketch);
    if (status == COT_OK) operations_of_step(sketch, ranks / t->nodes, &t->plans[plan]);
    cot_experiment_destroy(&sketch);
    cot_memory_sketch(false);
    return status;
}

static cot_status try_both(cot_experiment *ex, trial *t)
{
    const double for_messages = 0.03;
    for (int plan = COT_PLAN_SLOTS; plan <= COT_PLAN_TOKENS; plan++)
        COT_TRY(list_operations(ex, (cot_plan)plan, t));
    machine_measure_messages(ex->comm, for_messages, &t->messages);
    for (int plan = COT_PLAN_SLOTS; plan <= COT_PLAN_TOKENS; plan++) time_plan(t, (cot_plan)plan);
    return COT_OK;
}

static cot_status measure(cot_experiment *ex)
{
    const double milliseconds = 1e3;
    const size_t operand = (size_t)8 << 20; /* numbers */
    trial t = {.comm = ex->comm,
               .arena = machine_arena_create(operand),
               .nodes = cot_comm_nodes(ex->comm)};
    if (ex->comm->size % t.nodes != 0) t.nodes = ex->comm->size;
    cot_status status = try_both(ex, &t);
    machine_arena_destroy(&t.arena);
    cot_machine_free(&t.messages);
    if (status != COT_OK) return status;
    int lacks = t.lacks;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &lacks, 1, MPI_INT, MPI_MAX, ex->comm->world));
    if (lacks) {
        snprintf(ex->why, sizeof ex->why,
                 "by the shapes, because messages between nodes of different sizes are not timed");
        return COT_OK;
    }
    /* Of nodes that differ, the slowest ranks' word counts. */
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, t.seconds, 2, MPI_DOUBLE, MPI_MAX, ex->comm->world));
    double slots = milliseconds * t.seconds[COT_PLAN_SLOTS];
    double tokens = milliseconds * t.seconds[COT_PLAN_TOKENS];
    ex->batching.plan = tokens < slots ? COT_PLAN_TOKENS : COT_PLAN_SLOTS;
    snprintf(ex->why, sizeof ex->why,
             "as timed here: %.2f ms a step in layers and sums by slots, %.2f by tokens", slots,
             tokens);
    return COT_OK;
}

cot_status choose_exchange(cot_experiment *ex)
{
    const cot_recipe *recipe = ex->recipe;
    if (recipe->parallel.exchange != COT_PLAN_AUTO) {
        snprintf(ex->why, sizeof ex->why, "as the recipe says");
        return COT_OK;
    }
    if (!recipe->parallel.reproducible) return measure(ex);
    snprintf(ex->why, sizeof ex->why, "by the shapes: tokens above eight slots for each token");
    return COT_OK;
}
