#include "cli/cli.h"
#include "cli/specialize_report.h"
#include "cli/study_options.h"

#include <coterie/memory.h>
#include <coterie/report.h>
#include <coterie/specialize.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the options fill in. */
typedef struct input {
    cot_cli_input common; /* of a checkpoint */
    const char *output;
    cot_study_input study;
    bool wants_page;
} input;

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "The statistics file to write", 0},
    {"set", COT_KEY_SET, "KEY=VALUE", 0, cot_help_set_stored, 0},
    {"format", COT_KEY_FORMAT, "text|json", 0, cot_help_format, 0},
    {0}};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &in->study;
        return 0;
    case 'o':
        in->output = text;
        return 0;
    default:
        return cot_cli_parse_input(key, text, &in->common);
    }
}

static const struct argp_child children[] = {{&cot_study_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
    options,
    parse_option,
    "CHECKPOINT -o FILE",
    "Which experts matter: loss and accuracy against the number of experts kept, for several ways "
    "of choosing them for each sample, and which experts serve which classes, into one statistics "
    "file."
    "\vThe model and the data are those of the recipe in the checkpoint. FILE appears when it is "
    "complete; what has that name is replaced then.\n\n"
    "  mpirun -n 2 coterie specialize runs/mnist/latest.h5 -o runs/mnist/study.h5\n"
    "  coterie specialize runs/small/latest.h5 -o study.h5 --select all --sweep",
    children,
    NULL,
    NULL};

static cot_status check_options(input *in)
{
    if (in->common.file == NULL)
        return cot_fail(COT_E_USAGE,
                        "specialize: no checkpoint given; see 'coterie help specialize'");
    if (in->output == NULL)
        return cot_fail(COT_E_USAGE, "specialize: say with -o FILE which file to write");
    return cot_study_input_check("specialize", &in->study);
}

/* Told of the results when the file is there. */
static void report(void *context, const cot_experiment *experiment, const cot_catalog *catalog)
{
    input *in = context;
    in->wants_page = experiment->recipe->output.report;
    const cot_specialize_report printed = {.checkpoint = in->common.file,
                                           .file = in->output,
                                           .split = in->study.study.split,
                                           .experiment = experiment,
                                           .catalog = catalog};
    if (experiment->comm->rank != 0) return;
    (in->common.json ? cot_specialize_print_json : cot_specialize_print_text)(&printed);
}

/* A study that lies in the folder of a run belongs on the run's page. */
static void make_page(const cot_comm *world, const input *in)
{
    const char *slash = strrchr(in->output, '/');
    char *folder = cot_strprintf("%.*s", slash != NULL ? (int)(slash - in->output) : 1,
                                 slash != NULL ? in->output : ".");
    char *metrics = cot_strprintf("%s/metrics.jsonl", folder);
    if (world->rank == 0 && access(metrics, F_OK) == 0) cot_report(world, folder);
    cot_free(metrics);
    cot_free(folder);
}

static cot_status specialize(const cot_comm *world, input *in)
{
    cot_specialize_options *study = &in->study.study;
    COT_TRY(check_options(in));
    study->override_count = in->common.override_count;
    study->overrides = in->common.overrides;
    study->report = report;
    study->context = in;
    COT_TRY(cot_specialize(world, in->common.file, in->output, study));
    if (in->wants_page) make_page(world, in);
    return COT_OK;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.common.overrides = cot_alloc((size_t)argc, sizeof(char *))};
    cot_study_input_begin(&in.study);
    cot_status status = cot_cli_parse(&cot_command_specialize, argc, argv, &in);
    if (status == COT_OK) status = specialize(world, &in);
    cot_study_input_end(&in.study);
    cot_free(in.common.overrides);
    return status;
}

const cot_command cot_command_specialize = {
    "specialize", "find out which experts matter, and how few are enough", &argp, run};
