#include "cli/study_options.h"

#include "cli/cli.h"

#include <coterie/memory.h>

#include <string.h>

/* Beyond any character: these options have long names only. */
enum {
    KEY_SPLIT = 256,
    KEY_SELECT,
    KEY_SEEDS,
    KEY_SEED,
    KEY_KEEP,
    KEY_SWEEP,
    KEY_MASSES,
    KEY_LIMIT,
    KEY_SAMPLES,
    KEY_NO_TIMING
};

static const struct argp_option options[] = {
    {"split", KEY_SPLIT, "test|validation|train", 0, "Which samples (default: test)", 0},
    {"select", KEY_SELECT, "NAME,...|all", 0,
     "How experts are chosen: combine, dispatch, contribution, random, common, greedy, exhaustive, "
     "mass (default: combine,random,common,mass)",
     0},
    {"seeds", KEY_SEEDS, "N", 0, "Random subsets for so many seeds (default: 10)", 0},
    {"seed", KEY_SEED, "N", 0, "The first of them; the others are those that follow (default: 0)",
     0},
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
    {0}};

/* ---- lists: "1,2,4" ---- */

static size_t count_words(const char *text)
{
    size_t words = 1;
    for (; *text != '\0'; text++) words += *text == ',';
    return words;
}

/* Call `take` with each word between commas, until it fails. */
static cot_status for_each_word(const char *text,
                                cot_status (*take)(cot_study_input *in, const char *word),
                                cot_study_input *in)
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

static cot_status take_keep(cot_study_input *in, const char *word)
{
    size_t keep = 0;
    COT_TRY(cot_cli_parse_count("--keep", word, &keep));
    in->keeps[in->study.keep_count++] = keep;
    return COT_OK;
}

static cot_status parse_keeps(cot_study_input *in, const char *text)
{
    cot_free(in->keeps);
    in->keeps = cot_alloc(count_words(text), sizeof *in->keeps);
    in->study.keep_count = 0;
    in->study.keep = COT_KEEP_LIST;
    in->study.keeps = in->keeps;
    return for_each_word(text, take_keep, in);
}

/* Ascending, so that the curve in the file is one. */
static cot_status take_mass(cot_study_input *in, const char *word)
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

static cot_status parse_masses(cot_study_input *in, const char *text)
{
    cot_free(in->masses);
    in->masses = cot_alloc(count_words(text), sizeof *in->masses);
    in->study.mass_count = 0;
    in->study.masses = in->masses;
    return for_each_word(text, take_mass, in);
}

static void select_all(cot_study_input *in)
{
    for (int order = 0; order < COT_ORDERS; order++) in->study.orders[order] = true;
    in->study.orders_where_possible = true;
    in->study.exhaustive = COT_EXHAUSTIVE_WHERE_FEW;
    in->wants_mass = true;
}

static cot_status take_selector(cot_study_input *in, const char *word)
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
                        "common, greedy, exhaustive, mass and all",
                        word);
    return COT_OK;
}

static cot_status parse_select(cot_study_input *in, const char *text)
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

static cot_status parse_seed(const char *text, uint64_t *seed_out)
{
    size_t seed = 0;
    COT_TRY(cot_cli_parse_count("--seed", text, &seed));
    *seed_out = seed;
    return COT_OK;
}

static cot_status parse_value(int key, const char *text, cot_study_input *in)
{
    switch (key) {
    case KEY_SPLIT:
        return cot_cli_parse_split(text, &in->study.split);
    case KEY_SELECT:
        return parse_select(in, text);
    case KEY_SEEDS:
        in->has_seeds = true;
        return parse_positive("--seeds", text, &in->study.seeds);
    case KEY_SEED:
        in->has_seeds = true;
        return parse_seed(text, &in->study.first_seed);
    case KEY_KEEP:
        return parse_keeps(in, text);
    case KEY_MASSES:
        return parse_masses(in, text);
    default:
        return parse_positive("--subset-limit", text, &in->study.subset_limit);
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    cot_study_input *in = state->input;
    switch (key) {
    case KEY_SWEEP:
        in->sweep = true;
        return 0;
    case KEY_SAMPLES:
        in->study.samples = true;
        return 0;
    case KEY_NO_TIMING:
        in->study.timed_batches = 0;
        return 0;
    default:
        if (key < KEY_SPLIT || key > KEY_NO_TIMING) return ARGP_ERR_UNKNOWN;
        return cot_cli_argp_error(parse_value(key, text, in));
    }
}

const struct argp cot_study_argp = {options, parse_option, NULL, NULL, NULL, NULL, NULL};

void cot_study_input_begin(cot_study_input *in)
{
    *in = (cot_study_input){.study = cot_specialize_defaults(), .wants_mass = true};
}

cot_status cot_study_input_check(const char *command, cot_study_input *in)
{
    if (in->sweep && in->study.keep == COT_KEEP_LIST)
        return cot_fail(COT_E_USAGE, "%s: --sweep and --keep exclude each other", command);
    if (in->masses != NULL && !in->wants_mass)
        return cot_fail(COT_E_USAGE,
                        "%s: --masses belongs to --select mass, which is not asked for", command);
    if (in->has_seeds && !in->study.orders[COT_ORDER_RANDOM])
        return cot_fail(COT_E_USAGE,
                        "%s: --seeds and --seed belong to --select random, which is not asked for",
                        command);
    if (in->study.seeds > INT64_MAX || in->study.first_seed > INT64_MAX - in->study.seeds)
        return cot_fail(COT_E_USAGE, "%s: --seed and --seeds go beyond the seed 2^63 - 1", command);
    if (in->sweep) in->study.keep = COT_KEEP_SWEEP;
    if (!in->wants_mass) in->study.mass_count = 0;
    return COT_OK;
}

void cot_study_input_end(cot_study_input *in)
{
    cot_free(in->masses);
    cot_free(in->keeps);
}
