/* coterie plan: what a run would take, before it is queued. */
#include "cli/cli.h"
#include "cli/plan_report.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <unistd.h>

/* What the options fill in. */
typedef struct input {
    cot_cli_input common; /* of a recipe */
    const char *machine;
    size_t ranks, nodes;
} input;

enum { KEY_RANKS = COT_KEY_OWN, KEY_NODES, KEY_MACHINE };

static const struct argp_option options[] = {
    {"ranks", KEY_RANKS, "R", 0, "Ranks of the run; there need not be as many here", 0},
    {"nodes", KEY_NODES, "N", 0, "Nodes that they share evenly (default: 1)", 0},
    {"set", COT_KEY_SET, "KEY=VALUE", 0, cot_help_set, 0},
    {"machine", KEY_MACHINE, "FILE", 0,
     "Machine profile, by 'coterie bench machine' (default: machine.json, if it is there)", 0},
    {"format", COT_KEY_FORMAT, "text|json", 0, cot_help_format, 0},
    {0}};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case KEY_RANKS:
        return cot_cli_argp_error(cot_cli_parse_count("--ranks", argument, &in->ranks));
    case KEY_NODES:
        return cot_cli_argp_error(cot_cli_parse_count("--nodes", argument, &in->nodes));
    case KEY_MACHINE:
        in->machine = argument;
        return 0;
    default:
        return cot_cli_parse_input(key, argument, &in->common);
    }
}

static const struct argp argp = {
    options,
    parse_option,
    "RECIPE --ranks R",
    "Tell what a run would take: memory of a rank, bytes and time of a step, and the settings that "
    "suit it best."
    "\vRuns alone, as one process. Memory is counted, not estimated; times come from a machine "
    "profile and are those of steps, without evaluations and checkpoints. Without a profile there "
    "are no times.\n\n"
    "  mpirun -n 2 coterie bench machine\n"
    "  coterie plan jobs/recipes/mnist.yaml --ranks 2\n"
    "  coterie plan jobs/recipes/mnist.yaml --ranks 64 --nodes 4 --format json",
    NULL,
    NULL,
    NULL};

static cot_status check(const cot_comm *world, const input *in)
{
    const size_t most = 1000000;
    if (world->size > 1)
        return cot_fail(COT_E_USAGE, "plan: runs alone; --ranks says how many ranks to plan for");
    if (in->common.file == NULL || in->ranks == 0)
        return cot_fail(COT_E_USAGE, "plan: give a recipe and --ranks R; see 'coterie help plan'");
    if (in->ranks > most)
        return cot_fail(COT_E_USAGE, "--ranks: %zu is above %zu", in->ranks, most);
    if (in->nodes == 0 || in->ranks % in->nodes != 0)
        return cot_fail(COT_E_USAGE, "--nodes: %zu ranks are not as many on each of %zu nodes",
                        in->ranks, in->nodes);
    return COT_OK;
}

/* The profile asked for, or the one that lies here; whether there is any. */
static cot_status find_machine(const input *in, cot_machine *machine_out, bool *found_out)
{
    *found_out = in->machine != NULL || access(COT_MACHINE_FILE, F_OK) == 0;
    if (!*found_out) return COT_OK;
    return cot_machine_read(in->machine != NULL ? in->machine : COT_MACHINE_FILE, machine_out);
}

static cot_status plan(const input *in, const cot_recipe *recipe)
{
    cot_machine machine = {0};
    bool found = false;
    cot_choice choice;
    COT_TRY(find_machine(in, &machine, &found));
    cot_site site = {(int)in->ranks, (int)in->nodes, found ? &machine : NULL};
    cot_status status = cot_forecast_run(recipe, &site, &choice);
    if (status == COT_OK) cot_plan_print(in->common.file, in->common.json, recipe, &site, &choice);
    cot_machine_free(&machine);
    return status;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    cot_recipe *recipe = NULL;
    input in = {.common.overrides = cot_alloc((size_t)argc, sizeof(char *)), .nodes = 1};
    cot_status status = cot_cli_parse(&cot_command_plan, argc, argv, &in);
    if (status == COT_OK) status = check(world, &in);
    if (status == COT_OK)
        status = cot_recipe_load(world, in.common.file, in.common.override_count,
                                 in.common.overrides, &recipe);
    if (status == COT_OK) status = plan(&in, recipe);
    cot_recipe_destroy(&recipe);
    cot_free(in.common.overrides);
    return status;
}

const cot_command cot_command_plan = {
    "plan", "memory, messages and time of a run, before it is queued", &argp, run};
