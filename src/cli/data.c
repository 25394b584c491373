/* coterie data: write glyphs as IDX files, or describe what a data set holds. */
#include "cli/cli.h"
#include "cli/data_report.h"

#include <coterie/recipe.h>

#include <stdio.h>
#include <string.h>

enum {
    MOST_OVERRIDES = 64,
    OPTION_IDX = 256,
    OPTION_TRAIN,
    OPTION_TEST,
    OPTION_SEED,
    OPTION_GZIP,
    OPTION_SET,
    OPTION_FORMAT,
    OPTION_SOURCE
};

/* Without a recipe: as many samples as a quick look needs, and the recipes' shape of l2norm. */
enum { DRAWN_TRAIN = 20000, DRAWN_TEST = 5000, L2NORM_TOKENS = 4, L2NORM_WIDTH = 8 };

typedef struct arguments {
    const char *action, *recipe;
    const char *source, *idx, *output;
    const char *train, *test, *seed;
    cot_override overrides[MOST_OVERRIDES];
    size_t override_count;
    bool gzip, json;
    const char *only_make, *only_info; /* an option given that belongs to one action */
} arguments;

static cot_status add_override(arguments *args, const char *text)
{
    if (args->override_count == MOST_OVERRIDES)
        return cot_fail(COT_E_USAGE, "--set: given more than %d times", MOST_OVERRIDES);
    args->overrides[args->override_count++] = text;
    return COT_OK;
}

static cot_status add_word(arguments *args, const char *word)
{
    if (args->action == NULL)
        args->action = word;
    else if (args->recipe == NULL)
        args->recipe = word;
    else
        return cot_fail(COT_E_USAGE, "data: unexpected '%s'; see 'coterie help data'", word);
    return COT_OK;
}

static error_t parse_option(int option, char *text, struct argp_state *state)
{
    arguments *args = state->input;
    cot_status status = COT_OK;
    switch (option) {
    case OPTION_SOURCE:
        args->source = text;
        break;
    case OPTION_IDX:
        args->only_info = "--idx";
        args->idx = text;
        break;
    case OPTION_TRAIN:
        args->train = text;
        break;
    case OPTION_TEST:
        args->test = text;
        break;
    case OPTION_SEED:
        args->seed = text;
        break;
    case OPTION_FORMAT:
        status = cot_cli_parse_format(text, &args->json);
        break;
    case OPTION_SET:
        args->only_info = "--set";
        status = add_override(args, text);
        break;
    case OPTION_GZIP:
        args->only_make = "--gzip";
        args->gzip = true;
        break;
    case 'o':
        args->only_make = "-o";
        args->output = text;
        break;
    case ARGP_KEY_ARG:
        status = add_word(args, text);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return cot_cli_argp_error(status);
}

static const struct argp_option options[] = {
    {"source", OPTION_SOURCE, "NAME", 0, "glyphs, or (info) l2norm; glyphs for make", 0},
    {"idx", OPTION_IDX, "DIR", 0, "info: the folder of four IDX files, plain or .gz", 0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "info: override one key of the recipe", 0},
    {"output", 'o', "DIR", 0, "make: the folder to write into (default: glyphs)", 0},
    {"gzip", OPTION_GZIP, NULL, 0, "make: compress the files", 0},
    {"train", OPTION_TRAIN, "N", 0, "training samples (default: 20000; of files, all)", 0},
    {"test", OPTION_TEST, "N", 0, "test samples (default: 5000; of files, all)", 0},
    {"seed", OPTION_SEED, "N", 0, "which samples are drawn (default: 0)", 0},
    {"format", OPTION_FORMAT, "text|json", 0, "how to print (default: text)", 0},
    {0}};

static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "make [-o DIR]\ninfo RECIPE\ninfo --idx DIR\ninfo --source NAME",
    .doc =
        "make draws glyphs and writes them as the four IDX files of an MNIST-like data set. info "
        "says what a data set holds: counts, shape, mean and standard deviation of the pixels "
        "(for data.mean and data.deviation), classes and checksum.",
};

static void print_made(const arguments *args, const cot_dataset_info *info)
{
    if (!args->json) {
        printf("wrote %zu training and %zu test images of %zu x %zu pixels to %s\n",
               info->samples[COT_SPLIT_TRAIN], info->samples[COT_SPLIT_TEST], info->height,
               info->width, args->output);
        return;
    }
    cot_cli_print_json(json_pack("{s:s, s:I, s:I, s:b}", "folder", args->output, "train",
                                 (json_int_t)info->samples[COT_SPLIT_TRAIN], "test",
                                 (json_int_t)info->samples[COT_SPLIT_TEST], "gzip", args->gzip));
}

static cot_status make(const arguments *args, const cot_dataset_options *data)
{
    cot_dataset *dataset = NULL;
    COT_TRY(cot_dataset_create(data, &dataset));
    cot_status status = cot_dataset_write_idx(dataset, args->output, args->gzip);
    if (status == COT_OK) print_made(args, cot_dataset_info_of(dataset));
    cot_dataset_destroy(&dataset);
    return status;
}

