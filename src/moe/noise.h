/** Gaussian noise on logits while training. */
#ifndef COTERIE_MOE_NOISE_H
#define COTERIE_MOE_NOISE_H

#include <coterie/router.h>

/** Some of a sample's slots. */
typedef struct cot_slot_range {
    size_t first, count, total; /**< of S slots */
} cot_slot_range;

/** logits [T,count] of the sample at place `sample` of the step's batch += noise, the same for a
 * slot whatever the range. scratch [count]. */
void cot_add_logit_noise(const cot_noise *noise, cot_real deviation, size_t layer, size_t sample,
                         size_t tokens, const cot_slot_range *slots, cot_real *scratch,
                         cot_real *logits);

#endif
