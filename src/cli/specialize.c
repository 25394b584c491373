#include "cli/cli.h"
#include "cli/specialize_report.h"

#include <coterie/memory.h>
#include <coterie/specialize.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What the options fill in; lists have room for all that their text can hold. */
typedef struct input {
    const char *checkpoint, *output;
    const char **overrides; /* room for as many as there are arguments */
    size_t *keeps;          /* owned */
    double *masses;         /* owned; NULL: the default */
    cot_specialize_options study;
    bool wants_mass, sweep, has_seeds, json;
} input;

/* Beyond any character: these options have long names only. */
enum {
    KEY_SPLIT = 256,
    KEY_SELECT,
    KEY_SEEDS,
    KEY_KEEP,
    KEY_SWEEP,
    KEY_MASSES,
    KEY_LIMIT,
    KEY_SAMPLES,
    KEY_NO_TIMING,
    KEY_SET,
    KEY_FORMAT
};

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "The statistics file to write", 0},
    {"split", KEY_SPLIT, "test|validation|train", 0, "Which samples (default: test)", 0},
    {"select", KEY_SELECT, "NAME,...|all", 0,
     "How experts are chosen: combine, dispatch, contribution, random, greedy, exhaustive, mass "
     "(default: combine,random,mass)",
     0},
    {"seeds", KEY_SEEDS, "N", 0, "Random subsets for so many seeds, from 0 on (default: 10)", 0},
    {"keep", KEY_KEEP, "K,...", 0,
     "Numbers of experts kept (default: powers of two, E/8, E/4, E/2; E always belongs to them)",
     0},
    {"sweep", KEY_SWEEP, NULL, 0, "Every number of experts from 1 to E", 0},
    {"masses", KEY_MASSES, "M,...", 0,
     "Shares of the combine weights for mass (default: 0.5,0.75,0.9,0.95,0.99)", 0},
    {"subset-limit", KEY_LIMIT, "N", 0,
     "The most subsets of one size that exhaustive searches for a sample (default: 100000)", 0},
    {"samples", KEY_SAMPLES, NULL, 0,
     "Also write label, prediction and the experts' combine mass of every sample", 0},
    {"no-timing", KEY_NO_TIMING, NULL, 0, "Do not measure the time against K", 0},
    {"set", KEY_SET, "KEY=VALUE", 0,
     "Override one key of the checkpoint's recipe, such as data.path", 0},
    {"format", KEY_FORMAT, "text|json", 0, "How to print the result (default: text)", 0},
    {0}};

/* ---- lists: "1,2,4" ---- */

static size_t count_words(const char *text)
{
    size_t words = 1;
    for (; *text != '\0'; text++) words += *text == ',';
    return words;
}

/* Call `take` with each word between commas, until it fails. */
static cot_status for_each_word(const char *text, cot_status (*take)(input *in, const char *word),
                                input *in)
{
    char *copy = cot_strdup(text);
    cot_status status = COT_OK;
    for (char *word = copy; word != NULL && status == COT_OK;) {
        char *comma = strchr(word, ',');
        if (comma != NULL) *comma = '\0';
        status = take(in, word);
        word = comma != NULL ? comma + 1 : NULL;
    }
    cot_free(copy);
    return status;
}

static cot_status take_keep(input *in, const char *word)
{
    size_t keep = 0;
    COT_TRY(cot_cli_parse_count("--keep", word, &keep));
    in->keeps[in->study.keep_count++] = keep;
    return COT_OK;
}

static cot_status parse_keeps(input *in, const char *text)
{
    cot_free(in->keeps);
    in->keeps = cot_alloc(count_words(text), sizeof *in->keeps);
    in->study.keep_count = 0;
    in->study.keep = COT_KEEP_LIST;
    in->study.keeps = in->keeps;
    return for_each_word(text, take_keep, in);
}

/* Ascending, so that the curve in the file is one. */
static cot_status take_mass(input *in, const char *word)
{
    double mass = 0;
    COT_TRY(cot_cli_parse_number("--masses", word, &mass));
    if (!(mass > 0) || mass > 1)
        return cot_fail(COT_E_USAGE, "--masses: '%s' is not a share above 0, at most 1", word);
    if (in->study.mass_count > 0 && mass <= in->masses[in->study.mass_count - 1])
        return cot_fail(COT_E_USAGE, "--masses: '%s' is not larger than the one before it", word);
    in->masses[in->study.mass_count++] = mass;
    return COT_OK;
}

static cot_status parse_masses(input *in, const char *text)
{
    cot_free(in->masses);
    in->masses = cot_alloc(count_words(text), sizeof *in->masses);
    in->study.mass_count = 0;
    in->study.masses = in->masses;
    return for_each_word(text, take_mass, in);
}

static void select_all(input *in)
{
    for (int order = 0; order < COT_ORDERS; order++) in->study.orders[order] = true;
    in->study.orders_where_possible = true;
    in->study.exhaustive = COT_EXHAUSTIVE_WHERE_FEW;
    in->wants_mass = true;
}

