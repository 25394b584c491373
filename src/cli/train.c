#include "cli/cli.h"
#include "cli/train_report.h"

#include <coterie/memory.h>
#include <coterie/recipe.h>
#include <coterie/train.h>

#include <stdlib.h>
#include <string.h>

/* What the options fill in. */
typedef struct input {
    cot_cli_input common; /* of a recipe */
    cot_train_options train;
    bool profiles, has_format;
} input;

enum { KEY_RESUME = COT_KEY_OWN, KEY_STEPS, KEY_INIT, KEY_PROFILE };

static const struct argp_option options[] = {
    {"set", COT_KEY_SET, "KEY=VALUE", 0, cot_help_set, 0},
    {"resume", KEY_RESUME, "auto|FILE", 0,
     "Go on from the newest good checkpoint of output.dir (a new run if there is none), or from "
     "FILE",
     0},
    {"steps", KEY_STEPS, "N", 0, "Stop after N steps of this call; 0 writes the initial state", 0},
    {"init", KEY_INIT, "FILE", 0, "Take the initial weights from a checkpoint, and nothing else",
     0},
    {"profile", KEY_PROFILE, NULL, 0,
     "Print in the end what a step cost, by phase, layer and rank, and write the course of the "
     "first 20 steps of this call to trace.json",
     0},
    {"format", COT_KEY_FORMAT, "text|json", 0, "How to print the profile", 0},
    {0}};

static cot_status parse_steps(const char *text, cot_train_options *train)
{
    size_t steps = 0;
    COT_TRY(cot_cli_parse_count("--steps", text, &steps));
    train->limits_steps = true;
    train->step_limit = steps;
    return COT_OK;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case KEY_RESUME:
        in->train.resume = argument;
        return 0;
    case KEY_INIT:
        in->train.init = argument;
        return 0;
    case KEY_STEPS:
        return cot_cli_argp_error(parse_steps(argument, &in->train));
    case KEY_PROFILE:
        in->profiles = true;
        return 0;
    default:
        if (key == COT_KEY_FORMAT) in->has_format = true;
        return cot_cli_parse_input(key, argument, &in->common);
    }
}

static const struct argp argp = {
    options,
    parse_option,
    "RECIPE",
    "Train a model as a recipe says, on all ranks together, into the recipe's output.dir."
    "\vThe folder gets recipe.yaml, metrics.jsonl, checkpoint-<step>.h5, latest.h5, best.h5, "
    "stats.h5, with --profile trace.json, and at the end report.html. "
    "SIGTERM and SIGUSR1 save a checkpoint and end with exit code 75 (mpirun passes SIGUSR1 on); "
    "run the same command with --resume auto to go on.\n\n"
    "  mpirun -n 2 coterie train jobs/recipes/quickstart.yaml\n"
    "  mpirun -n 4 coterie train jobs/recipes/mnist.yaml --resume auto",
    NULL,
    NULL,
    NULL};

/* Train, and print a profile if one is wanted; also of a call that was stopped. */
static cot_status train_recipe(const cot_comm *world, const cot_recipe *recipe, const input *in)
{
    cot_costs *profile = NULL;
    cot_train_options train = in->train;
    train.recipe_file = in->common.file;
    train.profile_out = in->profiles ? &profile : NULL;
    cot_status status = cot_train(world, recipe, &train);
    if (profile != NULL && world->rank == 0)
        cot_train_print_profile(profile, world->size, recipe->output.dir, in->common.json);
    cot_costs_destroy(&profile);
    return status;
}

static cot_status train(const cot_comm *world, const input *in)
{
    if (in->common.file == NULL)
        return cot_fail(COT_E_USAGE, "train: no recipe given; see 'coterie help train'");
    if (in->train.init != NULL && in->train.resume != NULL && strcmp(in->train.resume, "auto") != 0)
        return cot_fail(COT_E_USAGE,
                        "train: --init and --resume %s exclude each other: that file has weights",
                        in->train.resume);
    if (in->has_format && !in->profiles)
        return cot_fail(COT_E_USAGE, "train: --format is for --profile; nothing else is printed");
    cot_recipe *recipe = NULL;
    COT_TRY(cot_recipe_load(world, in->common.file, in->common.override_count, in->common.overrides,
                            &recipe));
    cot_status status = train_recipe(world, recipe, in);
    cot_recipe_destroy(&recipe);
    return status;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.common.overrides = cot_alloc((size_t)argc, sizeof(char *))};
    cot_status status = cot_cli_parse(&cot_command_train, argc, argv, &in);
    if (status == COT_OK) status = train(world, &in);
    cot_free(in.common.overrides);
    return status;
}

const cot_command cot_command_train = {"train", "train a model as a recipe says", &argp, run};
