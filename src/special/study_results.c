/* From a study's sums over all samples to what the file gets; docs/statistics.md has the
 * formulas. */
#include "special/study_sums.h"

#include <coterie/memory.h>
#include <coterie/status.h>
#include <coterie/tree.h>

#include <math.h>

enum { METRIC_MEAN, METRIC_DEVIATION, LOSS_MEAN, LOSS_DEVIATION, RANDOM_CURVES };

/* ---- at creation ---- */

static const struct {
    const char *name, *choice;
} curves[STUDY_CURVES] = {
    [COT_ORDER_COMBINE] = {"combine", "with the K experts of largest combine mass"},
    [COT_ORDER_DISPATCH] = {"dispatch", "with the K experts of largest squared dispatch weights"},
    [COT_ORDER_CONTRIBUTION] = {"contribution", "with the K experts of largest contribution"},
    [COT_ORDER_RANDOM] = {"random", "with K experts at random"},
    [COT_ORDER_COMMON] = {"common", "with the K experts of largest mean combine mass"},
    [COT_ORDER_GREEDY] = {"greedy", "with K experts, each added for the lowest loss"},
    [STUDY_EXHAUSTIVE] = {"exhaustive", "with the K experts of lowest loss"},
    [STUDY_MASS] = {"mass", "with the fewest experts that hold a share of the combine mass"}};

static void name_curves(cot_study *study)
{
    const bool classes = study->options.classes > 0;
    for (size_t curve = 0; curve < STUDY_CURVES; curve++) {
        const char *name = curves[curve].name;
        const char *choice = curves[curve].choice;
        study->texts[curve] = (study_texts){
            .metric = cot_strprintf("%s_%s", classes ? "accuracy" : "relative_error", name),
            .metric_meaning = cot_strprintf("%s, %s",
                                            classes ? "share of samples predicted right"
                                                    : "mean squared error over target variance",
                                            choice),
            .loss = cot_strprintf("loss_%s", name),
            .loss_meaning = cot_strprintf("mean loss, %s", choice),
            .distinct = cot_strprintf("distinct_subsets_%s", name)};
    }
}

void cot_study_take_results(cot_study *study)
{
    const cot_study_options *options = &study->options;
    const size_t keeps = options->keeps->count;
    study_results *results = &study->results;
    name_curves(study);
    results->loss = cot_alloc(study->points, sizeof(double));
    results->metric = cot_alloc(study->points, sizeof(double));
    results->random = cot_alloc(RANDOM_CURVES * keeps, sizeof(double));
    results->kept = cot_alloc(2 * options->mass_count, sizeof(double));
    results->any_right = cot_alloc(keeps, sizeof(double));
    results->lower = cot_alloc(keeps, sizeof(double));
    results->searched = cot_alloc(keeps, sizeof(int64_t));
    for (size_t curve = 0; curve < STUDY_CURVES; curve++)
        if (study->distinct[curve] != NULL)
            results->distinct[curve] = cot_alloc(options->layers * keeps, sizeof(int64_t));
    results->keeps = cot_alloc(keeps, sizeof(int64_t));
    for (size_t k = 0; k < keeps; k++) results->keeps[k] = (int64_t)options->keeps->sizes[k];
    results->seeds = cot_alloc(options->seeds, sizeof(int64_t));
    for (size_t s = 0; s < options->seeds; s++)
        results->seeds[s] = (int64_t)(options->first_seed + s);
}

void cot_study_free_results(cot_study *study)
{
    study_results *results = &study->results;
    cot_free(results->seeds);
    cot_free(results->keeps);
    for (size_t curve = 0; curve < STUDY_CURVES; curve++) {
        cot_free(results->distinct[curve]);
        cot_free(study->texts[curve].distinct);
        cot_free(study->texts[curve].loss_meaning);
        cot_free(study->texts[curve].loss);
        cot_free(study->texts[curve].metric_meaning);
        cot_free(study->texts[curve].metric);
    }
    cot_free(results->searched);
    cot_free(results->lower);
    cot_free(results->any_right);
    cot_free(results->kept);
    cot_free(results->random);
    cot_free(results->metric);
    cot_free(results->loss);
}

/* ---- at the end ---- */

