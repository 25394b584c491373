/* From the sums over all samples to what the file gets; docs/statistics.md has the formulas. */
#include "special/routing_sums.h"

#include <math.h>

static double samples_of(const cot_routing_stats *stats, size_t layer)
{
    double samples = 0;
    for (size_t c = 0; c < stats->groups; c++)
        samples += (double)stats->samples[layer * stats->groups + c];
    return samples;
}

/* p(e) = sum_c p(c) p(e|c), and p(e|c) for the classes. */
static void find_masses(cot_routing_stats *stats, size_t layer, const double *sums)
{
    const size_t E = stats->options.experts;
    const double samples = samples_of(stats, layer);
    double *mass = stats->results.mass + layer * E;
    for (size_t e = 0; e < E; e++) {
        double sum = 0;
        for (size_t c = 0; c < stats->groups; c++) sum += sums[c * E + e];
        mass[e] = sum / samples;
    }
    for (size_t c = 0; c < stats->options.classes; c++)
        for (size_t e = 0; e < E; e++)
            stats->results.mass_by_class[(layer * stats->groups + c) * E + e] =
                sums[c * E + e] / (double)stats->samples[layer * stats->groups + c];
}

/* p(c) p(e|c) ln(p(e|c) / p(e)) summed over the classes that have samples, 0 ln 0 = 0. */
static double information_of(const cot_routing_stats *stats, size_t layer, size_t e)
{
    const size_t E = stats->options.experts;
    const uint64_t *class_samples = stats->samples + layer * stats->groups;
    const double samples = samples_of(stats, layer);
    double information = 0;
    for (size_t c = 0; c < stats->groups; c++) {
        if (class_samples[c] == 0) continue;
        double given = stats->results.mass_by_class[(layer * stats->groups + c) * E + e];
        if (given == 0) continue;
        information += (double)class_samples[c] / samples * given *
                       log(given / stats->results.mass[layer * E + e]);
    }
    return information;
}

/* max_c p(c|e) with p(c|e) = p(c) p(e|c) / p(e); the class that has it, the lowest of equals. */
static void find_purity(cot_routing_stats *stats, size_t layer, size_t e, const double *sums)
{
    const size_t E = stats->options.experts;
    size_t main_class = 0;
    for (size_t c = 1; c < stats->groups; c++)
        if (sums[c * E + e] > sums[main_class * E + e]) main_class = c;
    double mass = stats->results.mass[layer * E + e];
    stats->results.main_class[layer * E + e] = (int64_t)main_class;
    stats->results.purity[layer * E + e] =
        sums[main_class * E + e] / samples_of(stats, layer) / mass;
}

static void find_information(cot_routing_stats *stats, size_t layer, const double *sums)
{
    const size_t E = stats->options.experts;
    double total = 0;
    for (size_t e = 0; e < E; e++) {
        double information = information_of(stats, layer, e);
        stats->results.information_by_expert[layer * E + e] = information;
        total += information;
        find_purity(stats, layer, e, sums);
    }
    stats->results.information[layer] = total;
}

/* An expert is in the top K of every size from the one that it enters with. */
static void find_shares(cot_routing_stats *stats, size_t layer)
{
    const size_t E = stats->options.experts;
    const size_t keeps = stats->options.keeps->count;
    const double samples = samples_of(stats, layer);
    double *share = stats->results.top_share + layer * keeps * E;
    double *by_class = stats->results.top_share_by_class;
    for (size_t e = 0; e < E; e++) {
        for (size_t k = 0; k < keeps; k++) share[k * E + e] = 0;
        for (size_t c = 0; c < stats->groups; c++) {
            size_t group = layer * stats->groups + c;
            uint64_t members = 0;
            for (size_t k = 0; k < keeps; k++) {
                members += stats->entered[(group * keeps + k) * E + e];
                share[k * E + e] += (double)members; /* whole numbers: exact */
                if (stats->options.share_by_class && stats->options.classes > 0)
                    by_class[((layer * keeps + k) * stats->groups + c) * E + e] =
                        (double)members / (double)stats->samples[group];
            }
        }
        for (size_t k = 0; k < keeps; k++) share[k * E + e] /= samples;
    }
}