static cot_status take_selector(input *in, const char *word)
{
    for (int order = 0; order < COT_ORDERS; order++) {
        if (strcmp(word, cot_order_name((cot_order)order)) != 0) continue;
        in->study.orders[order] = true;
        return COT_OK;
    }
    if (strcmp(word, "exhaustive") == 0)
        in->study.exhaustive = COT_EXHAUSTIVE;
    else if (strcmp(word, "mass") == 0)
        in->wants_mass = true;
    else if (strcmp(word, "all") == 0)
        select_all(in);
    else
        return cot_fail(COT_E_USAGE,
                        "--select: '%s' is none of combine, dispatch, contribution, random, "
                        "greedy, exhaustive, mass and all",
                        word);
    return COT_OK;
}

static cot_status parse_select(input *in, const char *text)
{
    memset(in->study.orders, 0, sizeof in->study.orders);
    in->study.orders_where_possible = false;
    in->study.exhaustive = COT_EXHAUSTIVE_NOT;
    in->wants_mass = false;
    return for_each_word(text, take_selector, in);
}

/* ---- options ---- */

static cot_status parse_positive(const char *option, const char *text, size_t *value_out)
{
    COT_TRY(cot_cli_parse_count(option, text, value_out));
    return *value_out > 0 ? COT_OK : cot_fail(COT_E_USAGE, "%s: at least 1", option);
}

static cot_status parse_value(int key, char *text, input *in)
{
    switch (key) {
    case KEY_SPLIT:
        return cot_cli_parse_split(text, &in->study.split);
    case KEY_SELECT:
        return parse_select(in, text);
    case KEY_SEEDS:
        in->has_seeds = true;
        return parse_positive("--seeds", text, &in->study.seeds);
    case KEY_KEEP:
        return parse_keeps(in, text);
    case KEY_MASSES:
        return parse_masses(in, text);
    case KEY_LIMIT:
        return parse_positive("--subset-limit", text, &in->study.subset_limit);
    default:
        return cot_cli_parse_format(text, &in->json);
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case 'o':
        in->output = text;
        return 0;
    case KEY_SET:
        in->overrides[in->study.override_count++] = text;
        return 0;
    case KEY_SWEEP:
        in->sweep = true;
        return 0;
    case KEY_SAMPLES:
        in->study.samples = true;
        return 0;
    case KEY_NO_TIMING:
        in->study.timed_batches = 0;
        return 0;
    case ARGP_KEY_ARG:
        if (in->checkpoint != NULL) return ARGP_ERR_UNKNOWN;
        in->checkpoint = text;
        return 0;
    default:
        if (key < KEY_SPLIT || key > KEY_FORMAT) return ARGP_ERR_UNKNOWN;
        return parse_value(key, text, in) == COT_OK ? 0 : EINVAL;
    }
}

static const struct argp argp = {
    options,
    parse_option,
    "CHECKPOINT -o FILE",
    "Which experts matter: loss and accuracy against the number of experts kept, for several ways "
    "of choosing them for each sample, and which experts serve which classes, into one statistics "
    "file."
    "\vThe model and the data are those of the recipe in the checkpoint. FILE appears when it is "
    "complete; what has that name is replaced then.\n\n"
    "  mpirun -n 2 coterie specialize runs/mnist/best.h5 -o runs/mnist/study.h5\n"
    "  coterie specialize runs/small/best.h5 -o study.h5 --select all --sweep",
    NULL,
    NULL,
    NULL};

/* What the options mean together. */
static cot_status check_options(input *in)
{
    if (in->checkpoint == NULL)
        return cot_fail(COT_E_USAGE,
                        "specialize: no checkpoint given; see 'coterie help specialize'");
    if (in->output == NULL)
        return cot_fail(COT_E_USAGE, "specialize: say with -o FILE which file to write");
    if (in->sweep && in->study.keep == COT_KEEP_LIST)
        return cot_fail(COT_E_USAGE, "specialize: --sweep and --keep exclude each other");
    if (in->masses != NULL && !in->wants_mass)
        return cot_fail(COT_E_USAGE,
                        "specialize: --masses belongs to --select mass, which is not asked for");
    if (in->has_seeds && !in->study.orders[COT_ORDER_RANDOM])
        return cot_fail(COT_E_USAGE,
                        "specialize: --seeds belongs to --select random, which is not asked for");
    if (in->sweep) in->study.keep = COT_KEEP_SWEEP;
    if (!in->wants_mass) in->study.mass_count = 0;
    return COT_OK;
}

static void report(void *context, const cot_experiment *experiment, const cot_catalog *catalog)
{
    const input *in = context;
    const cot_specialize_report printed = {.checkpoint = in->checkpoint,
                                           .file = in->output,
                                           .split = in->study.split,
                                           .experiment = experiment,
                                           .catalog = catalog};
    if (experiment->comm->rank != 0) return;
    (in->json ? cot_specialize_print_json : cot_specialize_print_text)(&printed);
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.overrides = cot_alloc((size_t)argc, sizeof(char *)),
                .study = cot_specialize_defaults(),
                .wants_mass = true};
    in.study.overrides = in.overrides;
    in.study.report = report;
    in.study.context = &in;
    cot_status status = cot_cli_parse(&cot_command_specialize, argc, argv, &in);
    if (status == COT_OK) status = check_options(&in);
    if (status == COT_OK) status = cot_specialize(world, in.checkpoint, in.output, &in.study);
    cot_free(in.masses);
    cot_free(in.keeps);
    cot_free(in.overrides);
    return status;
}

const cot_command cot_command_specialize = {
    "specialize", "find out which experts matter, and how few are enough", &argp, run};
