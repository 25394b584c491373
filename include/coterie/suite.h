/** A suite: one recipe trained with several numbers of experts and seeds, and each run studied.
 *
 * A member is an ordinary run folder `<output.dir>/e<E>-s<seed>`, the same as `coterie train` makes
 * of the same recipe, and a study of its last checkpoint, `study.h5`. docs/suites.md tells more. */
#ifndef COTERIE_SUITE_H
#define COTERIE_SUITE_H

#include <coterie/recipe.h>
#include <coterie/specialize.h>

typedef enum cot_member_state {
    COT_MEMBER_NOT_BEGUN,
    COT_MEMBER_TRAINING, /**< at `step` of `steps` */
    COT_MEMBER_TRAINED,  /**< to its end, but not studied */
    COT_MEMBER_DONE
} cot_member_state;

/** "not begun", "training", "trained", "done". */
const char *cot_member_state_name(cot_member_state state);

/** With how many experts kept a member's score is told: E, E/2, E/4 and E/8, rounded down. */
enum { COT_SUITE_SCORES = 4 };

typedef struct cot_suite_member {
    uint64_t experts, seed;
    cot_recipe *recipe;           /**< of this run alone */
    const char *dir;              /**< its output.dir */
    cot_specialize_options study; /**< what is asked for, as far as it is possible here */
    cot_member_state state;
    uint64_t step;  /**< of its last checkpoint */
    uint64_t steps; /**< of the whole run */
    /** Accuracy, or relative error of a regression, with the experts that Algorithm 1 keeps, from
     * the study of a member that is done; NaN where there is none. */
    double scores[COT_SUITE_SCORES];
} cot_suite_member;

/** All combinations of suite.experts and suite.seeds: the first seed with every number of experts,
 * then the next seed. So further seeds leave the numbers of the members as they are. */
typedef struct cot_suite {
    const cot_recipe *recipe;
    size_t count;
    cot_suite_member *members;
} cot_suite;

/** Make the members of a recipe, which outlives them, and look at how far each is. Creates nothing
 * on the disk. What `study` asks for serves members with few and with many experts: subset sizes
 * above a member's number of experts are left out for it, and so is the exhaustive search where
 * there are too many subsets. Its overrides, report and context are not looked at. Collective over
 * the world.
 * Errors, on every rank alike: COT_E_CONFIG for a recipe without a suite, with a member that no
 * recipe could be, or without the split that is studied; COT_E_USAGE for a study that the model
 * does not allow; those of cot_dataset_create. */
COT_MUST_CHECK cot_status cot_suite_create(const cot_comm *world, const cot_recipe *recipe,
                                           const cot_specialize_options *study,
                                           cot_suite **suite_out);
void cot_suite_destroy(cot_suite **suite);

/** Look again at how far each member is. Collective over the world. */
void cot_suite_look(const cot_comm *world, cot_suite *suite);

/** Train and study what is not done yet of the members [first, first + count), in their order, and
 * make the report when all members of the suite are done. A member whose numbers break down is left
 * behind, and the others go on. Collective over the world.
 * Errors, on every rank alike: COT_E_STOPPED after SIGTERM or SIGUSR1, with a checkpoint saved;
 * COT_E_INTERNAL when some member's numbers broke down; those of cot_train and cot_specialize. */
COT_MUST_CHECK cot_status cot_suite_run(const cot_comm *world, cot_suite *suite, size_t first,
                                        size_t count);

#endif