/* A point that no sample came to has no number. */
static void find_points(cot_study *study)
{
    for (size_t point = 0; point < study->points; point++) {
        const double *sums = study->sums + point * POINT_SUMS;
        const uint64_t *counts = study->counts + point * POINT_COUNTS;
        double samples = (double)counts[COUNT_SAMPLES];
        double loss = sums[SUM_LOSS] / samples;
        double target = sums[SUM_TARGET] / samples;
        double variance = sums[SUM_TARGET_SQUARES] / samples - target * target;
        study->results.loss[point] = loss;
        study->results.metric[point] =
            study->options.classes > 0 ? (double)counts[COUNT_CORRECT] / samples : loss / variance;
    }
}

/* Over the seeds of one size: values [seeds], `keeps` apart; the deviation with n - 1. */
static void find_spread(size_t seeds, size_t keeps, const double *values, double *mean_out,
                        double *deviation_out)
{
    double mean = 0;
    double squares = 0;
    for (size_t s = 0; s < seeds; s++) mean += values[s * keeps];
    mean /= (double)seeds;
    for (size_t s = 0; s < seeds; s++)
        squares += (values[s * keeps] - mean) * (values[s * keeps] - mean);
    *mean_out = mean;
    *deviation_out = seeds > 1 ? sqrt(squares / (double)(seeds - 1)) : NAN;
}

static void find_random(cot_study *study)
{
    const size_t keeps = study->options.keeps->count;
    const size_t seeds = study->options.seeds;
    double *random = study->results.random;
    for (size_t k = 0; k < keeps && seeds > 0; k++) {
        size_t point = study->first[COT_ORDER_RANDOM] + k;
        find_spread(seeds, keeps, study->results.metric + point, random + METRIC_MEAN * keeps + k,
                    random + METRIC_DEVIATION * keeps + k);
        find_spread(seeds, keeps, study->results.loss + point, random + LOSS_MEAN * keeps + k,
                    random + LOSS_DEVIATION * keeps + k);
    }
}

/* n sum x^2 - (sum x)^2 in whole numbers: exact, and never below 0. */
static void find_kept(cot_study *study)
{
    const size_t masses = study->options.mass_count;
    for (size_t m = 0; m < masses; m++) {
        const uint64_t *counts = study->kept + m * KEPT_COUNTS;
        double seen = (double)counts[KEPT_SEEN];
        unsigned __int128 spread = (unsigned __int128)counts[KEPT_SEEN] * counts[KEPT_SQUARES] -
                                   (unsigned __int128)counts[KEPT_SUM] * counts[KEPT_SUM];
        study->results.kept[m] = (double)counts[KEPT_SUM] / seen;
        study->results.kept[masses + m] = sqrt((double)spread) / seen;
    }
}

static void find_search(cot_study *study)
{
    const cot_study_options *options = &study->options;
    for (size_t k = 0; k < options->keeps->count && options->exhaustive; k++) {
        const uint64_t *counts = study->search + k * SEARCH_COUNTS;
        const bool searched = cot_study_searches(study, k);
        size_t point = study->first[STUDY_EXHAUSTIVE] + k;
        double samples = (double)study->counts[point * POINT_COUNTS + COUNT_SAMPLES];
        study->results.any_right[k] = (double)counts[SEARCH_ANY_RIGHT] / samples;
        study->results.lower[k] = (double)counts[SEARCH_LOWER] / samples;
        study->results.searched[k] =
            searched ? (int64_t)cot_subset_count(options->experts, options->keeps->sizes[k]) : 0;
    }
}

static void sum_counts(size_t count, uint64_t *counts, const cot_comm *comm)
{
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, counts, cot_comm_int(count), MPI_UINT64_T, MPI_SUM,
                          comm->world));
}

void cot_study_finish(cot_study *study, const cot_comm *comm, cot_ordered_sum *sums)
{
    const cot_study_options *options = &study->options;
    const size_t keeps = options->keeps->count;
    COT_ASSERT(!study->finished);
    cot_tree_reduce_double(options->grains, study->points * POINT_SUMS, study->sums);
    cot_ordered_sum_doubles(sums, study->points * POINT_SUMS, study->sums);
    sum_counts(study->points * POINT_COUNTS, study->counts, comm);
    sum_counts(options->mass_count * KEPT_COUNTS, study->kept, comm);
    sum_counts(keeps * SEARCH_COUNTS, study->search, comm);
    for (size_t curve = 0; curve < STUDY_CURVES; curve++)
        for (size_t list = 0; study->distinct[curve] != NULL && list < options->layers * keeps;
             list++)
            study->results.distinct[curve][list] =
                (int64_t)cot_distinct_count(study->distinct[curve], list, comm);
    study->finished = true;
    find_points(study);
    find_random(study);
    find_kept(study);
    find_search(study);
}

