/** The specialization study of a checkpoint: from a model and a data split to a statistics file.
 *
 * docs/specialization.md says what to look at in it, docs/statistics.md what every variable is. */
#ifndef COTERIE_SPECIALIZE_H
#define COTERIE_SPECIALIZE_H

#include <coterie/experiment.h>
#include <coterie/expert_order.h>
#include <coterie/variable.h>

/** Which subset sizes K; E, for all experts, always belongs to them. */
typedef enum cot_keep_choice {
    COT_KEEP_POWERS, /**< the powers of two up to E, and E/8, E/4, E/2 */
    COT_KEEP_SWEEP,  /**< every K from 1 to E */
    COT_KEEP_LIST    /**< those named */
} cot_keep_choice;

/** Whether all subsets of a size are searched. */
typedef enum cot_exhaustive_choice {
    COT_EXHAUSTIVE_NOT,
    COT_EXHAUSTIVE_WHERE_FEW, /**< only of sizes with at most subset_limit subsets */
    COT_EXHAUSTIVE            /**< of every size; one with more is an error */
} cot_exhaustive_choice;

typedef struct cot_specialize_options {
    size_t override_count; /**< of the checkpoint's recipe */
    const cot_override *overrides;
    cot_split split;
    bool orders[COT_ORDERS];
    bool orders_where_possible; /**< leave out what a model of several layers does not allow */
    cot_exhaustive_choice exhaustive;
    size_t subset_limit;
    size_t seeds; /**< of COT_ORDER_RANDOM: first_seed, first_seed + 1, ... */
    uint64_t first_seed;
    size_t mass_count; /**< shares M of the selector `mass`; 0: it is not studied */
    const double *masses;
    cot_keep_choice keep;
    size_t keep_count; /**< with COT_KEEP_LIST; in any order */
    const size_t *keeps;
    bool samples;         /**< also a row for every sample */
    size_t timed_batches; /**< measured for each K; 0: time is not measured */
    bool quiet;           /**< no progress on standard error */
    /** Told of the results, on every rank, when the file is complete; NULL: nobody is. */
    void (*report)(void *context, const cot_experiment *experiment, const cot_catalog *catalog);
    void *context;
} cot_specialize_options;

/** What `coterie specialize` does when told nothing else: selectors combine, random (10 seeds),
 * common and mass (0.5, 0.75, 0.9, 0.95, 0.99), powers of two, the test split. */
cot_specialize_options cot_specialize_defaults(void);

/** Study `checkpoint` and write `output`. Collective over the world.
 * Errors, on every rank alike: COT_E_USAGE for a K above E, too many subsets, or an order that
 * needs a model of one layer; COT_E_CREATE, COT_E_IO for the file, an existing one stays as it was;
 * those of cot_trained_load and cot_evaluate. */
COT_MUST_CHECK cot_status cot_specialize(const cot_comm *world, const char *checkpoint,
                                         const char *output, const cot_specialize_options *options);

#endif
