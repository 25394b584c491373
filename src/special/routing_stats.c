#include "special/entropy.h"
#include "special/routing_sums.h"

#include <coterie/memory.h>
#include <coterie/status.h>
#include <coterie/tree.h>

#include <math.h>
#include <string.h>

void cot_keeps_add(cot_keeps *keeps, size_t size)
{
    size_t at = keeps->count;
    while (at > 0 && keeps->sizes[at - 1] > size) at--;
    if (at > 0 && keeps->sizes[at - 1] == size) return;
    memmove(keeps->sizes + at + 1, keeps->sizes + at, (keeps->count - at) * sizeof *keeps->sizes);
    keeps->sizes[at] = size;
    keeps->count++;
}

void cot_keeps_check(const cot_keeps *keeps, size_t experts)
{
    for (size_t k = 0; k < keeps->count; k++)
        COT_ASSERT(keeps->sizes[k] > (k > 0 ? keeps->sizes[k - 1] : 0) &&
                   keeps->sizes[k] <= experts);
}

static routing_layout layout_of(const cot_routing_stats *stats)
{
    const size_t E = stats->options.experts;
    const size_t all = stats->options.masses_only ? 0 : 1;
    routing_layout layout = {.combine_entropy = stats->groups * E};
    layout.dispatch_entropy = layout.combine_entropy + all;
    layout.effective_tokens = layout.dispatch_entropy + all * stats->slots;
    layout.output_norm = layout.effective_tokens + all * stats->slots;
    layout.size = layout.output_norm + all * E;
    return layout;
}

static void take_results(cot_routing_stats *stats)
{
    const size_t L = stats->options.layers;
    const size_t E = stats->options.experts;
    const size_t S = stats->slots;
    const size_t classes = stats->options.classes;
    const size_t keeps = stats->options.keeps->count;
    routing_results *results = &stats->results;
    results->class_samples = cot_alloc(classes, sizeof(int64_t));
    results->mass = cot_alloc(L * E, sizeof(double));
    results->mass_by_class = cot_alloc(L * classes * E, sizeof(double));
    results->information = cot_alloc(L, sizeof(double));
    results->information_by_expert = cot_alloc(L * E, sizeof(double));
    results->purity = cot_alloc(L * E, sizeof(double));
    results->main_class = cot_alloc(L * E, sizeof(int64_t));
    results->top_share = cot_alloc(L * keeps * E, sizeof(double));
    size_t by_class = stats->options.share_by_class ? classes : 0;
    results->top_share_by_class = cot_alloc(L * keeps * by_class * E, sizeof(double));
    results->combine_entropy = cot_alloc(L, sizeof(double));
    results->dispatch_entropy = cot_alloc(L * S, sizeof(double));
    results->effective_tokens = cot_alloc(L * S, sizeof(double));
    results->output_norm = cot_alloc(L * E, sizeof(double));
    results->keeps = cot_alloc(keeps, sizeof(int64_t));
    for (size_t k = 0; k < keeps; k++) results->keeps[k] = (int64_t)stats->options.keeps->sizes[k];
}

static void free_results(routing_results *results)
{
    cot_free(results->keeps);
    cot_free(results->output_norm);
    cot_free(results->effective_tokens);
    cot_free(results->dispatch_entropy);
    cot_free(results->combine_entropy);
    cot_free(results->top_share_by_class);
    cot_free(results->top_share);
    cot_free(results->main_class);
    cot_free(results->purity);
    cot_free(results->information_by_expert);
    cot_free(results->information);
    cot_free(results->mass_by_class);
    cot_free(results->mass);
    cot_free(results->class_samples);
}

/* The expert at place 0 of an order is in the top K from the first size on, and so forth. */
static void place_keeps(cot_routing_stats *stats)
{
    const cot_keeps *keeps = stats->options.keeps;
    size_t k = 0;
    for (size_t place = 0; place < stats->options.experts; place++) {
        while (k < keeps->count && keeps->sizes[k] <= place) k++;
        stats->keep_of_place[place] = k;
    }
}

cot_routing_stats *cot_routing_stats_create(const cot_routing_stats_options *options)
{
    cot_routing_stats *stats = cot_alloc(1, sizeof *stats);
    const size_t E = options->experts;
    cot_keeps_check(options->keeps, E);
    stats->options = *options;
    stats->slots = E * options->slots_per_expert;
    stats->groups = options->classes > 0 ? options->classes : 1;
    stats->layout = layout_of(stats);
    stats->sum_count = options->layers * stats->layout.size;
    /* A rank without grains still takes part in the sums, with zeros. */
    size_t grains = options->grains > 0 ? options->grains : 1;
    stats->sums = cot_alloc(grains * stats->sum_count, sizeof *stats->sums);
    size_t groups = options->layers * stats->groups;
    stats->samples = cot_alloc(groups, sizeof *stats->samples);
    stats->entered = cot_alloc(groups * options->keeps->count * E, sizeof *stats->entered);
    stats->keep_of_place = cot_alloc(E, sizeof *stats->keep_of_place);
    stats->mass = cot_alloc(E, sizeof *stats->mass);
    stats->order = cot_alloc(E, sizeof *stats->order);
    stats->terms = cot_alloc(stats->slots, sizeof *stats->terms);
    stats->entropy = cot_alloc(stats->slots, sizeof *stats->entropy);
    place_keeps(stats);
    take_results(stats);
    return stats;
}

