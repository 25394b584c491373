/** Which expert is used by what: masses, entropies, memberships, mutual information, purity.
 *
 * Sums are doubles, kept by grain: samples add to their grain in the order of the split, and grains
 * add by one binary tree at the end, so results are the same bits on every number of ranks that
 * divides the grains. Counts are whole numbers. docs/statistics.md has the formulas. */
#ifndef COTERIE_ROUTING_STATS_H
#define COTERIE_ROUTING_STATS_H

#include <coterie/comm.h>
#include <coterie/expert_order.h>
#include <coterie/ordered_sum.h>
#include <coterie/variable.h>

/** Subset sizes, ascending, each from 1 to E. */
typedef struct cot_keeps {
    size_t count;
    size_t *sizes;
} cot_keeps;

/** Put a size where it belongs among them, unless it is there; `sizes` has room for one more. */
void cot_keeps_add(cot_keeps *keeps, size_t size);

typedef struct cot_routing_stats_options {
    size_t layers, tokens, experts, slots_per_expert; /**< T, E, P */
    size_t classes;                                   /**< 0 for regression */
    const cot_keeps *keeps;                           /**< of top_share; outlives the statistics */
    bool masses_only;    /**< leave out entropies and output norms, which cost more */
    bool share_by_class; /**< also top_share_by_class */
    size_t grains;       /**< of a batch, on this rank */
} cot_routing_stats_options;

typedef struct cot_routing_stats cot_routing_stats;

cot_routing_stats *cot_routing_stats_create(const cot_routing_stats_options *options);
void cot_routing_stats_destroy(cot_routing_stats **stats);

/** Forget all samples. */
void cot_routing_stats_clear(cot_routing_stats *stats);

/** One sample in one layer (view->routing.layer), of local grain `grain`. Only routing, slot_norms
 * (NULL with masses_only) and target are looked at. */
void cot_routing_stats_add(cot_routing_stats *stats, size_t grain, const cot_sample_view *view);

/** Sum over all ranks and work out what follows. Collective over the world. */
void cot_routing_stats_finish(cot_routing_stats *stats, const cot_comm *comm,
                              cot_ordered_sum *sums);

/** Add the dimensions and variables of the last finish; they stay valid until the next. */
void cot_routing_stats_list(const cot_routing_stats *stats, cot_catalog *catalog);

#endif
