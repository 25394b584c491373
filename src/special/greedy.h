/** The order `greedy`: each place goes to the expert that makes the true-label loss lowest,
 * together with those before it. A reference, as no selector knows the label. */
#ifndef COTERIE_SPECIAL_GREEDY_H
#define COTERIE_SPECIAL_GREEDY_H

#include <coterie/expert_order.h>

typedef struct cot_greedy cot_greedy;

cot_greedy *cot_greedy_create(size_t experts, size_t outputs);
void cot_greedy_destroy(cot_greedy **greedy);

/** experts [E] = the sample's order; of equal losses, the lower index first, NaN last. About
 * E^2 outputs / 2 products. */
void cot_greedy_rank(cot_greedy *greedy, const cot_sample_view *view, size_t *experts);

#endif
