#include <coterie/clock.h>
#include <coterie/evaluate.h>
#include <coterie/memory.h>

#include <math.h>
#include <string.h>

/* Counts by class are whole numbers: any order of adding them is exact. */
static void count_classes(const cot_experiment *ex, size_t count, const cot_real *outputs,
                          cot_evaluation *evaluation)
{
    for (size_t i = 0; i < count && evaluation->classes > 0; i++) {
        size_t label = (size_t)ex->targets[i].label;
        evaluation->class_samples[label]++;
        evaluation->class_correct[label] +=
            cot_argmax(ex->outputs, outputs + i * ex->outputs) == label;
    }
}

static void sum_classes(const cot_experiment *ex, cot_evaluation *evaluation)
{
    int classes = cot_comm_int(evaluation->classes);
    if (classes == 0) return;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, evaluation->class_samples, classes, MPI_UINT64_T, MPI_SUM,
                          ex->comm->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, evaluation->class_correct, classes, MPI_UINT64_T, MPI_SUM,
                          ex->comm->world));
}

static void summarize(const double sums[COT_SCORES], cot_evaluation *evaluation)
{
    double n = (double)evaluation->samples;
    evaluation->loss = sums[COT_SCORE_LOSS] / n;
    evaluation->accuracy = NAN;
    evaluation->relative_error = NAN;
    if (evaluation->classes > 0) {
        evaluation->accuracy = sums[COT_SCORE_CORRECT] / n;
    } else {
        double mean = sums[COT_SCORE_TARGET] / n;
        evaluation->relative_error =
            evaluation->loss / (sums[COT_SCORE_TARGET_SQUARES] / n - mean * mean);
    }
}

/* One batch: its scores add to `sums` on every rank alike. */
static cot_status evaluate_batch(cot_experiment *ex, const cot_batch *batch, cot_selector *selector,
                                 const cot_observer *observer, cot_evaluation *evaluation,
                                 double sums[COT_SCORES])
{
    double scores[COT_SCORES];
    const cot_real *outputs = cot_experiment_forward(ex, batch, NULL, selector);
    cot_experiment_score(ex, batch, outputs, 0, scores);
    cot_ordered_sum_doubles(ex->sums, COT_SCORES, scores);
    for (size_t i = 0; i < COT_SCORES; i++) sums[i] += scores[i];
    cot_grains grains = cot_model_grains(ex->model, batch->samples);
    size_t count = cot_grains_size(&grains);
    count_classes(ex, count, outputs, evaluation);
    if (observer == NULL) return COT_OK;
    return observer->batch(observer->context, ex, batch->first + cot_grains_begin(&grains), count,
                           outputs);
}

cot_status cot_evaluate(cot_experiment *ex, cot_split split, cot_selector *selector,
                        const cot_observer *observer, cot_evaluation *evaluation_out)
{
    const cot_dataset_info *info = cot_dataset_info_of(ex->dataset);
    const size_t total = info->samples[split];
    if (total == 0)
        return cot_fail(COT_E_CONFIG, "the data set has no %s split; see data.validation",
                        cot_split_name(split));
    double started = cot_seconds();
    cot_evaluation evaluation = {.samples = total, .classes = info->classes};
    evaluation.class_samples = cot_alloc(info->classes, sizeof *evaluation.class_samples);
    evaluation.class_correct = cot_alloc(info->classes, sizeof *evaluation.class_correct);
    double sums[COT_SCORES] = {0};
    cot_status status = COT_OK;
    for (size_t first = 0; first < total && status == COT_OK; first += ex->batching.max_batch) {
        size_t left = total - first;
        cot_batch batch = {.split = split,
                           .samples = left < ex->batching.max_batch ? left : ex->batching.max_batch,
                           .first = first};
        status = evaluate_batch(ex, &batch, selector, observer, &evaluation, sums);
    }
    if (status != COT_OK) {
        cot_evaluation_free(&evaluation);
        return status;
    }
    sum_classes(ex, &evaluation);
    summarize(sums, &evaluation);
    evaluation.seconds = cot_seconds() - started;
    *evaluation_out = evaluation;
    return COT_OK;
}

void cot_evaluation_free(cot_evaluation *evaluation)
{
    cot_free(evaluation->class_correct);
    cot_free(evaluation->class_samples);
    memset(evaluation, 0, sizeof *evaluation);
}

double cot_evaluation_metric(const cot_evaluation *evaluation)
{
    return evaluation->classes > 0 ? 1 - evaluation->accuracy : evaluation->loss;
}
