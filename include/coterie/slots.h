/** Where the rows of slots lie in a slot buffer [rows, D].
 *
 * Order: expert, slot of the expert, sample. With every expert used by every sample, a buffer is
 * one array [S,B,D]. So an expert works on one matrix, whose rows are its slots of all the samples
 * that share the buffer; and consecutive experts, a rank's share, are one block. With a kept subset
 * of experts, an expert has rows only for the samples that keep it. */
#ifndef COTERIE_SLOTS_H
#define COTERIE_SLOTS_H

#include <stddef.h>

typedef struct cot_slots {
    size_t experts, slots_per_expert; /**< that this table describes */
    const size_t *samples;            /**< [experts]: samples of the buffer that use the expert */
    const size_t *first; /**< [experts]: row of the expert's first slot, for the first of the
                            samples at hand that use it */
} cot_slots;

/** Row of slot p of expert e for the sample that is, of those at hand that use the expert, number
 * `place`. */
static inline size_t cot_slots_row(const cot_slots *slots, size_t e, size_t p, size_t place)
{
    return slots->first[e] + p * slots->samples[e] + place;
}

/** All rows of expert e, one after the other from its first. */
static inline size_t cot_slots_rows(const cot_slots *slots, size_t e)
{
    return slots->slots_per_expert * slots->samples[e];
}

#endif
