/** Where the rows of slots lie in a slot buffer [rows, D].
 *
 * Order: grain, expert, slot of the expert, sample of the grain. The rows of one expert in one
 * grain are contiguous, so an expert works on one matrix a grain; so are those of consecutive
 * experts, so a rank's experts travel as one block a grain, and nothing is packed. With a kept
 * subset of experts, an expert has rows only for the samples that keep it. */
#ifndef COTERIE_SLOTS_H
#define COTERIE_SLOTS_H

#include <stddef.h>

typedef struct cot_slots {
    size_t grains, experts, slots_per_expert; /**< grains and experts that this table describes */
    const size_t *samples; /**< [grains, experts]: samples of that grain that use the expert */
    const size_t *first;   /**< [grains, experts]: first row of the expert in the buffer */
} cot_slots;

/** Samples of local grain g that use local expert e. */
static inline size_t cot_slots_samples(const cot_slots *slots, size_t g, size_t e)
{
    return slots->samples[g * slots->experts + e];
}

/** First of the P * samples rows of expert e in grain g. */
static inline size_t cot_slots_first(const cot_slots *slots, size_t g, size_t e)
{
    return slots->first[g * slots->experts + e];
}

/** Rows of expert e in grain g: [slot][sample]. */
static inline size_t cot_slots_rows(const cot_slots *slots, size_t g, size_t e)
{
    return slots->slots_per_expert * cot_slots_samples(slots, g, e);
}

#endif
