/** The orders in which a sample's experts are kept: the first K experts of an order are the subset
 * of size K, so subsets of one order are nested.
 *
 * `combine`, `dispatch`, `random` and `common` need the routing alone, so they can choose before
 * any expert is computed (cot_selector); `common` needs that of all samples first. `contribution`
 * and `greedy` need the slot outputs, so they serve a study. Not collective. */
#ifndef COTERIE_EXPERT_ORDER_H
#define COTERIE_EXPERT_ORDER_H

#include <coterie/dataset.h>
#include <coterie/loss.h>
#include <coterie/selector.h>

#include <stdbool.h>

typedef enum cot_order {
    COT_ORDER_COMBINE,      /**< Algorithm 1: combine mass */
    COT_ORDER_DISPATCH,     /**< sum of squared dispatch weights over the expert's slots */
    COT_ORDER_CONTRIBUTION, /**< sum over the expert's slots of ||combine column|| ||output|| */
    COT_ORDER_RANDOM,       /**< a permutation by seed, layer and sample */
    COT_ORDER_COMMON,       /**< mean combine mass over all samples: the same order for each */
    COT_ORDER_GREEDY,       /**< adds the expert that makes the true-label loss lowest */
    COT_ORDERS
} cot_order;

/** "combine", "dispatch", ... */
const char *cot_order_name(cot_order order);

/** Whether the order can be told from the routing alone. */
bool cot_order_needs_routing_only(cot_order order);

/** What is known of a sample once all experts of its layer are computed. For the model's last Soft
 * MoE layer, whose output reaches the model's outputs by sums and products with constants alone,
 * the outputs with a subset of experts are base + the sum of the effects of those kept. */
typedef struct cot_sample_view {
    cot_routing routing;
    const cot_real *slot_norms; /**< [E,P]: L2 norms of the slot outputs */
    const cot_real *base;       /**< [outputs]: the model's outputs without any expert */
    const cot_real *effects;    /**< [E,outputs]: what each expert adds to them */
    size_t outputs;
    const cot_loss_options *loss;
    cot_target target;
} cot_sample_view;

typedef struct cot_orderer cot_orderer;

/** Takes its workspace. `seed` is for COT_ORDER_RANDOM. */
cot_orderer *cot_orderer_create(cot_order order, uint64_t seed, size_t experts, size_t outputs);
void cot_orderer_destroy(cot_orderer **orderer);

/** Of COT_ORDER_COMMON, before it ranks: mass [layers,E], the experts' mean combine mass over all
 * samples, which outlives the ranking. */
void cot_orderer_set_mass(cot_orderer *orderer, const double *mass);

/** experts [E] = the order of the sample's experts, the one to keep first in front. Of equal ones,
 * the lower index comes first. Orders that need the routing alone look at nothing else. */
void cot_orderer_rank(cot_orderer *orderer, const cot_sample_view *view, size_t *experts);

/** How many experts of an order it takes until they hold the share `share` of all mass [E]; at
 * least one, and all where that share is never reached (NaN). */
size_t cot_keep_for_mass(size_t experts, const double *mass, const size_t *order, double share);

/** The first `keep` experts of an order that needs a sample's routing alone. */
cot_selector *cot_selector_order(cot_order order, uint64_t seed, size_t experts, size_t keep);

/** The first `keep` experts of COT_ORDER_COMMON; mass [layers,E] outlives the selector. */
cot_selector *cot_selector_common(const double *mass, size_t experts, size_t keep);

/** Of the order `combine`, the fewest experts whose combine mass reaches the share `mass`, above 0
 * and at most 1; at least one. */
cot_selector *cot_selector_mass(size_t experts, double mass);

#endif