static cot_status info_of_recipe(const cot_comm *world, const arguments *args)
{
    cot_recipe *recipe = NULL;
    COT_TRY(cot_recipe_load(world, args->recipe, args->override_count, args->overrides, &recipe));
    cot_status status = world->rank == 0 ? cot_data_report(&recipe->data, args->json) : COT_OK;
    cot_recipe_destroy(&recipe);
    return cot_comm_agree(world, status);
}

static cot_status parse_source(const char *name, cot_data_source *source_out)
{
    if (strcmp(name, cot_data_source_name(COT_DATA_IDX)) == 0)
        return cot_fail(COT_E_USAGE, "--source idx: use --idx DIR to name the files' folder");
    for (int i = 0; cot_data_source_name((cot_data_source)i) != NULL; i++)
        if (strcmp(name, cot_data_source_name((cot_data_source)i)) == 0) {
            *source_out = (cot_data_source)i;
            return COT_OK;
        }
    return cot_fail(COT_E_USAGE, "--source: '%s' is neither glyphs nor l2norm", name);
}

/* The data set that the options name when no recipe does. */
static cot_status choose_data(const arguments *args, cot_dataset_options *data_out)
{
    bool drawn = args->idx == NULL;
    cot_dataset_options data = {.source = drawn ? COT_DATA_GLYPHS : COT_DATA_IDX,
                                .path = drawn ? "" : args->idx,
                                .train_samples = drawn ? DRAWN_TRAIN : 0,
                                .test_samples = drawn ? DRAWN_TEST : 0,
                                .mean = 0.0,
                                .deviation = 1.0,
                                .tokens = L2NORM_TOKENS,
                                .width = L2NORM_WIDTH};
    size_t seed = 0;
    if (args->source != NULL) COT_TRY(parse_source(args->source, &data.source));
    if (args->train != NULL)
        COT_TRY(cot_cli_parse_count("--train", args->train, &data.train_samples));
    if (args->test != NULL) COT_TRY(cot_cli_parse_count("--test", args->test, &data.test_samples));
    if (args->seed != NULL) COT_TRY(cot_cli_parse_count("--seed", args->seed, &seed));
    data.seed = seed;
    *data_out = data;
    return COT_OK;
}

static cot_status run_make(const cot_comm *world, const arguments *args)
{
    const char *surplus = args->recipe != NULL ? args->recipe : args->only_info;
    cot_dataset_options data;
    if (surplus != NULL)
        return cot_fail(COT_E_USAGE, "data make: unexpected '%s'; see 'coterie help data'",
                        surplus);
    COT_TRY(choose_data(args, &data));
    if (data.source != COT_DATA_GLYPHS)
        return cot_fail(COT_E_USAGE, "data make: --source %s has no images to write; use glyphs",
                        args->source);
    return cot_comm_agree(world, world->rank == 0 ? make(args, &data) : COT_OK);
}

static cot_status info_of_options(const cot_comm *world, const arguments *args)
{
    cot_dataset_options data;
    if (args->override_count > 0)
        return cot_fail(COT_E_USAGE, "data info: --set needs a recipe to change");
    COT_TRY(choose_data(args, &data));
    return cot_comm_agree(world, world->rank == 0 ? cot_data_report(&data, args->json) : COT_OK);
}

static cot_status run_info(const cot_comm *world, const arguments *args)
{
    int named = (args->recipe != NULL) + (args->idx != NULL) + (args->source != NULL);
    if (args->only_make != NULL)
        return cot_fail(COT_E_USAGE, "data info: unexpected '%s'; see 'coterie help data'",
                        args->only_make);
    if (named != 1)
        return cot_fail(COT_E_USAGE,
                        "data info: name one of a recipe, --idx DIR and --source NAME");
    if (args->recipe == NULL) return info_of_options(world, args);
    if (args->train != NULL || args->test != NULL || args->seed != NULL)
        return cot_fail(COT_E_USAGE, "data info: with a recipe, use --set data.train_samples=N, "
                                     "data.test_samples=N or data.seed=N");
    return info_of_recipe(world, args);
}

static cot_status run_data(const cot_comm *world, int argc, char **argv)
{
    arguments args = {.output = "glyphs"};
    COT_TRY(cot_cli_parse(&cot_command_data, argc, argv, &args));
    if (args.action == NULL)
        return cot_fail(COT_E_USAGE, "data: say make or info; see 'coterie help data'");
    if (strcmp(args.action, "make") == 0) return run_make(world, &args);
    if (strcmp(args.action, "info") == 0) return run_info(world, &args);
    return cot_fail(COT_E_USAGE, "data: '%s' is neither make nor info; see 'coterie help data'",
                    args.action);
}

const cot_command cot_command_data = {
    .name = "data", .summary = "write or describe a data set", .argp = &parser, .run = run_data};
