/** Which experts a sample keeps: an interface, and Algorithm 1 of arXiv 2409.00879.
 *
 * A selector looks at one sample's combine weights and marks the experts to keep; those of the
 * others are not computed. Not collective. */
#ifndef COTERIE_SELECTOR_H
#define COTERIE_SELECTOR_H

#include <coterie/real.h>

#include <stddef.h>
#include <stdint.h>

typedef struct cot_selector cot_selector;

/** kept [E] = 1 for the experts that a sample with these combine weights [T,E,P] keeps, 0 for the
 * others. */
typedef void cot_select(cot_selector *selector, const cot_real *combine, size_t tokens,
                        uint8_t *kept);

/** What every selector begins with; `context` is its own. */
struct cot_selector {
    cot_select *select;
    void (*destroy)(cot_selector *selector);
    size_t experts, slots_per_expert;
    void *context;
};

/** Algorithm 1: the `keep` experts with the largest sum of combine weights over tokens and the
 * expert's slots; of equal ones, the lower index. 1 <= keep <= experts. */
cot_selector *cot_selector_combine(size_t experts, size_t slots_per_expert, size_t keep);

void cot_selector_destroy(cot_selector **selector);

#endif
