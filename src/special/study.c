#include "special/routing_sums.h"
#include "special/study_sums.h"

#include <coterie/memory.h>
#include <coterie/status.h>

#include <string.h>

/* A rank without grains still takes part in the sums, with zeros. */
static size_t grains_of(const cot_study *study)
{
    return study->options.grains > 0 ? study->options.grains : 1;
}

static void place_curves(cot_study *study)
{
    const cot_study_options *options = &study->options;
    size_t sizes[STUDY_CURVES] = {0};
    for (size_t order = 0; order < COT_ORDERS; order++)
        if (options->orders[order]) sizes[order] = options->keeps->count;
    sizes[COT_ORDER_RANDOM] *= options->seeds;
    if (options->exhaustive) sizes[STUDY_EXHAUSTIVE] = options->keeps->count;
    sizes[STUDY_MASS] = options->mass_count;
    for (size_t curve = 0; curve < STUDY_CURVES; curve++) {
        study->first[curve] = study->points;
        study->points += sizes[curve];
    }
}

static bool needs_combine_order(const cot_study_options *options)
{
    return options->orders[COT_ORDER_COMBINE] || options->mass_count > 0 || options->exhaustive;
}

static void create_orderers(cot_study *study)
{
    const cot_study_options *options = &study->options;
    for (cot_order order = 0; order < COT_ORDERS; order++)
        if (order == COT_ORDER_COMBINE ? needs_combine_order(options)
                                       : order != COT_ORDER_RANDOM && options->orders[order])
            study->orderers[order] =
                cot_orderer_create(order, 0, options->experts, options->outputs);
    study->random = cot_alloc(options->seeds, sizeof(cot_orderer *));
    for (size_t seed = 0; seed < options->seeds; seed++)
        study->random[seed] = cot_orderer_create(COT_ORDER_RANDOM, options->first_seed + seed,
                                                 options->experts, options->outputs);
}

static void create_distinct(cot_study *study)
{
    const cot_study_options *options = &study->options;
    size_t lists = options->layers * options->keeps->count;
    for (size_t curve = 0; curve < STUDY_MASS; curve++) {
        bool asked = curve < COT_ORDERS ? options->orders[curve] : options->exhaustive;
        if (asked && curve != COT_ORDER_RANDOM && curve != COT_ORDER_COMMON)
            study->distinct[curve] = cot_distinct_create(options->experts, lists, options->samples);
    }
}

cot_study *cot_study_create(const cot_study_options *options)
{
    const size_t E = options->experts;
    cot_study *study = cot_alloc(1, sizeof *study);
    cot_keeps_check(options->keeps, E);
    COT_ASSERT(!options->exhaustive || options->layers == 1);
    for (size_t m = 0; m < options->mass_count; m++)
        COT_ASSERT(options->masses[m] > (m > 0 ? options->masses[m - 1] : 0) &&
                   options->masses[m] <= 1);
    study->options = *options;
    if (!options->orders[COT_ORDER_RANDOM]) study->options.seeds = 0;
    place_curves(study);
    create_orderers(study);
    create_distinct(study);
    study->sums = cot_alloc(grains_of(study) * study->points * POINT_SUMS, sizeof *study->sums);
    study->counts = cot_alloc(study->points * POINT_COUNTS, sizeof *study->counts);
    study->kept = cot_alloc(options->mass_count * KEPT_COUNTS, sizeof *study->kept);
    study->search = cot_alloc(options->keeps->count * SEARCH_COUNTS, sizeof *study->search);
    study->order = cot_alloc(E, sizeof *study->order);
    study->combine_order = cot_alloc(E, sizeof *study->combine_order);
    study->mass = cot_alloc(E, sizeof *study->mass);
    study->mass_sizes = cot_alloc(options->mass_count, sizeof *study->mass_sizes);
    study->running = cot_alloc(options->outputs, sizeof *study->running);
    study->outputs = cot_alloc(options->outputs, sizeof *study->outputs);
    study->prefix = cot_alloc((E + 1) * options->outputs, sizeof *study->prefix);
    study->subset = cot_alloc(E, sizeof *study->subset);
    study->best_outputs = cot_alloc(options->outputs, sizeof *study->best_outputs);
    cot_study_take_results(study);
    return study;
}

