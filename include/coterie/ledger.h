/** Where the time of a pass goes: seconds by phase. For reports only. */
#ifndef COTERIE_LEDGER_H
#define COTERIE_LEDGER_H

typedef enum cot_phase {
    COT_PHASE_DATA,  /**< samples, patches, embedding and its backward */
    COT_PHASE_ROUTE, /**< logits, softmax, choosing experts; in the plan tokens, their backward */
    COT_PHASE_DISPATCH, /**< tokens to slots, and its backward; in the plan slots, Phi's as well */
    COT_PHASE_EXCHANGE, /**< slots, or tokens, to the experts' owners and back; and waiting there */
    COT_PHASE_EXPERTS,  /**< the experts, forward and backward */
    COT_PHASE_COMBINE,  /**< slots to tokens, and its backward */
    COT_PHASE_HEAD,     /**< head, loss, and their backward */
    COT_PHASE_SUMS,     /**< gradient sums and norms */
    COT_PHASE_UPDATE,   /**< the optimizer */
    COT_PHASES
} cot_phase;

/** "data", "route", ... */
const char *cot_phase_name(cot_phase phase);

typedef struct cot_ledger {
    double last; /**< when the last phase ended */
    double seconds[COT_PHASES];
} cot_ledger;

/** Begin a pass: time counts from now. NULL is no ledger, here and below. */
void cot_ledger_start(cot_ledger *ledger);

/** What has passed since the last call belongs to this phase. */
void cot_ledger_mark(cot_ledger *ledger, cot_phase phase);

#endif
