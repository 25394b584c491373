#include "run/trainer.h"

#include <coterie/log.h>
#include <coterie/report.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The promise of equal bits is for numbers of ranks that divide the grains. */
static void warn_about_grains(const trainer *t)
{
    size_t ranks = (size_t)t->comm->size;
    size_t grains = t->experiment->batching.grains;
    if (ranks > grains)
        cot_warn("%zu ranks share %zu grains: those without one only hold experts, and results "
                 "agree with those on other numbers of ranks to rounding, not to the bit; raise "
                 "parallel.grains",
                 ranks, grains);
    else if (grains % ranks != 0)
        cot_warn("%zu ranks do not divide %zu grains: results agree with those on other numbers of "
                 "ranks to rounding, not to the bit",
                 ranks, grains);
}

/* Tokens go to every rank of the group, whole, so nodes make no difference to them. */
static void describe_exchange(const trainer *t)
{
    const cot_experiment *ex = t->experiment;
    const cot_exchange *exchange = cot_soft_moe_exchange(cot_model_layer(ex->model, 0));
    const size_t chunks = cot_exchange_chunks(exchange);
    const bool tokens = strcmp(cot_experiment_exchange(ex), "tokens") == 0;
    const char *way = cot_exchange_way(exchange);
    char cut[48] = "";
    if (t->comm->group_size == 1) {
        cot_info("exchange by %s, %s", cot_experiment_exchange(ex), ex->why);
        return;
    }
    if (tokens && cot_exchange_nodes(exchange) > 1) way = "by messages";
    if (!tokens && chunks > 1) snprintf(cut, sizeof cut, " in %zu chunks", chunks);
    cot_info("exchange by %s, %s%s, %s", cot_experiment_exchange(ex), way, cut, ex->why);
}

static void describe_run(const trainer *t)
{
    const cot_moe_shape *shape = cot_model_shape(t->experiment->model);
    const cot_dataset_info *info = cot_dataset_info_of(t->experiment->dataset);
    cot_info("%d rank%s, %zu experts of hidden width %zu with %zu slot%s each, %zu parameters",
             t->comm->size, t->comm->size == 1 ? "" : "s", shape->E, shape->H, shape->P,
             shape->P == 1 ? "" : "s", cot_params_total(t->experiment->params));
    describe_exchange(t);
    char cut[32] = "";
    if (t->experiment->parts > 1) snprintf(cut, sizeof cut, " in %zu parts", t->experiment->parts);
    cot_info("%zu training samples, %lu steps of %zu%s, into %s", info->samples[COT_SPLIT_TRAIN],
             (unsigned long)t->total_steps, t->recipe->train.batch, cut, t->recipe->output.dir);
    if (t->recipe->parallel.reproducible) warn_about_grains(t);
}

/* Evaluate a split if there is one and now is the time; `evaluation` stays empty otherwise. */
static cot_status evaluate_split(trainer *t, cot_split split, const cot_observer *observer,
                                 cot_evaluation *evaluation, bool *done)
{
    *done = cot_dataset_info_of(t->experiment->dataset)->samples[split] > 0;
    if (!*done) return COT_OK;
    return cot_evaluate(t->experiment, split, NULL, observer, evaluation);
}

/* Evaluate the split that chooses the best, and add a record of it to the statistics if one is
 * due. */
static cot_status evaluate_deciding(trainer *t, cot_split split, cot_evaluation *evaluation,
                                    bool *done)
{
    cot_observer observer;
    bool recorded = trainer_stats_observe(t, &observer);
    COT_TRY(evaluate_split(t, split, recorded ? &observer : NULL, evaluation, done));
    return recorded && *done ? trainer_stats_record(t, split, evaluation) : COT_OK;
}

/* The best is by the validation split where there is one, else by the test split; of equal ones,
 * the earlier. */
static void note_best(cot_progress *progress, const cot_evaluation *evaluation)
{
    double metric = cot_evaluation_metric(evaluation);
    if (!isfinite(metric) || (progress->has_best && metric >= progress->best_metric)) return;
    progress->has_best = true;
    progress->best_metric = metric;
    progress->best_step = progress->step;
}

static void report_epoch(trainer *t, const cot_evaluation *test, const cot_evaluation *validation,
                         double rate)
{
    const cot_progress *progress = &t->state.progress;
    double samples = (double)progress->epoch_samples;
    bool classifies = cot_experiment_classifies(t->experiment);
    cot_epoch_report report = {.step = progress->step,
                               .epoch = progress->epoch + 1,
                               .train_loss = progress->epoch_loss / samples,
                               .train_accuracy =
                                   classifies ? (double)progress->epoch_correct / samples : NAN,
                               .learning_rate = rate,
                               .seconds = t->epoch_seconds,
                               .samples_per_s = (double)t->epoch_call_samples / t->epoch_seconds,
                               .test = test,
                               .validation = validation,
                               .costs = t->costs};
    cot_metrics_epoch(t->metrics, &report);
    cot_display_epoch(t->display, &report);
}

