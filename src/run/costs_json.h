/** Costs as JSON, the same in metrics.jsonl and in what `train --profile` prints. */
#ifndef COTERIE_RUN_COSTS_JSON_H
#define COTERIE_RUN_COSTS_JSON_H

#include <coterie/costs.h>

#include <jansson.h>

/** {"steps", "step": {"min", "mean", "max", "rank"}, "phases": [{"phase", "layer", "seconds": ...,
 * and where ranks communicate "bytes", "exposed", "hidden"}]}; null of no step. */
json_t *cot_costs_json(const cot_costs *costs);

#endif