void cot_routing_stats_destroy(cot_routing_stats **stats_at)
{
    cot_routing_stats *stats = *stats_at;
    if (stats == NULL) return;
    free_results(&stats->results);
    cot_free(stats->entropy);
    cot_free(stats->terms);
    cot_free(stats->order);
    cot_free(stats->mass);
    cot_free(stats->keep_of_place);
    cot_free(stats->entered);
    cot_free(stats->samples);
    cot_free(stats->sums);
    cot_free(stats);
    *stats_at = NULL;
}

void cot_routing_stats_clear(cot_routing_stats *stats)
{
    const cot_routing_stats_options *options = &stats->options;
    size_t grains = options->grains > 0 ? options->grains : 1;
    size_t groups = options->layers * stats->groups;
    size_t members = groups * options->keeps->count * options->experts;
    memset(stats->sums, 0, grains * stats->sum_count * sizeof *stats->sums);
    memset(stats->samples, 0, groups * sizeof *stats->samples);
    memset(stats->entered, 0, members * sizeof *stats->entered);
    stats->finished = false;
}

/* Which experts are in the sample's top K: whole numbers, so one for each expert is enough. */
static void add_memberships(cot_routing_stats *stats, size_t group)
{
    const size_t E = stats->options.experts;
    const size_t keeps = stats->options.keeps->count;
    uint64_t *entered = stats->entered + group * keeps * E;
    if (keeps == 0) return;
    cot_order_by_score(E, stats->mass, stats->order);
    for (size_t place = 0; place < E && stats->keep_of_place[place] < keeps; place++)
        entered[stats->keep_of_place[place] * E + stats->order[place]]++;
}

static void add_entropies(cot_routing_stats *stats, const cot_routing *routing, double *sums)
{
    const routing_layout *layout = &stats->layout;
    const size_t T = stats->options.tokens;
    const size_t S = stats->slots;
    sums[layout->combine_entropy] +=
        cot_entropy_rows(T, S, routing->combine, stats->terms) / (double)T;
    cot_entropy_cols(T, S, routing->dispatch, stats->entropy);
    for (size_t s = 0; s < S; s++) {
        sums[layout->dispatch_entropy + s] += stats->entropy[s];
        sums[layout->effective_tokens + s] += exp(stats->entropy[s]);
    }
}

static void add_output_norms(cot_routing_stats *stats, const cot_real *slot_norms, double *sums)
{
    const size_t P = stats->options.slots_per_expert;
    double *norms = sums + stats->layout.output_norm;
    for (size_t s = 0; s < stats->slots; s++) norms[s / P] += (double)slot_norms[s];
}

void cot_routing_stats_add(cot_routing_stats *stats, size_t grain, const cot_sample_view *view)
{
    const cot_routing_stats_options *options = &stats->options;
    const cot_routing *routing = &view->routing;
    const size_t E = options->experts;
    COT_ASSERT(!stats->finished && grain < options->grains);
    COT_ASSERT(routing->layer < options->layers && routing->tokens == options->tokens &&
               routing->experts == E && routing->slots_per_expert == options->slots_per_expert);
    size_t label = options->classes > 0 ? (size_t)view->target.label : 0;
    COT_ASSERT(label < stats->groups);
    double *sums = stats->sums + grain * stats->sum_count + routing->layer * stats->layout.size;
    cot_combine_mass(routing, stats->mass);
    for (size_t e = 0; e < E; e++) sums[label * E + e] += stats->mass[e];
    stats->samples[routing->layer * stats->groups + label]++;
    add_memberships(stats, routing->layer * stats->groups + label);
    if (options->masses_only) return;
    add_entropies(stats, routing, sums);
    add_output_norms(stats, view->slot_norms, sums);
}

void cot_routing_stats_finish(cot_routing_stats *stats, const cot_comm *comm, cot_ordered_sum *sums)
{
    const cot_routing_stats_options *options = &stats->options;
    COT_ASSERT(!stats->finished);
    cot_tree_reduce_double(options->grains, stats->sum_count, stats->sums);
    cot_ordered_sum_doubles(sums, stats->sum_count, stats->sums);
    size_t groups = options->layers * stats->groups;
    size_t members = groups * options->keeps->count * options->experts;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, stats->samples, cot_comm_int(groups), MPI_UINT64_T, MPI_SUM,
                          comm->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, stats->entered, cot_comm_int(members), MPI_UINT64_T,
                          MPI_SUM, comm->world));
    stats->finished = true;
    cot_routing_results(stats);
}
