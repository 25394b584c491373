/* coterie help: what there is, and where to go next. */
#include "cli/cli.h"

#include <coterie/recipe.h>
#include <coterie/suggest.h>
#include <coterie/version.h>

#include <stdio.h>
#include <string.h>

typedef struct arguments {
    const char *topic;
    bool markdown;
} arguments;

enum { OPTION_MARKDOWN = 256, MOST_TOPICS = 32 };

static const char recipe_topic[] = "recipe";

static error_t parse_option(int option, char *text, struct argp_state *state)
{
    arguments *args = state->input;
    switch (option) {
    case OPTION_MARKDOWN:
        args->markdown = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->topic != NULL) return ARGP_ERR_UNKNOWN;
        args->topic = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"markdown", OPTION_MARKDOWN, NULL, 0,
     "help recipe: print the documentation page docs/recipe.md", 0},
    {0}};

static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "[COMMAND | recipe]",
    .doc = "What a command does and takes, or every key of a recipe.",
};

static const struct {
    cot_status code;
    const char *meaning;
} exit_codes[] = {
    {COT_OK, "done"},
    {COT_E_USAGE, "the command line is wrong"},
    {COT_E_DATA, "a file's content is wrong"},
    {COT_E_NOINPUT, "a file that is to be read is not there"},
    {COT_E_INTERNAL, "the computation broke down: NaN, Inf, no memory"},
    {COT_E_CREATE, "a file or folder cannot be created"},
    {COT_E_IO, "reading or writing failed on the way"},
    {COT_E_STOPPED, "stopped early with a checkpoint saved: run it again"},
    {COT_E_CONFIG, "the recipe is wrong"},
};

static void print_overview(void)
{
    printf("coterie %s trains Soft Mixture-of-Experts models with their experts spread over MPI "
           "ranks.\n\n"
           "Usage: coterie COMMAND [OPTION...]              on one rank\n"
           "       mpirun -n R coterie COMMAND [OPTION...]  on R ranks; srun works alike\n\n"
           "Commands:\n",
           cot_version());
    for (size_t i = 0; cot_commands[i] != NULL; i++)
        printf("  %-12s%s\n", cot_commands[i]->name, cot_commands[i]->summary);
    printf(
        "\nStart here:\n"
        "  coterie train jobs/recipes/quickstart.yaml   train a first model, on made-up digits\n"
        "  coterie help COMMAND                         what a command does and takes\n"
        "  coterie help recipe                          every key of a recipe, with its default\n"
        "  coterie --version                            the version\n\n"
        "Results go to standard output, messages to standard error. Exit codes:\n");
    for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++)
        printf("  %-4d%s\n", (int)exit_codes[i].code, exit_codes[i].meaning);
}

static cot_status unknown_topic(const char *topic)
{
    const char *names[MOST_TOPICS] = {recipe_topic};
    size_t count = 1;
    for (size_t i = 0; cot_commands[i] != NULL && count < MOST_TOPICS; i++)
        names[count++] = cot_commands[i]->name;
    const char *nearest = cot_nearest(topic, names, count);
    if (nearest != NULL)
        return cot_fail(COT_E_USAGE, "help: no command '%s'; did you mean 'coterie help %s'?",
                        topic, nearest);
    return cot_fail(COT_E_USAGE, "help: no command '%s'; 'coterie help' lists them", topic);
}

static cot_status check(const arguments *args)
{
    bool recipe = args->topic != NULL && strcmp(args->topic, recipe_topic) == 0;
    if (args->markdown && !recipe)
        return cot_fail(COT_E_USAGE, "help: --markdown is for 'coterie help recipe' only");
    if (args->topic == NULL || recipe || cot_cli_find(args->topic) != NULL) return COT_OK;
    return unknown_topic(args->topic);
}

static void print_topic(const arguments *args)
{
    if (args->topic == NULL)
        print_overview();
    else if (strcmp(args->topic, recipe_topic) == 0)
        cot_recipe_help(stdout, args->markdown);
    else
        cot_cli_help(cot_cli_find(args->topic));
    fflush(stdout);
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    arguments args = {0};
    if (argc > 0) COT_TRY(cot_cli_parse(&cot_command_help, argc, argv, &args));
    COT_TRY(check(&args));
    if (world->rank == 0) print_topic(&args);
    return COT_OK;
}

const cot_command cot_command_help = {
    .name = "help",
    .summary = "this overview, a command's options, or the keys of a recipe",
    .argp = &parser,
    .run = run,
};
