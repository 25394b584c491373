/** The statistics of one pass over a split: what an evaluation sees of the routing, and what the
 * parameters say. Shared by training (stats.h5) and by the specialization study. */
#ifndef COTERIE_STATISTICS_PASS_H
#define COTERIE_STATISTICS_PASS_H

#include <coterie/evaluate.h>
#include <coterie/routing_stats.h>

typedef struct cot_statistics_pass cot_statistics_pass;

/** `keeps` outlives it. Not collective. */
cot_statistics_pass *cot_statistics_pass_create(const cot_experiment *experiment,
                                                const cot_keeps *keeps, bool masses_only,
                                                bool share_by_class);
void cot_statistics_pass_destroy(cot_statistics_pass **pass);

/** Begin anew; then give the observer to cot_evaluate, without selector. */
void cot_statistics_pass_begin(cot_statistics_pass *pass);
cot_observer cot_statistics_pass_observer(cot_statistics_pass *pass);

/** What the pass knows of this rank's sample i in a layer, once its observer has seen the batch and
 * until the next one: routing, slot norms and target are set, base and effects are not. */
cot_sample_view cot_statistics_pass_view(cot_statistics_pass *pass, size_t layer, size_t i);

/** Sum over all ranks, and add what was seen, with step, epoch and the evaluation's results, to the
 * catalog. Collective over the world. */
void cot_statistics_pass_finish(cot_statistics_pass *pass, uint64_t step, uint64_t epoch,
                                const cot_evaluation *evaluation, cot_catalog *catalog);

#endif
