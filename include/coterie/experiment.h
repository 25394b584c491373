/** Everything that a recipe asks for, made on these ranks: data set, parameters, model, and the
 * batch at hand. */
#ifndef COTERIE_EXPERIMENT_H
#define COTERIE_EXPERIMENT_H

#include <coterie/comm.h>
#include <coterie/ordered_sum.h>
#include <coterie/recipe.h>
#include <coterie/sampler.h>

/** What a batch adds up to, over its samples. All are sums of doubles in one order: over the
 * samples of a grain, then over grains by a binary tree. */
enum {
    COT_SCORE_LOSS,           /**< losses */
    COT_SCORE_CORRECT,        /**< samples whose largest output is their label's */
    COT_SCORE_TARGET,         /**< regression: target values */
    COT_SCORE_TARGET_SQUARES, /**< regression: their squares */
    COT_SCORE_STOP,           /**< ranks that were asked to stop */
    COT_SCORES
};

/** The samples [first, first + samples) of a step's batch, in the data set's order or in a
 * sampler's. */
typedef struct cot_batch {
    cot_split split;
    uint64_t epoch;
    size_t samples;           /**< over all ranks */
    size_t first;             /**< place of the first one in the step's batch, or in the split */
    const cot_sampler *order; /**< NULL: place is data set index */
    size_t order_batch;       /**< the sampler's batch */
    bool training;            /**< a backward pass follows */
    size_t part, parts;       /**< as in cot_pass */
    cot_real *slot_norms;     /**< as in cot_pass */
} cot_batch;

typedef struct cot_experiment {
    const cot_recipe *recipe;
    cot_comm *comm;
    cot_dataset *dataset;
    cot_params *params;
    cot_model *model;
    size_t outputs; /**< classes, or 1 for regression */
    cot_batching batching;
    size_t parts;        /**< that a training batch is computed in, one after the other */
    char why[96];        /**< why this exchange plan */
    cot_target *targets; /**< [b]: of this rank's samples at hand */
    cot_real *doutputs;  /**< [b,outputs] */
    double *scores;      /**< [grains here, COT_SCORES] */
    cot_ordered_sum *sums;
    cot_ledger *ledger; /**< where passes note their time; NULL: nowhere */
    bool is_sketch;
} cot_experiment;

/** Make it, with the parameters at their initial values. `recipe` outlives it. Collective over the
 * world.
 * Errors, on every rank alike: those of cot_dataset_create and cot_model_create; COT_E_CONFIG when
 * ranks differ in build, BLAS kernels or data, or expert replicas do not divide the ranks. */
COT_MUST_CHECK cot_status cot_experiment_create(const cot_comm *world, const cot_recipe *recipe,
                                                cot_experiment **experiment_out);

/** Where in which run a rank is that is only thought of (cot_comm_sketch). */
typedef struct cot_sketch_place {
    int ranks, rank, nodes;
} cot_sketch_place;

/** What cot_experiment_create would make on that rank, to be looked at alone: nothing is
 * initialized, no pass can be run. `dataset` stays the caller's and outlives it. Not collective.
 * Errors: those of cot_comm_sketch and cot_model_create. */
COT_MUST_CHECK cot_status cot_experiment_sketch(const cot_recipe *recipe, cot_dataset *dataset,
                                                const cot_sketch_place *place,
                                                cot_experiment **experiment_out);

void cot_experiment_destroy(cot_experiment **experiment);

/** Load this rank's samples of a batch and run the model. Returns their outputs [b,outputs].
 * Collective. */
const cot_real *cot_experiment_forward(cot_experiment *experiment, const cot_batch *batch,
                                       const cot_noise *noise, cot_selector *selector);

/** Score the outputs of the batch at hand; sums [COT_SCORES] are this rank's part, for
 * cot_ordered_sum_doubles. With gradient_scale not 0, experiment->doutputs becomes the gradient of
 * the sum of losses times gradient_scale. Not collective. */
void cot_experiment_score(cot_experiment *experiment, const cot_batch *batch,
                          const cot_real *outputs, double gradient_scale, double sums[COT_SCORES]);

/** The exchange plan of training passes, "slots" or "tokens"; evaluation passes go by slots. */
const char *cot_experiment_exchange(const cot_experiment *experiment);

/** Whether the data set is one for classification. */
bool cot_experiment_classifies(const cot_experiment *experiment);

#endif
