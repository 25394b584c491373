/** The learning rate as a function of the step. */
#ifndef COTERIE_SCHEDULE_H
#define COTERIE_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

typedef enum cot_schedule_kind { COT_CONSTANT, COT_COSINE, COT_STEP } cot_schedule_kind;

/** What the recipe says under `schedule:`. The schedule's length is the whole run's, whatever
 * --steps says. */
typedef struct cot_schedule {
    cot_schedule_kind kind;
    uint64_t warmup_steps; /**< linear from 0 at the start */
    double final;          /**< cosine: the fraction of the learning rate left at the end */
    uint64_t every;        /**< step: steps between two drops */
    double factor;         /**< step: what a drop multiplies the learning rate by */
} cot_schedule;

/** The factor on the learning rate for step `step` (0, 1, ...) of `total` steps. */
double cot_schedule_factor(const cot_schedule *schedule, uint64_t step, uint64_t total);

#endif
