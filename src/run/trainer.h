/** The objects of a training run, shared by the files that make it up: train.c (the loop),
 * train_step.c (one step), train_state.c (checkpoints and resuming). */
#ifndef COTERIE_RUN_TRAINER_H
#define COTERIE_RUN_TRAINER_H

#include <coterie/checkpoint.h>
#include <coterie/clock.h>
#include <coterie/experiment.h>
#include <coterie/gradients.h>
#include <coterie/metrics.h>
#include <coterie/norms.h>
#include <coterie/optimizer.h>
#include <coterie/progress.h>
#include <coterie/run_folder.h>
#include <coterie/train.h>

typedef struct trainer {
    const cot_recipe *recipe;
    const cot_train_options *options;
    cot_experiment *experiment;
    const cot_comm *comm; /* the experiment's */
    cot_sampler *sampler;
    cot_gradients *gradients;
    cot_norms *norms;
    cot_optimizer *optimizer;
    cot_run_lock *lock;
    cot_metrics *metrics;
    cot_display *display;
    char *portable_recipe;
    char started[COT_TIMESTAMP_SIZE];
    cot_training_state state; /* where the run stands */
    uint64_t total_steps;     /* of the whole run */
    uint64_t first_step;      /* behind which this call began */
    uint64_t saved_step;      /* of the last checkpoint that is in the folder */
    bool has_saved;
    double call_started, last_save, epoch_seconds;
    uint64_t epoch_call_samples; /* of the epoch, in this call */
} trainer;

/* ---- train_step.c ---- */

/** What a step tells. */
typedef struct step_result {
    cot_step_report report;
    bool stop; /* some rank was asked to stop */
} step_result;

/** Take the next batch: forward, backward, ordered sums, clipping, update; progress moves on by one
 * step. Collective.
 * Errors, on every rank alike: COT_E_INTERNAL for a loss or gradient that is not finite; parameters
 * are then as before. */
COT_MUST_CHECK cot_status trainer_step(trainer *t, step_result *result_out);

/** That every parameter is finite, before it is saved. Collective.
 * Errors, on every rank alike: COT_E_INTERNAL. */
COT_MUST_CHECK cot_status trainer_check_values(trainer *t);

/* ---- train_state.c ---- */

/** Take the state that the options ask for: initial, --init, or --resume; then open the metrics
 * behind it. Collective. */
COT_MUST_CHECK cot_status trainer_begin(trainer *t);

/** Write a checkpoint of this step, unless the last one is; mark the best; remove old ones.
 * Collective. */
COT_MUST_CHECK cot_status trainer_save(trainer *t);

/** Whether the recipe wants a checkpoint now; `epoch_ended`: this step was the last of its epoch.
 * Collective. */
bool trainer_wants_save(trainer *t, bool epoch_ended);

/* ---- train_signal.c ---- */

/** Note SIGTERM and SIGUSR1 instead of dying of them; restore puts back what was there. Inside a
 * pair of calls another pair does nothing, so that a suite misses no signal between its runs. */
void trainer_catch_signals(void);
void trainer_restore_signals(void);
bool trainer_was_asked_to_stop(void);

#endif
