/** Where the time of a step goes, and what a rank sends: seconds and bytes by phase and layer. For
 * reports only: nothing that decides a result depends on it.
 *
 * Whoever computes marks the end of each stretch of work with its phase; between two marks lies one
 * phase, so the phases of a step add up to the step. NULL is no ledger, everywhere. Not collective.
 */
#ifndef COTERIE_LEDGER_H
#define COTERIE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>

typedef enum cot_phase {
    COT_PHASE_DATA,  /**< samples, patches, embedding and its backward */
    COT_PHASE_ROUTE, /**< logits, softmax, choosing experts; in the plan tokens, their backward */
    COT_PHASE_DISPATCH, /**< tokens to slots, and its backward; in the plan slots, Phi's as well */
    COT_PHASE_EXCHANGE, /**< slots, or tokens, to the experts' owners and back; in the plan tokens,
                           Phi's gradient to all; and waiting there */
    COT_PHASE_EXPERTS,  /**< the experts, forward and backward */
    COT_PHASE_COMBINE,  /**< slots to tokens, and its backward */
    COT_PHASE_HEAD,     /**< head, loss, and their backward */
    COT_PHASE_SUMS,     /**< gradient sums and norms */
    COT_PHASE_UPDATE,   /**< the optimizer, and what records of statistics want of its step */
    COT_PHASES
} cot_phase;

/** "data", "route", ... */
const char *cot_phase_name(cot_phase phase);

/** Whether ranks communicate in this phase, and whether it is one of a Soft MoE layer. */
bool cot_phase_communicates(cot_phase phase);
bool cot_phase_is_of_layer(cot_phase phase);

/** What one phase took. */
typedef struct cot_ledger_entry {
    double seconds;
    double bytes;   /**< that this rank sent; a whole number */
    double exposed; /**< of the seconds, those that went by in communication */
    double hidden;  /**< seconds of other phases in which a collective of this one was under way */
} cot_ledger_entry;

typedef struct cot_ledger cot_ledger;

/** Entries for each of `layers` layers, and for what is outside of them, all 0. Layers from there
 * on count as outside. */
cot_ledger *cot_ledger_create(size_t layers);
void cot_ledger_destroy(cot_ledger **ledger);

size_t cot_ledger_layers(const cot_ledger *ledger);

/** [layers + 1, COT_PHASES]; the last row is that outside of layers. */
const cot_ledger_entry *cot_ledger_entries(const cot_ledger *ledger);

/** Seconds of a phase, in all layers and outside. */
double cot_ledger_seconds(const cot_ledger *ledger, cot_phase phase);

/** Set all entries to 0. */
void cot_ledger_clear(cot_ledger *ledger);

/* ---- noting ---- */

/** Begin a step, or a pass: time counts from now. */
void cot_ledger_start(cot_ledger *ledger);

/** From now on, marks are of this layer; or of none. */
void cot_ledger_enter(cot_ledger *ledger, size_t layer);
void cot_ledger_leave(cot_ledger *ledger);

/** What has passed since the last mark belongs to this phase. */
void cot_ledger_mark(cot_ledger *ledger, cot_phase phase);

/** The same for time spent in communication: waiting, or in a collective in which this rank sent so
 * many bytes. */
void cot_ledger_sent(cot_ledger *ledger, cot_phase phase, size_t bytes);

/** A collective of this phase is begun and goes on while the rank computes, until it is landed.
 * Several may be under way. Stand behind a mark; the time then spent waiting for it is noted by
 * cot_ledger_sent. */
void cot_ledger_launched(cot_ledger *ledger, cot_phase phase);
void cot_ledger_landed(cot_ledger *ledger, cot_phase phase);

/* ---- the course of events ---- */

/** One stretch of time, in seconds of cot_seconds. */
typedef struct cot_ledger_event {
    double begin, end;
    int phase;  /**< COT_PHASES: a whole step */
    int layer;  /**< -1: outside of layers */
    bool aside; /**< a collective under way beside other phases */
} cot_ledger_event;

/** Keep the first `steps` steps from now on, at most `capacity` events; memory is taken here. A
 * step that does not fit is left out, and all behind it. */
void cot_ledger_trace(cot_ledger *ledger, size_t steps, size_t capacity);

/** The steps kept, by the time of their events' ends. */
const cot_ledger_event *cot_ledger_events(const cot_ledger *ledger, size_t *count_out);

/** End a step: all that was noted since cot_ledger_start. */
void cot_ledger_finish(cot_ledger *ledger);

#endif
