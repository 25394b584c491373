#include <coterie/clock.h>
#include <coterie/ledger.h>
#include <coterie/memory.h>
#include <coterie/status.h>

#include <string.h>

struct cot_ledger {
    double started, last; /* the step, and the last mark */
    size_t layers, place; /* place: the row that marks go to; `layers` outside of them */
    cot_ledger_entry *entries;
    int flights; /* collectives under way, */
    int under_way[COT_PHASES];
    double launched[COT_PHASES]; /* and since when there are any */
    /* The events: those of steps that are complete, and behind them those of the one at hand. */
    size_t steps_left, capacity, kept, count;
    cot_ledger_event *events;
};

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

bool cot_phase_communicates(cot_phase phase)
{
    return phase == COT_PHASE_EXCHANGE || phase == COT_PHASE_SUMS;
}

bool cot_phase_is_of_layer(cot_phase phase)
{
    return phase >= COT_PHASE_ROUTE && phase <= COT_PHASE_COMBINE;
}

static size_t entry_count(const cot_ledger *ledger)
{
    return (ledger->layers + 1) * COT_PHASES;
}

cot_ledger *cot_ledger_create(size_t layers)
{
    cot_ledger *ledger = cot_alloc(1, sizeof *ledger);
    *ledger = (cot_ledger){.layers = layers, .place = layers};
    ledger->entries = cot_alloc(entry_count(ledger), sizeof *ledger->entries);
    cot_ledger_clear(ledger);
    return ledger;
}

void cot_ledger_destroy(cot_ledger **ledger)
{
    if (*ledger == NULL) return;
    cot_free((*ledger)->events);
    cot_free((*ledger)->entries);
    cot_free(*ledger);
    *ledger = NULL;
}

size_t cot_ledger_layers(const cot_ledger *ledger)
{
    return ledger->layers;
}

const cot_ledger_entry *cot_ledger_entries(const cot_ledger *ledger)
{
    return ledger->entries;
}

double cot_ledger_seconds(const cot_ledger *ledger, cot_phase phase)
{
    double seconds = 0;
    for (size_t i = 0; i <= ledger->layers; i++)
        seconds += ledger->entries[i * COT_PHASES + phase].seconds;
    return seconds;
}

void cot_ledger_clear(cot_ledger *ledger)
{
    memset(ledger->entries, 0, entry_count(ledger) * sizeof *ledger->entries);
}

/* ---- the course of events ---- */

void cot_ledger_trace(cot_ledger *ledger, size_t steps, size_t capacity)
{
    cot_free(ledger->events);
    ledger->events = cot_alloc(capacity, sizeof *ledger->events);
    ledger->steps_left = steps;
    ledger->capacity = capacity;
    ledger->kept = ledger->count = 0;
}

const cot_ledger_event *cot_ledger_events(const cot_ledger *ledger, size_t *count_out)
{
    *count_out = ledger->kept;
    return ledger->events;
}

static void record(cot_ledger *ledger, int phase, double begin, double end, bool aside)
{
    if (ledger->steps_left == 0) return;
    if (ledger->count == ledger->capacity) {
        ledger->steps_left = 0;
        return;
    }
    bool outside = ledger->place == ledger->layers || phase == COT_PHASES;
    ledger->events[ledger->count++] =
        (cot_ledger_event){begin, end, phase, outside ? -1 : (int)ledger->place, aside};
}

/* Marks of one phase that follow each other are one event. */
static void record_mark(cot_ledger *ledger, cot_phase phase, double now)
{
    cot_ledger_event *before =
        ledger->count > ledger->kept ? &ledger->events[ledger->count - 1] : NULL;
    int layer = ledger->place < ledger->layers ? (int)ledger->place : -1;
    if (before != NULL && !before->aside && before->phase == (int)phase && before->layer == layer)
        before->end = now;
    else
        record(ledger, (int)phase, ledger->last, now, false);
}

void cot_ledger_finish(cot_ledger *ledger)
{
    if (ledger == NULL || ledger->steps_left == 0) return;
    record(ledger, COT_PHASES, ledger->started, ledger->last, false);
    if (ledger->steps_left == 0) return;
    ledger->kept = ledger->count;
    ledger->steps_left--;
}

/* ---- noting ---- */

void cot_ledger_start(cot_ledger *ledger)
{
    if (ledger == NULL) return;
    ledger->started = ledger->last = cot_seconds();
    ledger->count = ledger->kept;
}

void cot_ledger_enter(cot_ledger *ledger, size_t layer)
{
    if (ledger == NULL) return;
    ledger->place = layer < ledger->layers ? layer : ledger->layers;
}

void cot_ledger_leave(cot_ledger *ledger)
{
    if (ledger != NULL) ledger->place = ledger->layers;
}

static cot_ledger_entry *entry_of(cot_ledger *ledger, cot_phase phase)
{
    return &ledger->entries[ledger->place * COT_PHASES + phase];
}

/* Whoever computes hides what is under way. */
static void note_hidden(cot_ledger *ledger, double seconds)
{
    for (int i = 0; i < COT_PHASES; i++)
        if (ledger->under_way[i] > 0) entry_of(ledger, (cot_phase)i)->hidden += seconds;
}

/* Close a stretch of time; returns its seconds. */
static double mark(cot_ledger *ledger, cot_phase phase)
{
    double now = cot_seconds();
    double seconds = now - ledger->last;
    entry_of(ledger, phase)->seconds += seconds;
    if (ledger->steps_left > 0) record_mark(ledger, phase, now);
    ledger->last = now;
    return seconds;
}

void cot_ledger_mark(cot_ledger *ledger, cot_phase phase)
{
    if (ledger == NULL) return;
    double seconds = mark(ledger, phase);
    if (ledger->flights > 0) note_hidden(ledger, seconds);
}

void cot_ledger_sent(cot_ledger *ledger, cot_phase phase, size_t bytes)
{
    if (ledger == NULL) return;
    cot_ledger_entry *entry = entry_of(ledger, phase);
    entry->exposed += mark(ledger, phase);
    entry->bytes += (double)bytes;
}

void cot_ledger_launched(cot_ledger *ledger, cot_phase phase)
{
    if (ledger == NULL) return;
    if (ledger->under_way[phase]++ == 0) ledger->launched[phase] = ledger->last;
    ledger->flights++;
}

void cot_ledger_landed(cot_ledger *ledger, cot_phase phase)
{
    if (ledger == NULL) return;
    COT_ASSERT(ledger->under_way[phase] > 0);
    ledger->flights--;
    if (--ledger->under_way[phase] == 0)
        record(ledger, (int)phase, ledger->launched[phase], cot_seconds(), true);
}
