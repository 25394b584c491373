/** The exchange plan of a run whose recipe leaves it open. */
#ifndef COTERIE_RUN_CHOOSE_EXCHANGE_H
#define COTERIE_RUN_CHOOSE_EXCHANGE_H

#include <coterie/experiment.h>

/** Settle experiment->batching.plan, and say why. Where results need not be reproducible, a layer
 * takes some steps by either plan, in well under a second for small models, and the faster one
 * wins; elsewhere the shapes decide (cot_plan_choose). Of the experiment, recipe, comm, dataset and
 * the rest of batching are there. Collective over the world. Errors: those of cot_model_check. */
COT_MUST_CHECK cot_status choose_exchange(cot_experiment *experiment);

#endif
