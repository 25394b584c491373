#include "cli/cli.h"

#include <coterie/status.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cot_command *const cot_commands[] = {&cot_command_train,      &cot_command_eval,
                                           &cot_command_specialize, &cot_command_suite,
                                           &cot_command_inspect,    &cot_command_data,
                                           &cot_command_bench,      &cot_command_plan,
                                           &cot_command_help,       NULL};

const char cot_help_set[] = "Override one key of the recipe; see 'coterie help recipe'";
const char cot_help_set_stored[] = "Override one key of the checkpoint's recipe, such as data.path";
const char cot_help_format[] = "How to print the result (default: text)";

const cot_command *cot_cli_find(const char *name)
{
    for (size_t i = 0; cot_commands[i] != NULL; i++)
        if (strcmp(cot_commands[i]->name, name) == 0) return cot_commands[i];
    return NULL;
}

void cot_cli_help(const cot_command *command)
{
    char name[64];
    snprintf(name, sizeof name, "coterie %s", command->name);
    argp_help(command->argp, stdout,
              ARGP_HELP_USAGE | ARGP_HELP_PRE_DOC | ARGP_HELP_LONG | ARGP_HELP_POST_DOC, name);
}

/* How many options an argument may be, by their names or beginnings of them; the last such one. */
static size_t match(const struct argp *argp, const char *argument, const struct argp_option **found)
{
    const size_t length = strcspn(argument, "=");
    const bool is_short = argument[1] != '-';
    size_t count = 0;
    for (const struct argp_option *o = argp->options; o != NULL && (o->name || o->key); o++) {
        const bool begins = o->name != NULL && strncmp(o->name, argument + 2, length - 2) == 0;
        if (is_short ? o->key != argument[1] : !begins) continue;
        *found = o;
        if (!is_short && o->name[length - 2] == '\0') return 1;
        count++;
    }
    for (const struct argp_child *c = argp->children; c != NULL && c->argp != NULL; c++)
        count += match(c->argp, argument, found);
    return count;
}

/* What argp refused, which it does not tell. */
static cot_status refuse_option(const cot_command *command, int argc, char **argv)
{
    const char *name = command->name;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const struct argp_option *option = NULL;
        if (argv[i][0] != '-' || argv[i][1] == '\0') continue;
        size_t count = match(command->argp, argv[i], &option);
        if (count == 0)
            return cot_fail(COT_E_USAGE, "%s: unknown option '%s'; see 'coterie help %s'", name,
                            argv[i], name);
        if (count > 1)
            return cot_fail(COT_E_USAGE, "%s: '%s' may be several options; see 'coterie help %s'",
                            name, argv[i], name);
        if (option->arg == NULL && argv[i][1] == '-' && strchr(argv[i], '=') != NULL)
            return cot_fail(COT_E_USAGE, "%s: --%s takes no value; see 'coterie help %s'", name,
                            option->name, name);
    }
    return cot_fail(COT_E_USAGE, "%s: an option lacks its value; see 'coterie help %s'", name,
                    name);
}

cot_status cot_cli_parse(const cot_command *command, int argc, char **argv, void *input)
{
    int stopped_at = argc;
    int error = argp_parse(command->argp, argc, argv, ARGP_SILENT, &stopped_at, input);
    if (error == 0 && stopped_at >= argc) return COT_OK;
    /* argp stops without an error at an argument that the parser does not take. */
    if (error == 0)
        return cot_fail(COT_E_USAGE, "%s: unexpected '%s'; see 'coterie help %s'", command->name,
                        argv[stopped_at], command->name);
    /* A parser that found a bad value has recorded its own line; cot_fail keeps the first. */
    return refuse_option(command, argc, argv);
}

error_t cot_cli_argp_error(cot_status status)
{
    return status == COT_OK ? 0 : EINVAL;
}

error_t cot_cli_parse_input(int key, char *text, cot_cli_input *in)
{
    switch (key) {
    case COT_KEY_SET:
        in->overrides[in->override_count++] = text;
        return 0;
    case COT_KEY_FORMAT:
        return cot_cli_argp_error(cot_cli_parse_format(text, &in->json));
    case ARGP_KEY_ARG:
        if (in->file != NULL) return ARGP_ERR_UNKNOWN;
        in->file = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

cot_status cot_cli_parse_format(const char *text, bool *json_out)
{
    if (strcmp(text, "json") != 0 && strcmp(text, "text") != 0)
        return cot_fail(COT_E_USAGE, "--format: '%s' is neither text nor json", text);
    *json_out = strcmp(text, "json") == 0;
    return COT_OK;
}

cot_status cot_cli_parse_count(const char *option, const char *text, size_t *value_out)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
        return cot_fail(COT_E_USAGE, "%s: '%s' is not a non-negative integer", option, text);
    *value_out = value;
    return COT_OK;
}

cot_status cot_cli_parse_number(const char *option, const char *text, double *value_out)
{
    char *end = NULL;
    double value = strtod(text, &end);
    bool begins = (text[0] >= '0' && text[0] <= '9') || text[0] == '.' || text[0] == '-';
    if (!begins || end == text || *end != '\0' || !isfinite(value))
        return cot_fail(COT_E_USAGE, "%s: '%s' is not a number", option, text);
    *value_out = value;
    return COT_OK;
}

cot_status cot_cli_parse_split(const char *text, cot_split *split_out)
{
    for (int split = 0; split < COT_SPLITS; split++) {
        if (strcmp(text, cot_split_name((cot_split)split)) != 0) continue;
        *split_out = (cot_split)split;
        return COT_OK;
    }
    return cot_fail(COT_E_USAGE, "--split: '%s' is none of train, validation and test", text);
}

void cot_cli_print_json(json_t *object)
{
    enum { DIGITS = 9 };
    json_dumpf(object, stdout, JSON_REAL_PRECISION(DIGITS));
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}
