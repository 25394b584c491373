/* coterie bench: how fast a recipe's training step, exchange or checkpoints are here, or the
 * machine itself. */
#include "cli/bench_report.h"
#include "cli/cli.h"

#include <coterie/blas.h>
#include <coterie/machine.h>
#include <coterie/memory.h>

#include <string.h>

typedef enum benchmark {
    BENCH_STEP,
    BENCH_EXCHANGE,
    BENCH_CHECKPOINT,
    BENCH_MACHINE,
    BENCHMARKS
} benchmark;

static const char *const names[BENCHMARKS] = {"step", "exchange", "checkpoint", "machine"};

/* What the options fill in. */
typedef struct input {
    cot_cli_input common; /* of a recipe */
    bool has_benchmark;
    benchmark what;
    const char *output;
    double seconds;
} input;

enum { KEY_SECONDS = COT_KEY_OWN, KEY_OUTPUT };

static const struct argp_option options[] = {
    {"set", COT_KEY_SET, "KEY=VALUE", 0, cot_help_set, 0},
    {"seconds", KEY_SECONDS, "S", 0, "Measure for about so long (default: 5)", 0},
    {"output", KEY_OUTPUT, "FILE", 0, "machine: where the profile goes (default: machine.json)", 0},
    {"format", COT_KEY_FORMAT, "text|json", 0, cot_help_format, 0},
    {0}};

static cot_status parse_seconds(const char *text, double *seconds_out)
{
    const double most = 86400;
    COT_TRY(cot_cli_parse_number("--seconds", text, seconds_out));
    return *seconds_out > 0 && *seconds_out <= most
               ? COT_OK
               : cot_fail(COT_E_USAGE, "--seconds: '%s' is not above 0 and at most a day", text);
}

static cot_status add_word(input *in, const char *word)
{
    if (in->has_benchmark && in->common.file != NULL)
        return cot_fail(COT_E_USAGE, "bench: unexpected '%s'; see 'coterie help bench'", word);
    if (in->has_benchmark) {
        in->common.file = word;
        return COT_OK;
    }
    in->has_benchmark = true;
    for (int i = 0; i < BENCHMARKS; i++) {
        in->what = (benchmark)i;
        if (strcmp(word, names[i]) == 0) return COT_OK;
    }
    return cot_fail(COT_E_USAGE, "bench: '%s' is none of step, exchange, checkpoint and machine",
                    word);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case KEY_OUTPUT:
        in->output = argument;
        return 0;
    case KEY_SECONDS:
        return cot_cli_argp_error(parse_seconds(argument, &in->seconds));
    case ARGP_KEY_ARG:
        return cot_cli_argp_error(add_word(in, argument));
    default:
        return cot_cli_parse_input(key, argument, &in->common);
    }
}

static const struct argp argp = {
    options,
    parse_option,
    "step|exchange|checkpoint RECIPE\nmachine",
    "Measure a recipe on the ranks at hand, beside what the machine does at best in the same run."
    "\vstep: training steps by phase, and the share of the matrix-product peak that is useful "
    "arithmetic. exchange: slots to their experts and back, from 64 KiB to 16 MiB a pair of ranks, "
    "against two MPI_Alltoall. checkpoint: against a plain collective write. No run folder is "
    "touched. machine: the profile that 'coterie plan' predicts by, measured with as many ranks on "
    "a node as runs will have; without a recipe.\n\n"
    "  mpirun -n 2 coterie bench step jobs/recipes/mnist.yaml\n"
    "  mpirun -n 2 coterie bench exchange jobs/recipes/mnist.yaml --format json\n"
    "  mpirun -n 4 coterie bench checkpoint jobs/recipes/mnist.yaml --seconds 20\n"
    "  mpirun -n 2 coterie bench machine --output machine.json",
    NULL,
    NULL,
    NULL};

/* ---- the work ---- */

static cot_status measure(const cot_comm *world, const input *in, const cot_recipe *recipe)
{
    const cot_bench_head head = {in->common.file, world->size, in->common.json};
    const bool prints = world->rank == 0;
    cot_step_bench step;
    cot_exchange_time times[COT_BENCH_SIZES];
    cot_checkpoint_bench checkpoint;
    switch (in->what) {
    case BENCH_STEP:
        COT_TRY(cot_bench_step(world, recipe, in->seconds, &step));
        if (prints) cot_bench_print_step(&head, &step);
        return COT_OK;
    case BENCH_EXCHANGE:
        COT_TRY(cot_bench_exchange(world, recipe, in->seconds, times));
        if (prints) cot_bench_print_exchange(&head, times);
        return COT_OK;
    default:
        COT_TRY(cot_bench_checkpoint(world, recipe, in->seconds, &checkpoint));
        if (prints) cot_bench_print_checkpoint(&head, &checkpoint);
        return COT_OK;
    }
}

static cot_status measure_machine(const cot_comm *world, const input *in)
{
    const char *path = in->output != NULL ? in->output : COT_MACHINE_FILE;
    cot_machine machine;
    if (in->common.file != NULL || in->common.override_count > 0)
        return cot_fail(COT_E_USAGE, "bench machine: takes neither a recipe nor --set");
    cot_blas_set_threads(1);
    cot_machine_measure(world, in->seconds, &machine);
    cot_status status = COT_OK;
    if (world->rank == 0) status = cot_machine_write(path, &machine);
    status = cot_comm_agree(world, status);
    if (status == COT_OK && world->rank == 0)
        cot_bench_print_machine(path, in->common.json, &machine);
    cot_machine_free(&machine);
    return status;
}

static cot_status bench(const cot_comm *world, const input *in)
{
    cot_recipe *recipe = NULL;
    if (in->has_benchmark && in->what == BENCH_MACHINE) return measure_machine(world, in);
    if (in->output != NULL) return cot_fail(COT_E_USAGE, "--output is for 'bench machine' only");
    if (!in->has_benchmark || in->common.file == NULL)
        return cot_fail(COT_E_USAGE,
                        "bench: give step, exchange or checkpoint, and a recipe, or machine; see "
                        "'coterie help bench'");
    COT_TRY(cot_recipe_load(world, in->common.file, in->common.override_count, in->common.overrides,
                            &recipe));
    cot_status status = measure(world, in, recipe);
    cot_recipe_destroy(&recipe);
    return status;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.common.overrides = cot_alloc((size_t)argc, sizeof(char *)), .seconds = 5};
    cot_status status = cot_cli_parse(&cot_command_bench, argc, argv, &in);
    if (status == COT_OK) status = bench(world, &in);
    cot_free(in.common.overrides);
    return status;
}

const cot_command cot_command_bench = {
    "bench", "measure training steps, the exchange and checkpoints", &argp, run};
