#include <coterie/clock.h>
#include <coterie/ledger.h>

#include <stddef.h>

const char *cot_phase_name(cot_phase phase)
{
    static const char *const names[] = {
        [COT_PHASE_DATA] = "data",         [COT_PHASE_ROUTE] = "route",
        [COT_PHASE_DISPATCH] = "dispatch", [COT_PHASE_EXCHANGE] = "exchange",
        [COT_PHASE_EXPERTS] = "experts",   [COT_PHASE_COMBINE] = "combine",
        [COT_PHASE_HEAD] = "head",         [COT_PHASE_SUMS] = "sums",
        [COT_PHASE_UPDATE] = "update"};
    return names[phase];
}

void cot_ledger_start(cot_ledger *ledger)
{
    if (ledger != NULL) ledger->last = cot_seconds();
}

void cot_ledger_mark(cot_ledger *ledger, cot_phase phase)
{
    if (ledger == NULL) return;
    double now = cot_seconds();
    ledger->seconds[phase] += now - ledger->last;
    ledger->last = now;
}
