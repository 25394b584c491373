/** A ledger over the ranks: what a training step costs, by phase and layer, on the rank that pays
 * least, on average, and on the rank that pays most. For reports only. */
#ifndef COTERIE_COSTS_H
#define COTERIE_COSTS_H

#include <coterie/comm.h>
#include <coterie/ledger.h>

#include <stdint.h>

/** What is counted: the numbers of cot_ledger_entry. */
typedef enum cot_cost {
    COT_COST_SECONDS,
    COT_COST_BYTES,
    COT_COST_EXPOSED,
    COT_COST_HIDDEN,
    COT_COST_KINDS
} cot_cost;

/** "seconds", "bytes", "exposed", "hidden". */
const char *cot_cost_name(cot_cost kind);

/** A number over the ranks. */
typedef struct cot_range {
    double min, mean, max;
    int rank; /**< the lowest with the max */
} cot_range;

/** What a range is made of where it is stored. */
enum { COT_RANGE_MIN, COT_RANGE_MEAN, COT_RANGE_MAX, COT_RANGE_RANK, COT_RANGE_SIZE };

/** All numbers are of one step, the mean over `steps` of them. */
typedef struct cot_costs {
    size_t layers;
    uint64_t steps;  /**< 0: nothing is known, and the numbers are 0 */
    cot_range step;  /**< seconds of a whole step */
    double *numbers; /**< [COT_COST_KINDS, layers + 1, COT_PHASES, COT_RANGE_SIZE]; the last place
                        is that outside of layers */
} cot_costs;

/** Room for so many layers. Not collective. */
cot_costs *cot_costs_create(size_t layers);
void cot_costs_destroy(cot_costs **costs);

/** Of each rank's entries [layers + 1, COT_PHASES] over `steps` steps. Collective over the world,
 * with the same result on every rank. */
void cot_costs_gather(cot_costs *costs, const cot_comm *comm, const cot_ledger_entry *entries,
                      uint64_t steps);

/** Of one phase at one place, a layer or `layers`. */
cot_range cot_costs_of(const cot_costs *costs, cot_cost kind, size_t place, cot_phase phase);

/** Whether a phase has its place in layers, or outside of them: other numbers are 0. */
static inline bool cot_costs_has(const cot_costs *costs, size_t place, cot_phase phase)
{
    return cot_phase_is_of_layer(phase) == (place < costs->layers);
}

#endif