/* ---- the list ---- */

static void list_dimensions(const cot_study *study, cot_catalog *catalog)
{
    const cot_study_options *options = &study->options;
    const study_results *results = &study->results;
    const cot_dimension dimensions[] = {
        {"layer", options->layers, COT_H5_INT64, NULL, "Soft MoE layer"},
        {"keep", options->keeps->count, COT_H5_INT64, results->keeps, "experts kept, K"},
        {"seed", options->seeds, COT_H5_INT64, results->seeds, "seed of random subsets"},
        {"mass", options->mass_count, COT_H5_FLOAT64, options->masses, "share of combine mass, M"}};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++)
        if (dimensions[i].size > 0) cot_catalog_add_dimension(catalog, &dimensions[i]);
}

static const char *loss_units(const cot_study *study)
{
    return study->options.loss->kind == COT_CROSS_ENTROPY ? "nat" : "1";
}

static void list_curve(const cot_study *study, size_t curve, const char *axes, cot_catalog *catalog)
{
    const study_texts *texts = &study->texts[curve];
    const study_results *results = &study->results;
    cot_catalog_add_reals(catalog, texts->metric, axes, "1", texts->metric_meaning,
                          results->metric + study->first[curve]);
    cot_catalog_add_reals(catalog, texts->loss, axes, loss_units(study), texts->loss_meaning,
                          results->loss + study->first[curve]);
    if (results->distinct[curve] != NULL)
        cot_catalog_add_wholes(catalog, texts->distinct, "layer,keep",
                               "different subsets of K experts over the samples",
                               results->distinct[curve]);
}

static void list_random(const cot_study *study, cot_catalog *catalog)
{
    const bool classes = study->options.classes > 0;
    const size_t keeps = study->options.keeps->count;
    const double *random = study->results.random;
    const char *units = loss_units(study);
    list_curve(study, COT_ORDER_RANDOM, "seed,keep", catalog);
    cot_catalog_add_reals(catalog, classes ? "accuracy_random_mean" : "relative_error_random_mean",
                          "keep", "1", "mean over the seeds", random + METRIC_MEAN * keeps);
    cot_catalog_add_reals(catalog, classes ? "accuracy_random_sd" : "relative_error_random_sd",
                          "keep", "1", "standard deviation over the seeds",
                          random + METRIC_DEVIATION * keeps);
    cot_catalog_add_reals(catalog, "loss_random_mean", "keep", units, "mean over the seeds",
                          random + LOSS_MEAN * keeps);
    cot_catalog_add_reals(catalog, "loss_random_sd", "keep", units,
                          "standard deviation over the seeds", random + LOSS_DEVIATION * keeps);
}

static void list_search(const cot_study *study, cot_catalog *catalog)
{
    const study_results *results = &study->results;
    list_curve(study, STUDY_EXHAUSTIVE, "keep", catalog);
    if (study->options.classes > 0)
        cot_catalog_add_reals(catalog, "exhaustive_any_right", "keep", "1",
                              "share of samples that some subset of K experts predicts right",
                              results->any_right);
    cot_catalog_add_reals(
        catalog, "exhaustive_combine_rank", "keep", "1",
        "mean number of subsets with a lower loss than the K experts of largest mass",
        results->lower);
    cot_catalog_add_wholes(catalog, "exhaustive_subsets", "keep",
                           "subsets of K experts that were searched", results->searched);
}

void cot_study_list(const cot_study *study, cot_catalog *catalog)
{
    const cot_study_options *options = &study->options;
    const study_results *results = &study->results;
    list_dimensions(study, catalog);
    for (size_t order = 0; order < COT_ORDERS; order++) {
        if (!options->orders[order]) continue;
        if (order != COT_ORDER_RANDOM)
            list_curve(study, order, "keep", catalog);
        else if (options->seeds > 0)
            list_random(study, catalog);
    }
    if (options->mass_count > 0) {
        list_curve(study, STUDY_MASS, "mass", catalog);
        cot_catalog_add_reals(catalog, "kept_mass_mean", "mass", "1", "mean number of experts kept",
                              results->kept);
        cot_catalog_add_reals(catalog, "kept_mass_sd", "mass", "1",
                              "standard deviation of the number of experts kept",
                              results->kept + options->mass_count);
    }
    if (options->exhaustive) list_search(study, catalog);
}
