#include <coterie/costs.h>
#include <coterie/memory.h>

#include <string.h>

const char *cot_cost_name(cot_cost kind)
{
    static const char *const names[] = {[COT_COST_SECONDS] = "seconds",
                                        [COT_COST_BYTES] = "bytes",
                                        [COT_COST_EXPOSED] = "exposed",
                                        [COT_COST_HIDDEN] = "hidden"};
    return names[kind];
}

static size_t cell_count(const cot_costs *costs)
{
    return (size_t)COT_COST_KINDS * (costs->layers + 1) * COT_PHASES;
}

static size_t cell_of(const cot_costs *costs, cot_cost kind, size_t place, size_t phase)
{
    return ((size_t)kind * (costs->layers + 1) + place) * COT_PHASES + phase;
}

cot_costs *cot_costs_create(size_t layers)
{
    cot_costs *costs = cot_alloc(1, sizeof *costs);
    costs->layers = layers;
    costs->numbers = cot_alloc(cell_count(costs) * COT_RANGE_SIZE, sizeof *costs->numbers);
    return costs;
}

void cot_costs_destroy(cot_costs **costs)
{
    if (*costs == NULL) return;
    cot_free((*costs)->numbers);
    cot_free(*costs);
    *costs = NULL;
}

/* ---- over the ranks ---- */

/* What MPI_MAXLOC compares; of equal ones, it takes the lower rank. */
typedef struct located {
    double value;
    int rank;
} located;

/* This rank's numbers of one step: the cells, and behind them the whole step. */
static void list_own(const cot_costs *costs, const cot_ledger_entry *entries, uint64_t steps,
                     double *own)
{
    double *step = own + cell_count(costs);
    *step = 0;
    for (size_t place = 0; place <= costs->layers; place++)
        for (size_t phase = 0; phase < COT_PHASES; phase++) {
            const cot_ledger_entry *e = &entries[place * COT_PHASES + phase];
            const double numbers[] = {e->seconds, e->bytes, e->exposed, e->hidden};
            for (size_t kind = 0; kind < COT_COST_KINDS; kind++)
                own[cell_of(costs, (cot_cost)kind, place, phase)] = numbers[kind] / (double)steps;
            *step += e->seconds / (double)steps;
        }
}

static cot_range range_of(double least, double sum, const located *most, int ranks)
{
    return (cot_range){least, sum / ranks, most->value, most->rank};
}

void cot_costs_gather(cot_costs *costs, const cot_comm *comm, const cot_ledger_entry *entries,
                      uint64_t steps)
{
    const size_t cells = cell_count(costs);
    const int n = cot_comm_int(cells + 1);
    double *least = cot_alloc(cells + 1, sizeof *least);
    double *sum = cot_alloc(cells + 1, sizeof *sum);
    located *most = cot_alloc(cells + 1, sizeof *most);
    list_own(costs, entries, steps > 0 ? steps : 1, least);
    for (size_t i = 0; i <= cells; i++) {
        sum[i] = least[i];
        most[i] = (located){least[i], comm->rank};
    }
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, least, n, MPI_DOUBLE, MPI_MIN, comm->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, sum, n, MPI_DOUBLE, MPI_SUM, comm->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, most, n, MPI_DOUBLE_INT, MPI_MAXLOC, comm->world));
    for (size_t i = 0; i < cells; i++) {
        cot_range range = range_of(least[i], sum[i], &most[i], comm->size);
        const double numbers[COT_RANGE_SIZE] = {range.min, range.mean, range.max, range.rank};
        memcpy(costs->numbers + i * COT_RANGE_SIZE, numbers, sizeof numbers);
    }
    costs->step = range_of(least[cells], sum[cells], &most[cells], comm->size);
    costs->steps = steps;
    cot_free(most);
    cot_free(sum);
    cot_free(least);
}

cot_range cot_costs_of(const cot_costs *costs, cot_cost kind, size_t place, cot_phase phase)
{
    const double *numbers = costs->numbers + cell_of(costs, kind, place, phase) * COT_RANGE_SIZE;
    return (cot_range){numbers[COT_RANGE_MIN], numbers[COT_RANGE_MEAN], numbers[COT_RANGE_MAX],
                       (int)numbers[COT_RANGE_RANK]};
}
