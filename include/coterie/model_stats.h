/** What the parameters say of each expert: norms of weights, gradients and updates, and how alike
 * the router's columns are. docs/statistics.md has the formulas. */
#ifndef COTERIE_MODEL_STATS_H
#define COTERIE_MODEL_STATS_H

#include <coterie/model.h>
#include <coterie/norms.h>
#include <coterie/variable.h>

typedef struct cot_model_stats cot_model_stats;

/** `params` (allocated), `norms` and `comm` outlive it. With `steps`, gradients and updates of a
 * step are measured too, which takes memory for a copy of this rank's parameters. */
cot_model_stats *cot_model_stats_create(const cot_model *model, const cot_params *params,
                                        cot_norms *norms, const cot_comm *comm, bool steps);
void cot_model_stats_destroy(cot_model_stats **stats);

/** Around the update of a step: before it, take the gradients' norms and keep the values; behind
 * it, measure by how much they changed. Collective over the expert group. */
void cot_model_stats_before_update(cot_model_stats *stats);
void cot_model_stats_after_update(cot_model_stats *stats);

/** Measure the values: weight norms, and the cosines between the router's columns, some on each
 * rank. Collective over the world. */
void cot_model_stats_measure(cot_model_stats *stats);

/** Add the dimensions and variables; they stay valid until the next measurement. */
void cot_model_stats_list(const cot_model_stats *stats, cot_catalog *catalog);

#endif
