#include "moe/noise.h"

#include <coterie/rng.h>
#include <coterie/vector.h>

void cot_add_logit_noise(const cot_noise *noise, cot_real deviation, size_t layer, size_t sample,
                         size_t tokens, const cot_slot_range *slots, cot_real *scratch,
                         cot_real *logits)
{
    const int layer_bits = 40; /* the index: 2^16 layers of 2^40 samples */
    cot_stream stream = {.seed = noise->seed,
                         .purpose = COT_PURPOSE_NOISE,
                         .epoch = (uint32_t)noise->step,
                         .index = ((uint64_t)layer << layer_bits) | (noise->first_sample + sample)};
    for (size_t t = 0; t < tokens; t++) {
        cot_rng_normal(&stream, t * slots->total + slots->first, slots->count, deviation, scratch);
        cot_add(slots->count, scratch, logits + t * slots->count);
    }
}
