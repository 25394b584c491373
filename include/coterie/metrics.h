/** metrics.jsonl: one JSON object a line, for each step that is reported, epoch, checkpoint,
 * warning, and the end.
 *
 * Written by rank 0 and flushed line by line; on other ranks every call does nothing. On resume,
 * the lines past the checkpoint's step go first, so an interrupted run leaves the same lines as one
 * that was not. */
#ifndef COTERIE_METRICS_H
#define COTERIE_METRICS_H

#include <coterie/comm.h>
#include <coterie/costs.h>
#include <coterie/evaluate.h>

typedef struct cot_metrics cot_metrics;

/** Open `<dir>/metrics.jsonl`, keeping the lines up to step `keep_steps` (0 with `fresh`: none).
 * Collective over the world.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status cot_metrics_open(const cot_comm *comm, const char *dir, bool fresh,
                                           uint64_t keep_steps, cot_metrics **metrics_out);

/** Close; accepts NULL. Not collective. */
void cot_metrics_close(cot_metrics **metrics);

/** COT_OK, or COT_E_IO once any line could not be written (a full disk). Not collective. */
COT_MUST_CHECK cot_status cot_metrics_status(cot_metrics *metrics);

typedef struct cot_step_report {
    uint64_t step, epoch; /**< epoch: in progress, from 1 */
    double loss;          /**< mean over the step's batch */
    double learning_rate, gradient_norm, samples_per_s;
} cot_step_report;
void cot_metrics_step(cot_metrics *metrics, const cot_step_report *report);

typedef struct cot_epoch_report {
    uint64_t step, epoch;  /**< epoch: just completed, from 1 */
    double train_loss;     /**< mean over the epoch, with the parameters of each step */
    double train_accuracy; /**< NaN for regression */
    double learning_rate;
    double seconds; /**< of training, in this call of the program */
    double samples_per_s;
    const cot_evaluation *test, *validation; /**< NULL: not evaluated, or no such split */
    const cot_costs *costs;                  /**< of the steps that `seconds` counts */
} cot_epoch_report;
void cot_metrics_epoch(cot_metrics *metrics, const cot_epoch_report *report);

/** Written before the checkpoint itself appears, so that a checkpoint never lacks its line. */
void cot_metrics_checkpoint(cot_metrics *metrics, uint64_t step, const char *file);

/** A warning: into the file, and to the log. */
void cot_metrics_warning(cot_metrics *metrics, uint64_t step, const char *format, ...)
    COT_PRINTF(3, 4);

/** The last line of a call: why it ended ("finished", "steps", "signal"), and what its steps cost.
 */
void cot_metrics_end(cot_metrics *metrics, uint64_t step, const char *reason, double seconds,
                     const cot_costs *costs);

#endif
