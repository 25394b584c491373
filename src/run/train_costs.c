/* What the steps of an epoch, and of the whole call, cost on each rank; with a profile, the course
 * of the first steps too. */
#include "run/trace.h"
#include "run/trainer.h"

#include <coterie/memory.h>

static size_t entry_count(const trainer *t)
{
    return (cot_ledger_layers(t->ledger) + 1) * COT_PHASES;
}

void trainer_costs_create(trainer *t)
{
    t->call_entries = cot_alloc(entry_count(t), sizeof *t->call_entries);
    t->costs = cot_costs_create(cot_ledger_layers(t->ledger));
    if (t->options->profile_out == NULL) return;
    cot_ledger_trace(t->ledger, TRACE_STEPS, TRACE_EVENTS);
    t->trace_origin = cot_trace_origin(t->comm);
}

void trainer_costs_destroy(trainer *t)
{
    cot_costs_destroy(&t->costs);
    cot_free(t->call_entries);
    t->call_entries = NULL;
}

void trainer_costs_of_epoch(trainer *t)
{
    cot_costs_gather(t->costs, t->comm, cot_ledger_entries(t->ledger), t->epoch_call_steps);
}

void trainer_costs_next_epoch(trainer *t)
{
    const cot_ledger_entry *epoch = cot_ledger_entries(t->ledger);
    for (size_t i = 0; i < entry_count(t); i++) {
        t->call_entries[i].seconds += epoch[i].seconds;
        t->call_entries[i].bytes += epoch[i].bytes;
        t->call_entries[i].exposed += epoch[i].exposed;
        t->call_entries[i].hidden += epoch[i].hidden;
    }
    cot_ledger_clear(t->ledger);
}

void trainer_costs_of_call(trainer *t)
{
    trainer_costs_next_epoch(t);
    cot_costs_gather(t->costs, t->comm, t->call_entries, t->state.progress.step - t->first_step);
}

cot_status trainer_costs_profile(trainer *t)
{
    if (t->options->profile_out == NULL) return COT_OK;
    COT_TRY(
        cot_trace_write(t->comm, t->ledger, t->first_step, t->trace_origin, t->recipe->output.dir));
    *t->options->profile_out = t->costs;
    t->costs = NULL;
    return COT_OK;
}
