/* What the members of a suite are, and how far each one is. */
#include "run/suite_member.h"

#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>
#include <coterie/sampler.h>

#include <inttypes.h>
#include <math.h>

const char *cot_member_state_name(cot_member_state state)
{
    static const char *const names[] = {"not begun", "training", "trained", "done"};
    return names[state];
}

char *suite_member_file(const cot_suite_member *member, const char *name)
{
    return cot_strprintf("%s/%s", member->dir, name);
}

/* ---- what the members are ---- */

/* The recipe of one run: the suite's, as it was resolved, with what is the member's own. Without
 * its lists it is what one would write for that run alone; the page is made for all together. */
static cot_status parse_member(const cot_recipe *suite, const char *text, cot_suite_member *member)
{
    char *experts = cot_strprintf("model.experts=%" PRIu64, member->experts);
    char *seed = cot_strprintf("seed=%" PRIu64, member->seed);
    char *dir = cot_strprintf("output.dir=%s/e%" PRIu64 "-s%" PRIu64, suite->output.dir,
                              member->experts, member->seed);
    const cot_override own[] = {
        experts, seed, dir, "suite.experts=[]", "suite.seeds=[]", "output.report=false"};
    cot_status status =
        cot_recipe_parse(text, "the suite", sizeof own / sizeof own[0], own, &member->recipe);
    if (status == COT_OK) member->dir = member->recipe->output.dir;
    cot_free(dir);
    cot_free(seed);
    cot_free(experts);
    return status;
}

static cot_status make_members(cot_suite *suite)
{
    const cot_recipe *recipe = suite->recipe;
    uint64_t own_experts = recipe->model.experts;
    cot_counts experts = recipe->suite.experts;
    cot_counts seeds = recipe->suite.seeds;
    if (experts.count == 0 && seeds.count == 0)
        return cot_fail(COT_E_CONFIG, "suite.experts: is empty; name the numbers of experts to "
                                      "train with, as in --set suite.experts=2,4,8");
    if (experts.count == 0) experts = (cot_counts){.count = 1, .values = &own_experts};
    if (seeds.count == 0) seeds = (cot_counts){.count = 1, .values = (uint64_t *)&recipe->seed};
    char *text = cot_recipe_print(recipe, false);
    cot_status status = COT_OK;
    suite->count = seeds.count * experts.count;
    suite->members = cot_alloc(suite->count, sizeof *suite->members);
    for (size_t i = 0; i < suite->count && status == COT_OK; i++) {
        suite->members[i].seed = seeds.values[i / experts.count];
        suite->members[i].experts = experts.values[i % experts.count];
        status = parse_member(recipe, text, &suite->members[i]);
    }
    cot_free(text);
    return status;
}

/* The steps of a run, the same for every member: experts and seed change neither the number of
 * samples nor of batches. The data must have what will be studied. */
static cot_status look_at_data(const cot_recipe *recipe, cot_split studied, uint64_t *steps_out)
{
    cot_dataset *dataset = NULL;
    COT_TRY(cot_dataset_create(&recipe->data, &dataset));
    const cot_dataset_info *info = cot_dataset_info_of(dataset);
    cot_sampler *sampler = cot_sampler_create(info->samples[COT_SPLIT_TRAIN], recipe->train.batch,
                                              false, recipe->train.drop_last, recipe->seed);
    *steps_out = recipe->train.steps > 0 ? recipe->train.steps
                                         : recipe->train.epochs * cot_sampler_batches(sampler);
    cot_status status = cot_dataset_check_split(info, studied);
    cot_sampler_destroy(&sampler);
    cot_dataset_destroy(&dataset);
    return status;
}

/* Rank 0 looks for all: a data set can be large. */
static cot_status find_steps(const cot_comm *world, cot_suite *suite, cot_split studied)
{
    uint64_t steps = 0;
    COT_TRY(cot_comm_agree(world, world->rank == 0 ? look_at_data(suite->recipe, studied, &steps)
                                                   : COT_OK));
    COT_MPI(MPI_Bcast(&steps, 1, MPI_UINT64_T, 0, world->world));
    for (size_t i = 0; i < suite->count; i++) suite->members[i].steps = steps;
    return COT_OK;
}

static cot_status plan_studies(cot_suite *suite, const cot_specialize_options *study)
{
    for (size_t i = 0; i < suite->count; i++) COT_TRY(suite_study_plan(&suite->members[i], study));
    return COT_OK;
}

cot_status cot_suite_create(const cot_comm *world, const cot_recipe *recipe,
                            const cot_specialize_options *study, cot_suite **suite_out)
{
    cot_suite *suite = cot_alloc(1, sizeof *suite);
    suite->recipe = recipe;
    cot_status status = cot_comm_agree(world, make_members(suite));
    if (status == COT_OK) status = cot_comm_agree(world, plan_studies(suite, study));
    if (status == COT_OK) status = find_steps(world, suite, study->split);
    if (status == COT_OK) {
        cot_suite_look(world, suite);
        *suite_out = suite;
    } else {
        cot_suite_destroy(&suite);
    }
    return status;
}

void cot_suite_destroy(cot_suite **suite)
{
    if (*suite == NULL) return;
    for (size_t i = 0; i < (*suite)->count; i++) {
        suite_study_plan_free(&(*suite)->members[i]);
        cot_recipe_destroy(&(*suite)->members[i].recipe);
    }
    cot_free((*suite)->members);
    cot_free(*suite);
    *suite = NULL;
}

/* ---- how far they are ---- */

static void look_at(cot_suite_member *member)
{
    size_t count = 0;
    uint64_t *steps = NULL;
    for (size_t i = 0; i < COT_SUITE_SCORES; i++) member->scores[i] = NAN;
    if (cot_run_folder_steps(member->dir, &steps, &count) != COT_OK)
        cot_failure_clear(); /* training it will say so */
    member->step = count > 0 ? steps[0] : 0;
    cot_free(steps);
    if (count == 0)
        member->state = COT_MEMBER_NOT_BEGUN;
    else if (member->step < member->steps)
        member->state = COT_MEMBER_TRAINING;
    else if (suite_study_is_current(member))
        member->state = COT_MEMBER_DONE;
    else
        member->state = COT_MEMBER_TRAINED;
}

void cot_suite_look(const cot_comm *world, cot_suite *suite)
{
    for (size_t i = 0; i < suite->count; i++) {
        cot_suite_member *member = &suite->members[i];
        if (world->rank == 0) look_at(member);
        uint64_t found[] = {member->state, member->step};
        COT_MPI(MPI_Bcast(found, 2, MPI_UINT64_T, 0, world->world));
        member->state = (cot_member_state)found[0];
        member->step = found[1];
        COT_MPI(MPI_Bcast(member->scores, COT_SUITE_SCORES, MPI_DOUBLE, 0, world->world));
    }
}
