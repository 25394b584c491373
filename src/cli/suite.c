#include "cli/cli.h"
#include "cli/study_options.h"

#include <coterie/memory.h>
#include <coterie/suite.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What the options fill in. */
typedef struct input {
    cot_cli_input common; /* of a recipe */
    bool list, one;
    size_t member; /* with `one` */
    cot_study_input study;
} input;

enum { KEY_MEMBER = COT_KEY_OWN, KEY_LIST };

static const struct argp_option options[] = {
    {"set", COT_KEY_SET, "KEY=VALUE", 0, cot_help_set, 0},
    {"list", KEY_LIST, NULL, 0, "Only list the members, and how far each one is", 0},
    {"member", KEY_MEMBER, "I", 0, "Only this member, by the number that --list shows", 0},
    {"format", COT_KEY_FORMAT, "text|json", 0, "How to print the list of members (default: text)",
     0},
    {0}};

static error_t parse_member(const char *text, input *in)
{
    in->one = true;
    return cot_cli_argp_error(cot_cli_parse_count("--member", text, &in->member));
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &in->study;
        return 0;
    case KEY_LIST:
        in->list = true;
        return 0;
    case KEY_MEMBER:
        return parse_member(argument, in);
    default:
        return cot_cli_parse_input(key, argument, &in->common);
    }
}

static const struct argp_child children[] = {
    {&cot_study_argp, 0, "What each study holds, as in 'coterie specialize':", 1}, {0}};

static const struct argp argp = {
    options,
    parse_option,
    "RECIPE",
    "Train one recipe with several numbers of experts and seeds, study how the experts of each "
    "specialize, and make one report of all."
    "\vThe recipe's suite.experts and suite.seeds say which. Each member is a run folder of its "
    "own, <output.dir>/e<experts>-s<seed>, with its study in study.h5. SIGTERM and SIGUSR1 save a "
    "checkpoint and end with exit code 75; the same command goes on, and does nothing twice.\n\n"
    "  mpirun -n 2 coterie suite jobs/recipes/quickstart-suite.yaml\n"
    "  coterie suite jobs/recipes/quickstart-suite.yaml --list",
    children,
    NULL,
    NULL};

/* ---- the list ---- */

static json_t *json_of_seed(uint64_t seed)
{
    char text[24];
    if (seed <= INT64_MAX) return json_integer((json_int_t)seed);
    snprintf(text, sizeof text, "%" PRIu64, seed); /* JSON's integers are signed here */
    return json_string(text);
}

static const char *score_name(const cot_suite *suite)
{
    return suite->recipe->data.source == COT_DATA_L2NORM ? "relative_error" : "accuracy";
}

static json_t *json_of_scores(const cot_suite *suite, const cot_suite_member *member)
{
    json_t *scores = json_array();
    for (size_t i = 0; i < COT_SUITE_SCORES; i++)
        if (isfinite(member->scores[i]))
            json_array_append_new(scores, json_pack("{s:I, s:f}", "kept",
                                                    (json_int_t)(member->experts >> i),
                                                    score_name(suite), member->scores[i]));
    return scores;
}

static void print_json(const cot_suite *suite)
{
    json_t *members = json_array();
    size_t done = 0;
    for (size_t i = 0; i < suite->count; i++) {
        const cot_suite_member *member = &suite->members[i];
        done += member->state == COT_MEMBER_DONE;
        json_array_append_new(
            members,
            json_pack("{s:I, s:I, s:o, s:s, s:I, s:I, s:s, s:o}", "member", (json_int_t)i,
                      "experts", (json_int_t)member->experts, "seed", json_of_seed(member->seed),
                      "state", cot_member_state_name(member->state), "step",
                      (json_int_t)member->step, "steps", (json_int_t)member->steps, "folder",
                      member->dir, "results", json_of_scores(suite, member)));
    }
    cot_cli_print_json(json_pack("{s:s, s:I, s:o}", "folder", suite->recipe->output.dir, "done",
                                 (json_int_t)done, "members", members));
}

static void print_score(const cot_suite *suite, double score)
{
    const double percent = 100;
    if (!isfinite(score))
        printf(" %8s", "-");
    else if (suite->recipe->data.source == COT_DATA_L2NORM)
        printf(" %8.4f", score);
    else
        printf(" %7.2f%%", percent * score);
}

static void print_text(const cot_suite *suite)
{
    printf("%43s%s of Algorithm 1 with K experts\n", "",
           suite->recipe->data.source == COT_DATA_L2NORM ? "relative error" : "accuracy");
    printf("member experts seed state              step     K=E    K=E/2    K=E/4    K=E/8\n");
    for (size_t i = 0; i < suite->count; i++) {
        const cot_suite_member *member = &suite->members[i];
        char step[48];
        snprintf(step, sizeof step, "%" PRIu64 "/%" PRIu64, member->step, member->steps);
        printf("%6zu %7" PRIu64 " %4" PRIu64 " %-9s %13s", i, member->experts, member->seed,
               cot_member_state_name(member->state), step);
        for (size_t k = 0; k < COT_SUITE_SCORES; k++) print_score(suite, member->scores[k]);
        printf("\n");
    }
    printf("in %s/e<experts>-s<seed>\n", suite->recipe->output.dir);
    fflush(stdout);
}

/* ---- the work ---- */

static cot_status check_member(const input *in, const cot_suite *suite)
{
    if (!in->one || in->member < suite->count) return COT_OK;
    return cot_fail(COT_E_USAGE,
                    "--member: the members are 0 to %zu; 'coterie suite %s --list' shows them",
                    suite->count - 1, in->common.file);
}

static cot_status run_suite(const cot_comm *world, const input *in, cot_suite *suite)
{
    cot_status status = COT_OK;
    COT_TRY(check_member(in, suite));
    if (!in->list)
        status = in->one ? cot_suite_run(world, suite, in->member, 1)
                         : cot_suite_run(world, suite, 0, suite->count);
    if (world->rank == 0) (in->common.json ? print_json : print_text)(suite);
    return status;
}

static cot_status suite_command(const cot_comm *world, input *in)
{
    if (in->common.file == NULL)
        return cot_fail(COT_E_USAGE, "suite: no recipe given; see 'coterie help suite'");
    if (in->list && in->one)
        return cot_fail(COT_E_USAGE, "suite: --list shows all members; leave out --member");
    COT_TRY(cot_study_input_check("suite", &in->study));
    cot_recipe *recipe = NULL;
    cot_suite *suite = NULL;
    COT_TRY(cot_recipe_load(world, in->common.file, in->common.override_count, in->common.overrides,
                            &recipe));
    cot_status status = cot_suite_create(world, recipe, &in->study.study, &suite);
    if (status == COT_OK) status = run_suite(world, in, suite);
    cot_suite_destroy(&suite);
    cot_recipe_destroy(&recipe);
    return status;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.common.overrides = cot_alloc((size_t)argc, sizeof(char *))};
    cot_study_input_begin(&in.study);
    cot_status status = cot_cli_parse(&cot_command_suite, argc, argv, &in);
    if (status == COT_OK) status = suite_command(world, &in);
    cot_study_input_end(&in.study);
    cot_free(in.common.overrides);
    return status;
}

const cot_command cot_command_suite = {
    "suite", "train and study a recipe with several numbers of experts", &argp, run};
