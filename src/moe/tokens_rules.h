/** How the plan tokens cuts its work, by the shapes alone. */
#ifndef COTERIE_MOE_TOKENS_RULES_H
#define COTERIE_MOE_TOKENS_RULES_H

#include <coterie/router.h>

/** As many experts at a time, of at most `most`, as keep their slots of `grain` samples, in and
 * out, in a part of the second-level cache. */
static inline size_t cot_tokens_piece(const cot_moe_shape *shape, size_t grain, size_t most)
{
    const size_t cache_bytes = 512 * 1024;
    size_t bytes = 2 * shape->P * grain * shape->D * sizeof(cot_real);
    size_t experts = bytes > 0 ? cache_bytes / bytes : most;
    if (experts > most) experts = most;
    return experts > 0 ? experts : 1;
}

#endif
