#include "support/ranks.h"
#include "support/test.h"

#include <coterie/costs.h>

#include <string.h>

enum { LAYERS = 2, PLACES = LAYERS + 1, STEPS = 4 };

/* The smallest is on rank 0, except for bytes, of which the last rank has the least; everybody has
 * the same of what is exposed. Exact in double. */
static cot_ledger_entry entry_of(int rank, size_t place, size_t phase)
{
    double base = (double)(STEPS * (1 + 16 * (place * COT_PHASES + phase)));
    return (cot_ledger_entry){base + STEPS * rank, base - STEPS * rank, base, 2 * base};
}

static bool range_is(cot_range range, double min, double mean, double max, int rank)
{
    return range.min == min && range.mean == mean && range.max == max && range.rank == rank;
}

static bool costs_are_right(const cot_costs *costs)
{
    const double last = rank_count() - 1;
    bool good = costs->steps == STEPS && costs->layers == LAYERS;
    double step = 0;
    for (size_t place = 0; place < PLACES; place++)
        for (int i = 0; i < COT_PHASES; i++) {
            cot_phase phase = (cot_phase)i;
            double base = entry_of(0, place, (size_t)i).seconds / STEPS;
            good = good && range_is(cot_costs_of(costs, COT_COST_SECONDS, place, phase), base,
                                    base + last / 2, base + last, (int)last);
            good = good && range_is(cot_costs_of(costs, COT_COST_BYTES, place, phase), base - last,
                                    base - last / 2, base, 0);
            /* Of equal ones, the lowest rank. */
            good = good && range_is(cot_costs_of(costs, COT_COST_EXPOSED, place, phase), base, base,
                                    base, 0);
            good = good && range_is(cot_costs_of(costs, COT_COST_HIDDEN, place, phase), 2 * base,
                                    2 * base, 2 * base, 0);
            step += base;
        }
    const double cells = PLACES * COT_PHASES;
    return good &&
           range_is(costs->step, step, step + cells * last / 2, step + cells * last, (int)last);
}

static void ranges_over_ranks(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    cot_costs *costs = cot_costs_create(LAYERS);
    cot_ledger_entry entries[PLACES * COT_PHASES];
    for (size_t place = 0; place < PLACES; place++)
        for (size_t phase = 0; phase < COT_PHASES; phase++)
            entries[place * COT_PHASES + phase] = entry_of(comm->rank, place, phase);
    cot_costs_gather(costs, comm, entries, STEPS);
    assert_on_every_rank(costs_are_right(costs));

    /* No step: no number, and none that is not one. */
    memset(entries, 0, sizeof entries);
    cot_costs_gather(costs, comm, entries, 0);
    assert_on_every_rank(costs->steps == 0 && range_is(costs->step, 0, 0, 0, 0));
    cot_costs_destroy(&costs);
    cot_comm_destroy(&comm);
}

static void phases_have_one_place(void **state)
{
    (void)state;
    cot_costs *costs = cot_costs_create(LAYERS);
    for (int phase = 0; phase < COT_PHASES; phase++) {
        bool in_layer = cot_costs_has(costs, 0, (cot_phase)phase);
        assert_true(cot_costs_has(costs, LAYERS - 1, (cot_phase)phase) == in_layer);
        assert_true(cot_costs_has(costs, LAYERS, (cot_phase)phase) == !in_layer);
    }
    cot_costs_destroy(&costs);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ranges_over_ranks),
    cmocka_unit_test(phases_have_one_place),
};

RUN_MPI_TESTS(tests)