static void find_means(cot_routing_stats *stats, size_t layer, const double *sums)
{
    const size_t E = stats->options.experts;
    const size_t S = stats->slots;
    const routing_layout *layout = &stats->layout;
    const double samples = samples_of(stats, layer);
    stats->results.combine_entropy[layer] = sums[layout->combine_entropy] / samples;
    for (size_t s = 0; s < S; s++) {
        stats->results.dispatch_entropy[layer * S + s] =
            sums[layout->dispatch_entropy + s] / samples;
        stats->results.effective_tokens[layer * S + s] =
            sums[layout->effective_tokens + s] / samples;
    }
    const double slot_outputs = samples * (double)stats->options.slots_per_expert;
    for (size_t e = 0; e < E; e++)
        stats->results.output_norm[layer * E + e] = sums[layout->output_norm + e] / slot_outputs;
}

void cot_routing_results(cot_routing_stats *stats)
{
    const cot_routing_stats_options *options = &stats->options;
    for (size_t c = 0; c < options->classes; c++)
        stats->results.class_samples[c] = (int64_t)stats->samples[c];
    for (size_t layer = 0; layer < options->layers; layer++) {
        const double *sums = stats->sums + layer * stats->layout.size;
        find_masses(stats, layer, sums);
        find_shares(stats, layer);
        if (options->classes > 0) find_information(stats, layer, sums);
        if (!options->masses_only) find_means(stats, layer, sums);
    }
}

static void list_dimensions(const cot_routing_stats *stats, cot_catalog *catalog)
{
    const cot_routing_stats_options *options = &stats->options;
    const cot_dimension dimensions[] = {
        /* of size 0: nothing is listed along it */
        {"layer", options->layers, COT_H5_INT64, NULL, "Soft MoE layer"},
        {"expert", options->experts, COT_H5_INT64, NULL, "expert"},
        {"keep", options->keeps->count, COT_H5_INT64, stats->results.keeps, "experts kept, K"},
        {"slot", options->masses_only ? 0 : stats->slots, COT_H5_INT64, NULL,
         "slot; its expert is slot / slots per expert"},
        {"class", options->classes, COT_H5_INT64, NULL, "class of the sample"}};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++)
        if (dimensions[i].size > 0) cot_catalog_add_dimension(catalog, &dimensions[i]);
}

void cot_routing_stats_list(const cot_routing_stats *stats, cot_catalog *catalog)
{
    const routing_results *results = &stats->results;
    const bool classes = stats->options.classes > 0;
    const bool all = !stats->options.masses_only;
    const bool keeps = stats->options.keeps->count > 0;
    const struct {
        bool there;
        cot_variable variable;
    } list[] = {
        {classes,
         {"class_samples", "class", "1", "samples of the class", COT_H5_INT64,
          results->class_samples}},
        {true,
         {"combine_mass", "layer,expert", "1", "share of the combine weights of the expert",
          COT_H5_FLOAT64, results->mass}},
        {classes,
         {"combine_mass_by_class", "layer,class,expert", "1",
          "share of the combine weights of the expert, over the samples of the class",
          COT_H5_FLOAT64, results->mass_by_class}},
        {classes,
         {"mutual_information", "layer", "nat", "mutual information of class and expert",
          COT_H5_FLOAT64, results->information}},
        {classes,
         {"mutual_information_by_expert", "layer,expert", "nat",
          "the expert's part of the mutual information of class and expert", COT_H5_FLOAT64,
          results->information_by_expert}},
        {classes,
         {"purity", "layer,expert", "1", "share of the expert's main class in its combine mass",
          COT_H5_FLOAT64, results->purity}},
        {classes,
         {"main_class", "layer,expert", "1", "class with the largest part of the combine mass",
          COT_H5_INT64, results->main_class}},
        {keeps,
         {"top_share", "layer,keep,expert", "1",
          "share of samples among whose K experts of largest combine mass the expert is",
          COT_H5_FLOAT64, results->top_share}},
        {keeps && classes && stats->options.share_by_class,
         {"top_share_by_class", "layer,keep,class,expert", "1",
          "share of the class's samples among whose K experts of largest combine mass it is",
          COT_H5_FLOAT64, results->top_share_by_class}},
        {all,
         {"combine_entropy", "layer", "nat", "entropy of a token's combine weights over the slots",
          COT_H5_FLOAT64, results->combine_entropy}},
        {all,
         {"dispatch_entropy", "layer,slot", "nat",
          "entropy of the slot's dispatch weights over the tokens", COT_H5_FLOAT64,
          results->dispatch_entropy}},
        {all,
         {"effective_tokens", "layer,slot", "1", "exponential of the slot's dispatch entropy",
          COT_H5_FLOAT64, results->effective_tokens}},
        {all,
         {"output_norm", "layer,expert", "1", "L2 norm of the expert's slot outputs",
          COT_H5_FLOAT64, results->output_norm}},
    };
    list_dimensions(stats, catalog);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (list[i].there) cot_catalog_add(catalog, &list[i].variable);
}
