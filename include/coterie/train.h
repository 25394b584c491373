/** Training: from a recipe to a run folder. */
#ifndef COTERIE_TRAIN_H
#define COTERIE_TRAIN_H

#include <coterie/costs.h>
#include <coterie/recipe.h>

/** What the command line adds to a recipe. */
typedef struct cot_train_options {
    /** NULL: a new run; "auto": from the newest good checkpoint, or afresh; else a checkpoint. */
    const char *resume;
    /** Take the weights of this checkpoint, and nothing else; NULL: draw them. */
    const char *init;
    /** The file that the recipe was read from: a run that starts afresh does not write its own over
     * it. NULL: none. */
    const char *recipe_file;
    bool limits_steps;   /**< stop after so many steps of this call */
    uint64_t step_limit; /**< 0: write the initial state and stop */
    /** Where the costs of the call go, the caller's to destroy, and trace.json with its first steps
     * into the folder; NULL: neither. They come also when the call is stopped, not when it fails.
     */
    cot_costs **profile_out;
} cot_train_options;

/** Train as the recipe says into its output.dir. Collective over the world.
 * Errors, on every rank alike: COT_E_CREATE for a folder that cannot be written, is in use, or
 * holds checkpoints without `resume`; COT_E_INTERNAL for NaN or Inf; COT_E_STOPPED after SIGTERM or
 * SIGUSR1, with a checkpoint saved; those of cot_experiment_create and of checkpoints. */
COT_MUST_CHECK cot_status cot_train(const cot_comm *world, const cot_recipe *recipe,
                                    const cot_train_options *options);

#endif
