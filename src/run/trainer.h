/** The objects of a training run, shared by the files that make it up: trainer.c (creation),
 * train.c (the loop), train_step.c (one step), train_costs.c (what steps cost),
 * train_stats.c (statistics), train_state.c (checkpoints and resuming). */
#ifndef COTERIE_RUN_TRAINER_H
#define COTERIE_RUN_TRAINER_H

#include "run/chunk_tuner.h"

#include <coterie/checkpoint.h>
#include <coterie/clock.h>
#include <coterie/costs.h>
#include <coterie/evaluate.h>
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
    chunk_tuner *tuner; /* NULL: there is nothing to tune, any more */
    cot_run_lock *lock;
    cot_metrics *metrics;
    cot_display *display;
    struct trainer_stats *stats; /* NULL without records */
    char *portable_recipe;
    char started[COT_TIMESTAMP_SIZE];
    cot_training_state state; /* where the run stands */
    uint64_t total_steps;     /* of the whole run */
    uint64_t first_step;      /* behind which this call began */
    uint64_t saved_step;      /* of the last checkpoint that is in the folder */
    bool has_saved, has_finished;
    double call_started, last_save, epoch_seconds;
    uint64_t epoch_call_samples; /* of the epoch, in this call */
    uint64_t epoch_call_steps;
    cot_ledger *ledger;             /* of the same steps */
    cot_ledger_entry *call_entries; /* [layers + 1, COT_PHASES]: of the call's epochs before */
    cot_costs *costs;               /* as gathered last */
    double trace_origin;
} trainer;

/* ---- trainer.c ---- */

/** Of t->recipe, make all that a step needs: experiment, sampler, optimizer. Nothing is written.
 * Destroy after a failure too. Collective over the world.
 * Errors, on every rank alike: those of cot_experiment_create; COT_E_CONFIG for an epoch without
 * batches. */
COT_MUST_CHECK cot_status trainer_create(trainer *t, const cot_comm *world);
void trainer_destroy(trainer *t);

/** The same, with what records need, on a rank that is only thought of (cot_experiment_sketch).
 * Destroy after a failure too. Not collective. */
COT_MUST_CHECK cot_status trainer_sketch(trainer *t, cot_dataset *dataset,
                                         const cot_sketch_place *place);

/** Behind the last batch of an epoch. */
void trainer_next_epoch(trainer *t);

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

/* ---- train_costs.c ---- */

/** Take what is needed to sum up the ledger and, for a profile, to keep the first steps.
 * Collective. */
void trainer_costs_create(trainer *t);
void trainer_costs_destroy(trainer *t);

/** t->costs become those of the epoch's steps in this call, or of all steps of the call, after
 * which the ledger is empty. Collective. */
void trainer_costs_of_epoch(trainer *t);
void trainer_costs_of_call(trainer *t);

/** The epoch is over: the ledger begins anew. */
void trainer_costs_next_epoch(trainer *t);

/** Behind trainer_costs_of_call, where a profile is wanted: write trace.json, and hand the costs
 * over. Collective.
 * Errors, on every rank alike: those of cot_trace_write. */
COT_MUST_CHECK cot_status trainer_costs_profile(trainer *t);

/* ---- train_state.c ---- */

/** Take the state that the options ask for: initial, --init, or --resume; then open the metrics
 * behind it. Collective. */
COT_MUST_CHECK cot_status trainer_begin(trainer *t);

/** Write a checkpoint of this step, unless the last one is; mark the best; remove old ones.
 * Collective. */
COT_MUST_CHECK cot_status trainer_save(trainer *t);

/** What a file of this run says of where it comes from; valid while `t` is. */
cot_checkpoint_info trainer_info(const trainer *t);

/** Whether the recipe wants a checkpoint now; `epoch_ended`: this step was the last of its epoch.
 * Collective. */
bool trainer_wants_save(trainer *t, bool epoch_ended);

/* ---- train_stats.c ---- */

/** Take what records need, unless the recipe wants none; needs experiment and norms. */
void trainer_stats_create(trainer *t);
void trainer_stats_destroy(trainer *t);

/** Around the update of every step: look at the one that comes before a record. The norms hold the
 * gradients' before and after the first, and anything after the second. Collective. */
void trainer_stats_before_update(trainer *t);
void trainer_stats_after_update(trainer *t);

/** Whether the evaluation that comes now is recorded; then it gets this observer. Not collective.
 */
bool trainer_stats_observe(trainer *t, cot_observer *observer_out);

/** Add what was observed to stats.h5. Before the checkpoint of the same step, so that no checkpoint
 * lacks its record. Collective.
 * Errors, on every rank alike: those of cot_statistics_append. */
COT_MUST_CHECK cot_status trainer_stats_record(trainer *t, cot_split split,
                                               const cot_evaluation *evaluation);

/** Remove the records of a run that was here before, or those past the step to resume from.
 * Collective.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status trainer_stats_start_afresh(const trainer *t);
COT_MUST_CHECK cot_status trainer_stats_resume(const trainer *t);

/** Rename the file where the recipe from before recorded other variables than those to come. Rank
 * 0. */
void trainer_stats_set_aside(trainer *t, const cot_recipe *before);

/* ---- train_signal.c ---- */

/** Note SIGTERM and SIGUSR1 instead of dying of them; restore puts back what was there. Inside a
 * pair of calls another pair does nothing, so that a suite misses no signal between its runs. */
void trainer_catch_signals(void);
void trainer_restore_signals(void);
bool trainer_was_asked_to_stop(void);

/** Whether any rank was: one's request is everyone's. Collective over the world. */
bool trainer_shall_stop(const cot_comm *comm);

#endif
