#include "run/trainer.h"

#include <coterie/schedule.h>

#include <math.h>
#include <stdio.h>

/* One micro-batch: a part of the step's batch of `batch_samples`; scores add to sums [COT_SCORES].
 */
static void accumulate(trainer *t, size_t part, size_t parts, size_t batch_samples,
                       double sums[COT_SCORES])
{
    const cot_progress *progress = &t->state.progress;
    const size_t begin = cot_shard_begin(batch_samples, parts, part);
    cot_batch batch = {.split = COT_SPLIT_TRAIN,
                       .epoch = progress->epoch,
                       .samples = cot_shard_size(batch_samples, parts, part),
                       .first = begin,
                       .order = t->sampler,
                       .order_batch = progress->batch,
                       .training = true,
                       .part = part,
                       .parts = parts};
    cot_noise noise = {.seed = t->recipe->seed, .step = progress->step, .first_sample = begin};
    bool noisy = t->recipe->model.router.noise > 0;
    double scores[COT_SCORES];
    const cot_real *outputs =
        cot_experiment_forward(t->experiment, &batch, noisy ? &noise : NULL, NULL);
    cot_experiment_score(t->experiment, &batch, outputs, 1 / (double)batch_samples, scores);
    cot_model_backward(t->experiment->model, t->experiment->doutputs);
    size_t sent = cot_gradients_add_batch(t->gradients);
    scores[COT_SCORE_STOP] = trainer_was_asked_to_stop();
    sent += cot_ordered_sum_doubles(t->experiment->sums, COT_SCORES, scores);
    for (size_t i = 0; i < COT_SCORES; i++) sums[i] += scores[i];
    cot_ledger_sent(t->ledger, COT_PHASE_SUMS, sent);
}

/* One line that names step, parameter, expert and rank of what is not finite in an array laid out
 * as the parameters; COT_OK when all of it is finite. */
static cot_status check_finite(trainer *t, uint64_t step, const char *what, const cot_real *array)
{
    cot_norms_fault fault;
    cot_norms_measure(t->norms, array);
    if (!cot_norms_find_fault(t->norms, &fault)) return COT_OK;
    char place[64] = "on every rank";
    if (fault.param->placement == COT_SHARDED)
        snprintf(place, sizeof place, "expert %zu on rank %d", fault.expert, fault.rank);
    return cot_fail(COT_E_INTERNAL,
                    "step %lu: the %s of %s, %s, is not finite; the last good checkpoint stays; "
                    "try a lower optimizer.learning_rate or optimizer.clip_norm",
                    (unsigned long)step, what, fault.param->name, place);
}

cot_status trainer_check_values(trainer *t)
{
    const cot_real *values = cot_params_values(t->experiment->params);
    return cot_comm_agree(t->comm, check_finite(t, t->state.progress.step, "value", values));
}

/* The values come before the gradients: a parameter that broke down breaks every gradient. */
static cot_status report_breakdown(trainer *t, double loss)
{
    uint64_t step = t->state.progress.step + 1;
    cot_params *params = t->experiment->params;
    cot_status status = check_finite(t, step, "value", cot_params_values(params));
    if (status == COT_OK) status = check_finite(t, step, "gradient", cot_params_grads(params));
    if (status == COT_OK)
        status = cot_fail(COT_E_INTERNAL,
                          "step %lu: the loss is %g, though every gradient is finite; the last "
                          "good checkpoint stays; check the data's targets",
                          (unsigned long)step, loss);
    return cot_comm_agree(t->comm, status);
}

static void move_on(cot_progress *progress, size_t samples, const double sums[COT_SCORES])
{
    progress->step++;
    progress->batch++;
    progress->samples_seen += samples;
    progress->epoch_samples += samples;
    progress->epoch_loss += sums[COT_SCORE_LOSS];
    progress->epoch_correct += (uint64_t)sums[COT_SCORE_CORRECT];
}

cot_status trainer_step(trainer *t, step_result *result_out)
{
    cot_progress *progress = &t->state.progress;
    const cot_optimizer_options *optimizer = &t->recipe->optimizer;
    double started = cot_seconds();
    double sums[COT_SCORES] = {0};
    cot_ledger_start(t->ledger);
    cot_sampler_start_epoch(t->sampler, progress->epoch);
    cot_ledger_mark(t->ledger, COT_PHASE_DATA);
    size_t samples = cot_sampler_batch_size(t->sampler, progress->batch);
    size_t parts = samples < t->experiment->parts ? samples : t->experiment->parts;
    cot_gradients_begin(t->gradients);
    cot_ledger_mark(t->ledger, COT_PHASE_SUMS);
    for (size_t part = 0; part < parts; part++) accumulate(t, part, parts, samples, sums);
    size_t sent = cot_gradients_finish(t->gradients);
    sent += cot_norms_measure(t->norms, cot_params_grads(t->experiment->params));
    double loss = sums[COT_SCORE_LOSS] / (double)samples;
    double norm = cot_norms_total(t->norms);
    cot_ledger_sent(t->ledger, COT_PHASE_SUMS, sent);
    if (!isfinite(loss) || !isfinite(norm)) return report_breakdown(t, loss);

    double rate = optimizer->learning_rate *
                  cot_schedule_factor(&t->recipe->schedule, progress->step, t->total_steps);
    bool clips = optimizer->clip_norm > 0 && norm > optimizer->clip_norm;
    trainer_stats_before_update(t);
    cot_optimizer_step(t->optimizer, progress->step + 1, rate,
                       clips ? optimizer->clip_norm / norm : 1);
    trainer_stats_after_update(t);
    cot_ledger_mark(t->ledger, COT_PHASE_UPDATE);
    cot_ledger_finish(t->ledger);
    move_on(progress, samples, sums);

    double seconds = cot_seconds() - started;
    if (t->tuner != NULL && chunk_tuner_step(t->tuner, samples, seconds))
        chunk_tuner_destroy(&t->tuner);
    t->epoch_seconds += seconds;
    t->epoch_call_samples += samples;
    t->epoch_call_steps++;
    result_out->stop = sums[COT_SCORE_STOP] > 0;
    result_out->report = (cot_step_report){.step = progress->step,
                                           .epoch = progress->epoch + 1,
                                           .loss = loss,
                                           .learning_rate = rate,
                                           .gradient_norm = norm,
                                           .samples_per_s = (double)samples / seconds};
    return COT_OK;
}
