/** Evaluation: loss and accuracy on a split, on all or on part of the experts. */
#ifndef COTERIE_EVALUATE_H
#define COTERIE_EVALUATE_H

#include <coterie/experiment.h>

typedef struct cot_evaluation {
    size_t samples;
    double loss;           /**< mean over the samples */
    double accuracy;       /**< share of samples predicted right; NaN for regression */
    double relative_error; /**< mean squared error over the target's variance; NaN for classes */
    double kept_mean, kept_deviation;        /**< experts kept, over samples and layers */
    double seconds;                          /**< wall time: reports only, like the next */
    double phase_seconds[COT_PHASES];        /**< each the longest of all ranks */
    size_t classes;                          /**< 0 for regression */
    uint64_t *class_samples, *class_correct; /**< [classes] */
} cot_evaluation;

/** Told of each batch: `first` is the index in the split of this rank's first sample of `count`,
 * and all that it needs else stands in the experiment. Called on every rank for every batch, so it
 * may be collective. Its failure, agreed on by itself, ends the evaluation. */
typedef struct cot_observer {
    cot_status (*batch)(void *context, const cot_experiment *experiment, size_t first, size_t count,
                        const cot_real *outputs);
    void *context;
    cot_real *slot_norms; /**< as in cot_pass: for an observer that wants them */
} cot_observer;

/** Run a split through the model in the data's order, in batches as in training. selector NULL: all
 * experts; observer NULL: nobody is told. The experiment's own ledger is left alone. Collective
 * over the world. Errors: COT_E_CONFIG when the split is empty; the observer's. */
COT_MUST_CHECK cot_status cot_evaluate(cot_experiment *experiment, cot_split split,
                                       cot_selector *selector, const cot_observer *observer,
                                       cot_evaluation *evaluation_out);

/** Free the arrays of an evaluation. */
void cot_evaluation_free(cot_evaluation *evaluation);

/** The smaller the better: share of samples predicted wrong, or mean squared error. */
double cot_evaluation_metric(const cot_evaluation *evaluation);

#endif
