/** Which experts a sample keeps in a layer: an interface, and Algorithm 1 of arXiv 2409.00879.
 *
 * A selector looks at one sample's routing and marks the experts to keep; those of the others are
 * not computed, and their slots are not sent (Algorithm 2). Not collective. */
#ifndef COTERIE_SELECTOR_H
#define COTERIE_SELECTOR_H

#include <coterie/real.h>

#include <stddef.h>
#include <stdint.h>

/** One sample's routing in one layer. */
typedef struct cot_routing {
    size_t sample; /**< its index in the data set's split */
    size_t layer;
    size_t tokens, experts, slots_per_expert; /**< T, E, P */
    const cot_real *combine, *dispatch;       /**< weights [T,E,P] */
} cot_routing;

/** mass [E]: the share of the combine weights that falls to each expert, the sum over tokens and
 * the expert's slots divided by T. The shares add up to 1. */
void cot_combine_mass(const cot_routing *routing, double *mass);

/** order [E] = the experts from the largest score to the smallest; of equal ones, the lower index
 * first; NaN behind all others. */
void cot_order_by_score(size_t experts, const double *scores, size_t *order);

typedef struct cot_selector cot_selector;

/** kept [E] = 1 for the experts that the sample keeps, 0 for the others. */
typedef void cot_select(cot_selector *selector, const cot_routing *routing, uint8_t *kept);

/** What every selector begins with; `context` is its own. */
struct cot_selector {
    cot_select *select;
    void (*destroy)(cot_selector *selector);
    void *context;
};

/** Algorithm 1: the `keep` experts with the largest combine mass; of equal ones, the lower index.
 * 1 <= keep <= experts. */
cot_selector *cot_selector_combine(size_t experts, size_t keep);

void cot_selector_destroy(cot_selector **selector);

#endif
