/** The specialization study: loss and accuracy against the number of experts kept, for every way of
 * choosing them (arXiv 2409.00879, section 4).
 *
 * Every sample chooses for itself, but for the order `common`. Of a model with one Soft MoE layer,
 * all subsets of a sample come from its effects (cot_sample_view), so one pass over the data is
 * enough, and a second one for `common`. Sums as in routing_stats.h: the same bits on every number
 * of ranks. */
#ifndef COTERIE_STUDY_H
#define COTERIE_STUDY_H

#include <coterie/routing_stats.h>

/** What is studied; loss, keeps and masses outlive the study. */
typedef struct cot_study_options {
    size_t layers, experts, outputs;
    size_t classes; /**< 0 for regression */
    const cot_loss_options *loss;
    const cot_keeps *keeps;  /**< subset sizes K, ascending; E belongs to them */
    bool orders[COT_ORDERS]; /**< which orders are studied */
    size_t seeds;            /**< of COT_ORDER_RANDOM: first_seed, first_seed + 1, ... */
    uint64_t first_seed;
    size_t mass_count;    /**< shares M of the selector `mass`; 0: not studied */
    const double *masses; /**< [mass_count], ascending */
    /** Every subset of every size in keeps that has at most subset_limit; with one layer only. */
    bool exhaustive;
    size_t subset_limit;
    size_t grains, samples; /**< of a batch, and of the split, on this rank: at the most */
} cot_study_options;

/** Subsets of `keep` of `experts` experts, C(E,K); SIZE_MAX when there are more than that. */
size_t cot_subset_count(size_t experts, size_t keep);

typedef struct cot_study cot_study;

cot_study *cot_study_create(const cot_study_options *options);
void cot_study_destroy(cot_study **study);

/** One sample of local grain `grain`, in a model whose only Soft MoE layer it has passed; to all
 * curves but that of COT_ORDER_COMMON. */
void cot_study_add(cot_study *study, size_t grain, const cot_sample_view *view);

/** The sample once more, to the curve of COT_ORDER_COMMON: mass [E] is the experts' mean combine
 * mass over all samples. Slot norms and weights are not looked at. */
void cot_study_add_common(cot_study *study, size_t grain, const cot_sample_view *view,
                          const double *mass);

/** In deeper models a subset in one layer changes what the next layers see, so the model runs once
 * for each order, seed and K: the outputs of one sample of such a run. `kept` [layers][E] are the
 * masks that it used. */
void cot_study_add_outputs(cot_study *study, size_t grain, cot_order order, size_t seed,
                           size_t keep_index, const cot_real *outputs, const cot_target *target,
                           const uint8_t *const *kept);

/** The same for a share M of the selector `mass`; experts kept count once for each layer. */
void cot_study_add_mass_outputs(cot_study *study, size_t grain, size_t mass_index,
                                const cot_real *outputs, const cot_target *target,
                                const uint8_t *const *kept);

/** Sum over all ranks; count distinct subsets. Collective over the world. */
void cot_study_finish(cot_study *study, const cot_comm *comm, cot_ordered_sum *sums);

/** Add the dimensions and variables; they stay valid until destroyed. */
void cot_study_list(const cot_study *study, cot_catalog *catalog);

#endif
