/** How the statistics of routing lie in memory, for the two files that fill and read them. */
#ifndef COTERIE_SPECIAL_ROUTING_SUMS_H
#define COTERIE_SPECIAL_ROUTING_SUMS_H

#include <coterie/routing_stats.h>

/** Where each part of one layer's sums begins, in doubles. The last three are empty with
 * masses_only. */
typedef struct routing_layout {
    size_t mass; /**< [classes,E], by class of the sample */
    size_t combine_entropy;
    size_t dispatch_entropy, effective_tokens; /**< [S] */
    size_t output_norm;                        /**< [E] */
    size_t size;
} routing_layout;

/** What the file gets, by layer; class arrays are empty for regression. */
typedef struct routing_results {
    int64_t *class_samples;                      /**< [classes] */
    double *mass, *mass_by_class;                /**< [L,E], [L,classes,E] */
    double *information, *information_by_expert; /**< [L], [L,E] */
    double *purity;                              /**< [L,E] */
    int64_t *main_class;                         /**< [L,E] */
    double *top_share, *top_share_by_class;      /**< [L,keeps,E], [L,keeps,classes,E] */
    double *combine_entropy;                     /**< [L] */
    double *dispatch_entropy, *effective_tokens; /**< [L,S] */
    double *output_norm;                         /**< [L,E] */
    int64_t *keeps;                              /**< [keeps], coordinates */
} routing_results;

struct cot_routing_stats {
    cot_routing_stats_options options;
    size_t slots;  /**< S */
    size_t groups; /**< classes, or 1 for regression: what masses are told apart by */
    routing_layout layout;
    double *sums;      /**< [grains,L,layout.size] */
    size_t sum_count;  /**< L layout.size */
    uint64_t *samples; /**< [L,groups] */
    /** [L,groups,keeps,E]: samples that have the expert in the top K of this size, and of none
     * smaller. */
    uint64_t *entered;
    size_t *keep_of_place; /**< [E]: the smallest size that reaches the place; keeps->count: none */
    double *mass;          /**< [E], of one sample; and so on */
    size_t *order;         /**< [E] */
    cot_real *terms;       /**< [S] */
    double *entropy;       /**< [S] */
    bool finished;
    routing_results results;
};

/** Sizes ascend, each from 1 to E. */
void cot_keeps_check(const cot_keeps *keeps, size_t experts);

/** Work out the results from sums over all ranks. */
void cot_routing_results(cot_routing_stats *stats);

#endif
