/* All subsets of a size, in lexicographic order. The sums of a subset's first members are kept, so
 * the next one costs little more than its last member, and each one's outputs add up in the order
 * of the index: nothing drifts, and a subset met again has the same bits. */
#include "special/study_sums.h"

#include <math.h>
#include <string.h>

size_t cot_subset_count(size_t experts, size_t keep)
{
    if (keep > experts) return 0;
    if (keep > experts - keep) keep = experts - keep;
    unsigned __int128 count = 1;
    for (size_t i = 1; i <= keep; i++) {
        count = count * (experts - keep + i) / i; /* C(E-K+i, i): whole, and growing */
        if (count > SIZE_MAX) return SIZE_MAX;
    }
    return (size_t)count;
}

bool cot_study_searches(const cot_study *study, size_t keep_index)
{
    return study->options.exhaustive &&
           cot_subset_count(study->options.experts, study->options.keeps->sizes[keep_index]) <=
               study->options.subset_limit;
}

/* Outputs with the subset at hand, whose members from `changed` on are new. */
static void sum_subset(cot_study *study, const cot_real *effects, size_t changed, size_t size)
{
    const size_t n = study->options.outputs;
    for (size_t i = changed; i < size; i++) {
        const double *before = study->prefix + i * n;
        const cot_real *effect = effects + study->subset[i] * n;
        double *sum = study->prefix + (i + 1) * n;
        for (size_t c = 0; c < n; c++) sum[c] = before[c] + (double)effect[c];
    }
    for (size_t c = 0; c < n; c++) study->outputs[c] = (cot_real)study->prefix[size * n + c];
}

/* The next subset; false behind the last. *changed is its first new member's place. */
static bool next_subset(size_t experts, size_t size, size_t *subset, size_t *changed)
{
    size_t i = size;
    while (i > 0 && subset[i - 1] == experts - size + i - 1) i--;
    if (i == 0) return false;
    *changed = i - 1;
    subset[i - 1]++;
    for (; i < size; i++) subset[i] = subset[i - 1] + 1;
    return true;
}

/* The members of Algorithm 1's subset, ascending. */
static void take_combine_subset(cot_study *study, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        size_t expert = study->combine_order[i];
        size_t at = i;
        for (; at > 0 && study->subset[at - 1] > expert; at--)
            study->subset[at] = study->subset[at - 1];
        study->subset[at] = expert;
    }
}

static void keep_best(cot_study *study, size_t size)
{
    study->best = (cot_subset_hash){0};
    for (size_t i = 0; i < size; i++)
        cot_distinct_include(study->distinct[STUDY_EXHAUSTIVE], study->subset[i], &study->best);
    memcpy(study->best_outputs, study->outputs,
           study->options.outputs * sizeof *study->best_outputs);
}

static void search_size(cot_study *study, size_t grain, const cot_sample_view *view, size_t k)
{
    const size_t size = study->options.keeps->sizes[k];
    uint64_t *counts = study->search + k * SEARCH_COUNTS;
    take_combine_subset(study, size);
    sum_subset(study, view->effects, 0, size);
    const double own = cot_study_loss(study, study->outputs, &view->target);
    for (size_t i = 0; i < size; i++) study->subset[i] = i;
    double lowest = NAN;
    bool any_right = false;
    size_t changed = 0;
    do {
        sum_subset(study, view->effects, changed, size);
        double loss = cot_study_loss(study, study->outputs, &view->target);
        counts[SEARCH_LOWER] += loss < own;
        any_right = any_right || cot_study_right(study, study->outputs, &view->target);
        if (!(loss < lowest || isnan(lowest))) continue; /* NaN gives way to any number */
        lowest = loss;
        keep_best(study, size);
    } while (next_subset(study->options.experts, size, study->subset, &changed));
    counts[SEARCH_ANY_RIGHT] += any_right;
    cot_study_score(study, grain, study->first[STUDY_EXHAUSTIVE] + k, study->best_outputs,
                    &view->target);
    cot_distinct_add(study->distinct[STUDY_EXHAUSTIVE], k, study->best);
}

void cot_study_search(cot_study *study, size_t grain, const cot_sample_view *view)
{
    for (size_t c = 0; c < study->options.outputs; c++) study->prefix[c] = (double)view->base[c];
    for (size_t k = 0; k < study->options.keeps->count; k++)
        if (cot_study_searches(study, k)) search_size(study, grain, view, k);
}
