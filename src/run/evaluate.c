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

/* Experts kept by the samples of this rank, and their squares, over all layers. */
static void count_kept(const cot_experiment *ex, size_t count, uint64_t kept[2])
{
    const size_t E = cot_model_shape(ex->model)->E;
    for (size_t layer = 0; layer < cot_model_layers(ex->model); layer++) {
        const uint8_t *masks = cot_soft_moe_kept(cot_model_layer(ex->model, layer));
        for (size_t i = 0; i < count; i++) {
            uint64_t n = masks == NULL ? E : 0;
            for (size_t e = 0; e < E && masks != NULL; e++) n += masks[i * E + e];
            kept[0] += n;
            kept[1] += n * n;
        }
    }
}

static void summarize_kept(const cot_experiment *ex, uint64_t kept[2], cot_evaluation *evaluation)
{
    double n = (double)(evaluation->samples * cot_model_layers(ex->model));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, kept, 2, MPI_UINT64_T, MPI_SUM, ex->comm->world));
    double mean = (double)kept[0] / n;
    double variance = (double)kept[1] / n - mean * mean;
    evaluation->kept_mean = mean;
    evaluation->kept_deviation = variance > 0 ? sqrt(variance) : 0;
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

/* What adds up over the batches: scores on every rank alike, kept experts on each for itself. */
typedef struct totals {
    double scores[COT_SCORES];
    uint64_t kept[2];
} totals;

static cot_status evaluate_batch(cot_experiment *ex, const cot_batch *batch, cot_selector *selector,
                                 const cot_observer *observer, cot_evaluation *evaluation,
                                 totals *sums)
{
    double scores[COT_SCORES];
    cot_ledger_start(ex->ledger);
    const cot_real *outputs = cot_experiment_forward(ex, batch, NULL, selector);
    cot_experiment_score(ex, batch, outputs, 0, scores);
    cot_ledger_mark(ex->ledger, COT_PHASE_HEAD);
    cot_ordered_sum_doubles(ex->sums, COT_SCORES, scores);
    cot_ledger_mark(ex->ledger, COT_PHASE_SUMS);
    for (size_t i = 0; i < COT_SCORES; i++) sums->scores[i] += scores[i];
    cot_grains grains = cot_model_grains(ex->model, batch->samples);
    size_t count = cot_grains_size(&grains);
    count_classes(ex, count, outputs, evaluation);
    count_kept(ex, count, sums->kept);
    if (observer == NULL) return COT_OK;
    return observer->batch(observer->context, ex, batch->first + cot_grains_begin(&grains), count,
                           outputs);
}

static cot_status evaluate_split(cot_experiment *ex, cot_split split, cot_selector *selector,
                                 const cot_observer *observer, cot_evaluation *evaluation)
{
    totals sums = {0};
    const size_t total = evaluation->samples;
    const size_t most = ex->batching.max_batch;
    for (size_t first = 0; first < total; first += most) {
        size_t left = total - first;
        cot_batch batch = {.split = split,
                           .samples = left < most ? left : most,
                           .first = first,
                           .slot_norms = observer != NULL ? observer->slot_norms : NULL};
        COT_TRY(evaluate_batch(ex, &batch, selector, observer, evaluation, &sums));
    }
    sum_classes(ex, evaluation);
    summarize(sums.scores, evaluation);
    summarize_kept(ex, sums.kept, evaluation);
    return COT_OK;
}

cot_status cot_evaluate(cot_experiment *ex, cot_split split, cot_selector *selector,
                        const cot_observer *observer, cot_evaluation *evaluation_out)
{
    const cot_dataset_info *info = cot_dataset_info_of(ex->dataset);
    COT_TRY(cot_dataset_check_split(info, split));
    double started = cot_seconds();
    cot_ledger *outer = ex->ledger;
    cot_evaluation evaluation = {.samples = info->samples[split], .classes = info->classes};
    evaluation.class_samples = cot_alloc(info->classes, sizeof *evaluation.class_samples);
    evaluation.class_correct = cot_alloc(info->classes, sizeof *evaluation.class_correct);
    ex->ledger = cot_ledger_create(0);
    cot_status status = evaluate_split(ex, split, selector, observer, &evaluation);
    for (int i = 0; i < COT_PHASES; i++)
        evaluation.phase_seconds[i] = cot_ledger_seconds(ex->ledger, (cot_phase)i);
    cot_ledger_destroy(&ex->ledger);
    ex->ledger = outer;
    if (status != COT_OK) {
        cot_evaluation_free(&evaluation);
        return status;
    }
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, evaluation.phase_seconds, COT_PHASES, MPI_DOUBLE, MPI_MAX,
                          ex->comm->world));
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