void cot_study_destroy(cot_study **study_at)
{
    cot_study *study = *study_at;
    if (study == NULL) return;
    cot_study_free_results(study);
    cot_free(study->best_outputs);
    cot_free(study->subset);
    cot_free(study->prefix);
    cot_free(study->outputs);
    cot_free(study->running);
    cot_free(study->mass_sizes);
    cot_free(study->mass);
    cot_free(study->combine_order);
    cot_free(study->order);
    cot_free(study->search);
    cot_free(study->kept);
    cot_free(study->counts);
    cot_free(study->sums);
    for (size_t curve = 0; curve < STUDY_CURVES; curve++)
        cot_distinct_destroy(&study->distinct[curve]);
    for (size_t seed = 0; seed < study->options.seeds; seed++)
        cot_orderer_destroy(&study->random[seed]);
    cot_free(study->random);
    for (size_t order = 0; order < COT_ORDERS; order++)
        cot_orderer_destroy(&study->orderers[order]);
    cot_free(study);
    *study_at = NULL;
}

/* ---- scoring ---- */

double cot_study_loss(const cot_study *study, const cot_real *outputs, const cot_target *target)
{
    const cot_loss_options *loss = study->options.loss;
    if (loss->kind == COT_CROSS_ENTROPY)
        return cot_cross_entropy(study->options.outputs, outputs, (size_t)target->label,
                                 loss->label_smoothing, 0, NULL);
    return cot_squared_error(outputs[0], target->value, 0, NULL);
}

bool cot_study_right(const cot_study *study, const cot_real *outputs, const cot_target *target)
{
    return study->options.classes > 0 &&
           cot_argmax(study->options.outputs, outputs) == (size_t)target->label;
}

void cot_study_score(cot_study *study, size_t grain, size_t point, const cot_real *outputs,
                     const cot_target *target)
{
    COT_ASSERT(!study->finished && grain < study->options.grains && point < study->points);
    double *sums = study->sums + (grain * study->points + point) * POINT_SUMS;
    uint64_t *counts = study->counts + point * POINT_COUNTS;
    double value = (double)target->value;
    sums[SUM_LOSS] += cot_study_loss(study, outputs, target);
    sums[SUM_TARGET] += value;
    sums[SUM_TARGET_SQUARES] += value * value;
    counts[COUNT_SAMPLES]++;
    counts[COUNT_CORRECT] += cot_study_right(study, outputs, target);
}

/* ---- one sample, all subsets of an order ---- */

/* Score an order's subsets of `count` sizes, ascending, at the points from `first` on. */
static void walk(cot_study *study, size_t grain, const cot_sample_view *view, const size_t *order,
                 size_t count, const size_t *sizes, size_t first, cot_distinct *distinct)
{
    const size_t n = study->options.outputs;
    double *running = study->running;
    cot_subset_hash hash = {0};
    size_t at = 0;
    for (size_t c = 0; c < n; c++) running[c] = (double)view->base[c];
    for (size_t place = 0; at < count; place++) {
        const cot_real *effect = view->effects + order[place] * n;
        for (size_t c = 0; c < n; c++) running[c] += (double)effect[c];
        if (distinct != NULL) cot_distinct_include(distinct, order[place], &hash);
        for (; at < count && sizes[at] == place + 1; at++) {
            for (size_t c = 0; c < n; c++) study->outputs[c] = (cot_real)running[c];
            cot_study_score(study, grain, first + at, study->outputs, &view->target);
            if (distinct != NULL) cot_distinct_add(distinct, at, hash);
        }
    }
}

static void add_orders(cot_study *study, size_t grain, const cot_sample_view *view)
{
    const cot_keeps *keeps = study->options.keeps;
    for (size_t order = 0; order < COT_ORDERS; order++) {
        if (!study->options.orders[order]) continue;
        if (order == COT_ORDER_RANDOM || order == COT_ORDER_COMMON) continue;
        size_t *experts = study->combine_order;
        if (order != COT_ORDER_COMBINE) {
            experts = study->order;
            cot_orderer_rank(study->orderers[order], view, experts);
        }
        walk(study, grain, view, experts, keeps->count, keeps->sizes, study->first[order],
             study->distinct[order]);
    }
    for (size_t seed = 0; seed < study->options.seeds; seed++) {
        cot_orderer_rank(study->random[seed], view, study->order);
        walk(study, grain, view, study->order, keeps->count, keeps->sizes,
             study->first[COT_ORDER_RANDOM] + seed * keeps->count, NULL);
    }
}