/* The epoch is complete, or the run is within it: evaluate and report. */
static cot_status evaluate_epoch(trainer *t, double rate)
{
    cot_progress *progress = &t->state.progress;
    bool last = progress->step == t->total_steps;
    bool due = (progress->epoch + 1) % t->recipe->train.eval_every == 0 || last;
    cot_evaluation test = {0};
    cot_evaluation validation = {0};
    bool has_test = false;
    bool has_validation = false;
    cot_status status = COT_OK;
    trainer_costs_of_epoch(t);
    if (due) status = evaluate_deciding(t, COT_SPLIT_VALIDATION, &validation, &has_validation);
    if (due && status == COT_OK)
        status = has_validation ? evaluate_split(t, COT_SPLIT_TEST, NULL, &test, &has_test)
                                : evaluate_deciding(t, COT_SPLIT_TEST, &test, &has_test);
    if (status == COT_OK) {
        report_epoch(t, has_test ? &test : NULL, has_validation ? &validation : NULL, rate);
        if (has_validation || has_test) note_best(progress, has_validation ? &validation : &test);
    }
    cot_evaluation_free(&validation);
    cot_evaluation_free(&test);
    return status;
}

static void report_step(trainer *t, const cot_step_report *report)
{
    const cot_progress *progress = &t->state.progress;
    size_t every = t->recipe->output.log_every;
    if (every > 0 && report->step % every == 0) cot_metrics_step(t->metrics, report);
    bool classifies = cot_experiment_classifies(t->experiment);
    cot_display_step(t->display, report,
                     classifies ? (double)progress->epoch_correct / (double)progress->epoch_samples
                                : NAN);
}

/* Why a call ends, as the metrics say it. */
static const char finished[] = "finished"; /* the run is complete */
static const char limited[] = "steps";     /* --steps */
static const char stopped[] = "signal";    /* somebody asked to stop */

/* Steps until one of these, which becomes *reason. */
static cot_status train_steps(trainer *t, const char **reason)
{
    cot_progress *progress = &t->state.progress;
    while (progress->step < t->total_steps) {
        if (t->options->limits_steps && progress->step - t->first_step >= t->options->step_limit) {
            *reason = limited;
            return COT_OK;
        }
        step_result result;
        COT_TRY(trainer_step(t, &result));
        report_step(t, &result.report);
        bool epoch_ended = progress->batch == cot_sampler_batches(t->sampler);
        if (epoch_ended || progress->step == t->total_steps)
            COT_TRY(evaluate_epoch(t, result.report.learning_rate));
        if (epoch_ended) {
            trainer_next_epoch(t);
            trainer_costs_next_epoch(t);
        }
        if (trainer_wants_save(t, epoch_ended)) COT_TRY(trainer_save(t));
        if (result.stop && progress->step < t->total_steps) {
            *reason = stopped;
            return COT_OK;
        }
    }
    *reason = finished;
    return COT_OK;
}

static cot_status run(trainer *t)
{
    const char *reason = finished;
    trainer_stats_create(t);
    trainer_costs_create(t);
    describe_run(t);
    COT_TRY(trainer_begin(t));
    t->first_step = t->state.progress.step;
    if (t->first_step >= t->total_steps)
        cot_info("nothing is left to do: the run is over after %lu steps",
                 (unsigned long)t->total_steps);
    t->last_save = cot_seconds();
    t->display = cot_display_create(t->comm, t->first_step, t->total_steps,
                                    (t->total_steps + cot_sampler_batches(t->sampler) - 1) /
                                        cot_sampler_batches(t->sampler));
    COT_TRY(train_steps(t, &reason));
    COT_TRY(trainer_save(t));
    trainer_costs_of_call(t);
    cot_metrics_end(t->metrics, t->state.progress.step, reason, cot_seconds() - t->call_started,
                    t->costs);
    COT_TRY(cot_comm_agree(t->comm, cot_metrics_status(t->metrics)));
    COT_TRY(trainer_costs_profile(t));
    t->has_finished = reason == finished;
    if (reason != stopped) return COT_OK;
    bool resumes = t->options->resume != NULL && strcmp(t->options->resume, "auto") == 0;
    cot_info("stopped at step %lu with a checkpoint saved; %s to go on",
             (unsigned long)t->state.progress.step, resumes ? "run it again" : "add --resume auto");
    return COT_E_STOPPED;
}

cot_status cot_train(const cot_comm *world, const cot_recipe *recipe,
                     const cot_train_options *options)
{
    trainer t = {.recipe = recipe, .options = options, .call_started = cot_seconds()};
    cot_timestamp(t.started);
    trainer_catch_signals();
    cot_status status = trainer_create(&t, world);
    if (status == COT_OK) status = run(&t);
    cot_display_destroy(&t.display);
    cot_metrics_close(&t.metrics);
    cot_run_folder_unlock(&t.lock);
    trainer_costs_destroy(&t);
    trainer_destroy(&t);
    if (t.has_finished && recipe->output.report) cot_report(world, recipe->output.dir);
    COT_MPI(MPI_Barrier(world->world)); /* a signal is no end of a run whose page is being made */
    trainer_restore_signals();
    return status;
}
