/** How a study lies in memory, for the files that fill and read it. */
#ifndef COTERIE_SPECIAL_STUDY_SUMS_H
#define COTERIE_SPECIAL_STUDY_SUMS_H

#include "special/distinct.h"

#include <coterie/study.h>

/** What draws a curve: the orders, and two more. */
enum { STUDY_EXHAUSTIVE = COT_ORDERS, STUDY_MASS, STUDY_CURVES };

/** A point of a curve is a selector at one size (and seed) or share. What adds up there in doubles,
 * by grain, and in whole numbers. */
enum { SUM_LOSS, SUM_TARGET, SUM_TARGET_SQUARES, POINT_SUMS };
enum { COUNT_SAMPLES, COUNT_CORRECT, POINT_COUNTS };

/** Of each share M: experts kept, over the samples (and layers). */
enum { KEPT_SEEN, KEPT_SUM, KEPT_SQUARES, KEPT_COUNTS };

/** Of each size searched: samples that some subset predicts right; subsets of lower loss than
 * Algorithm 1's, summed over the samples. */
enum { SEARCH_ANY_RIGHT, SEARCH_LOWER, SEARCH_COUNTS };

/** Names and meanings in the file. */
typedef struct study_texts {
    char *metric, *metric_meaning;
    char *loss, *loss_meaning;
    char *distinct;
} study_texts;

typedef struct study_results {
    double *loss, *metric;     /**< [points] */
    double *random;            /**< [4,keeps]: mean and deviation of the metric, then of the loss */
    double *kept;              /**< [2,masses]: mean and deviation */
    double *any_right, *lower; /**< [keeps] */
    int64_t *searched;         /**< [keeps] */
    int64_t *distinct[STUDY_CURVES]; /**< [layers,keeps]; NULL where it is not counted */
    int64_t *keeps, *seeds;          /**< coordinates */
} study_results;

struct cot_study {
    cot_study_options options;
    size_t first[STUDY_CURVES]; /**< first point of each curve */
    size_t points;
    double *sums;                         /**< [grains,points,POINT_SUMS] */
    uint64_t *counts;                     /**< [points,POINT_COUNTS] */
    uint64_t *kept;                       /**< [masses,KEPT_COUNTS] */
    uint64_t *search;                     /**< [keeps,SEARCH_COUNTS] */
    cot_distinct *distinct[STUDY_CURVES]; /**< a list for each layer and size */
    cot_orderer *orderers[COT_ORDERS];    /**< NULL where one is not studied */
    cot_orderer **random;                 /**< [seeds] */
    size_t *order;                        /**< [E], of one sample; and so on */
    size_t *combine_order;                /**< [E] */
    double *mass;                         /**< [E] */
    size_t *mass_sizes;                   /**< [masses] */
    double *running;                      /**< [outputs] */
    cot_real *outputs;                    /**< [outputs] */
    double *prefix;                       /**< [E+1,outputs]: of a subset's first members */
    size_t *subset;                       /**< [E] */
    cot_subset_hash best;
    cot_real *best_outputs; /**< [outputs] */
    bool finished;
    study_texts texts[STUDY_CURVES];
    study_results results;
};

/** Loss of one sample's outputs. */
double cot_study_loss(const cot_study *study, const cot_real *outputs, const cot_target *target);

/** Whether they predict its class; false for regression. */
bool cot_study_right(const cot_study *study, const cot_real *outputs, const cot_target *target);

/** One more sample at a point. */
void cot_study_score(cot_study *study, size_t grain, size_t point, const cot_real *outputs,
                     const cot_target *target);

/** Whether all subsets of this size are few enough to look at. */
bool cot_study_searches(const cot_study *study, size_t keep_index);

/** All subsets of all sizes that are searched, of one sample; Algorithm 1's are the first of
 * combine_order. */
void cot_study_search(cot_study *study, size_t grain, const cot_sample_view *view);

/** What the results are called; at creation. And their release. */
void cot_study_take_results(cot_study *study);
void cot_study_free_results(cot_study *study);

#endif