static void count_kept(cot_study *study, size_t mass_index, size_t kept)
{
    uint64_t *counts = study->kept + mass_index * KEPT_COUNTS;
    counts[KEPT_SEEN]++;
    counts[KEPT_SUM] += kept;
    counts[KEPT_SQUARES] += (uint64_t)kept * kept;
}

static void add_masses(cot_study *study, size_t grain, const cot_sample_view *view)
{
    const cot_study_options *options = &study->options;
    cot_combine_mass(&view->routing, study->mass);
    for (size_t m = 0; m < options->mass_count; m++) {
        study->mass_sizes[m] = cot_keep_for_mass(options->experts, study->mass,
                                                 study->combine_order, options->masses[m]);
        count_kept(study, m, study->mass_sizes[m]);
    }
    walk(study, grain, view, study->combine_order, options->mass_count, study->mass_sizes,
         study->first[STUDY_MASS], NULL);
}

void cot_study_add(cot_study *study, size_t grain, const cot_sample_view *view)
{
    const cot_study_options *options = &study->options;
    COT_ASSERT(options->layers == 1 && view->outputs == options->outputs);
    if (needs_combine_order(options))
        cot_orderer_rank(study->orderers[COT_ORDER_COMBINE], view, study->combine_order);
    add_orders(study, grain, view);
    if (options->mass_count > 0) add_masses(study, grain, view);
    if (options->exhaustive) cot_study_search(study, grain, view);
}

void cot_study_add_common(cot_study *study, size_t grain, const cot_sample_view *view,
                          const double *mass)
{
    const cot_study_options *options = &study->options;
    const cot_keeps *keeps = options->keeps;
    COT_ASSERT(options->layers == 1 && options->orders[COT_ORDER_COMMON]);
    cot_orderer_set_mass(study->orderers[COT_ORDER_COMMON], mass);
    cot_orderer_rank(study->orderers[COT_ORDER_COMMON], view, study->order);
    walk(study, grain, view, study->order, keeps->count, keeps->sizes,
         study->first[COT_ORDER_COMMON], NULL);
}

/* ---- a run for each point ---- */

void cot_study_add_outputs(cot_study *study, size_t grain, cot_order order, size_t seed,
                           size_t keep_index, const cot_real *outputs, const cot_target *target,
                           const uint8_t *const *kept)
{
    const cot_study_options *options = &study->options;
    const size_t keeps = options->keeps->count;
    cot_distinct *distinct = study->distinct[order];
    size_t place = order == COT_ORDER_RANDOM ? seed * keeps + keep_index : keep_index;
    COT_ASSERT(options->orders[order] && keep_index < keeps);
    COT_ASSERT(order != COT_ORDER_RANDOM || seed < options->seeds);
    cot_study_score(study, grain, study->first[order] + place, outputs, target);
    for (size_t layer = 0; layer < options->layers && distinct != NULL; layer++) {
        cot_subset_hash hash = {0};
        for (size_t e = 0; e < options->experts; e++)
            if (kept[layer][e]) cot_distinct_include(distinct, e, &hash);
        cot_distinct_add(distinct, layer * keeps + keep_index, hash);
    }
}

void cot_study_add_mass_outputs(cot_study *study, size_t grain, size_t mass_index,
                                const cot_real *outputs, const cot_target *target,
                                const uint8_t *const *kept)
{
    COT_ASSERT(mass_index < study->options.mass_count);
    cot_study_score(study, grain, study->first[STUDY_MASS] + mass_index, outputs, target);
    for (size_t layer = 0; layer < study->options.layers; layer++) {
        size_t count = 0;
        for (size_t e = 0; e < study->options.experts; e++) count += kept[layer][e] != 0;
        count_kept(study, mass_index, count);
    }
}
