/** What a user sees of a long run on standard error: one live line on a terminal, plain lines in a
 * job log. Printed by rank 0; on other ranks every call does nothing. */
#ifndef COTERIE_PROGRESS_H
#define COTERIE_PROGRESS_H

#include <coterie/metrics.h>

typedef struct cot_display cot_display;

/** For a run of `steps` steps and `epochs` epochs, of which this call begins behind
 * `first_step`. */
cot_display *cot_display_create(const cot_comm *comm, uint64_t first_step, uint64_t steps,
                                uint64_t epochs);
void cot_display_destroy(cot_display **display);

/** Behind every step, its loss and training accuracy so far (NaN: none): redraws the live line a
 * few times a second, or adds a plain one a few times a minute. */
void cot_display_step(cot_display *display, const cot_step_report *report, double accuracy);

/** Of work that is no training: `done` of the run's steps are done, and this part of it is under
 * way ("studying"). Drawn as often as a step is. */
void cot_display_work(cot_display *display, const char *part, uint64_t done);

/** Behind every epoch: a line that stays. */
void cot_display_epoch(cot_display *display, const cot_epoch_report *report);

#endif
