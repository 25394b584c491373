/** What the commands of the program share. A command parses, calls the library and prints; nothing
 * else. */
#ifndef COTERIE_CLI_H
#define COTERIE_CLI_H

#include <coterie/comm.h>
#include <coterie/dataset.h>

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>

/** One command: `coterie NAME ...`. `run` gets argv from the command's name on. It is called on
 * every rank and returns the same status on every rank; a failure it has not agreed on yet is
 * printed by main. */
typedef struct cot_command {
    const char *name;
    const char *summary; /**< one line for `coterie help` */
    /** Options and documentation; printed by `coterie help NAME` and `coterie NAME --help`. */
    const struct argp *argp;
    cot_status (*run)(const cot_comm *world, int argc, char **argv);
} cot_command;

extern const cot_command cot_command_train;
extern const cot_command cot_command_eval;
extern const cot_command cot_command_specialize;
extern const cot_command cot_command_suite;
extern const cot_command cot_command_inspect;
extern const cot_command cot_command_data;
extern const cot_command cot_command_bench;
extern const cot_command cot_command_plan;
extern const cot_command cot_command_help;

/** All commands, NULL at the end. */
extern const cot_command *const cot_commands[];

/** The command of this name, or NULL. */
const cot_command *cot_cli_find(const char *name);

/** Print a command's help on standard output (call on rank 0 only). */
void cot_cli_help(const cot_command *command);

/** Parse a command's options into `input` (what the argp parser fills). Never prints and never
 * exits. The argp parser returns ARGP_ERR_UNKNOWN for what it does not know and, for a bad value,
 * records the line itself with cot_fail(COT_E_USAGE, ...) and returns EINVAL.
 * Errors: COT_E_USAGE with one line that says what is wrong and names `coterie help NAME`. */
COT_MUST_CHECK cot_status cot_cli_parse(const cot_command *command, int argc, char **argv,
                                        void *input);

/** What most commands are given: a file to work on, --set and --format. */
typedef struct cot_cli_input {
    const char *file;
    size_t override_count;
    const char **overrides; /**< the command's; room for as many as there are arguments */
    bool json;
} cot_cli_input;

/** Keys of these options, and the first that is a command's own; beyond any character, since they
 * have long names only. */
enum { COT_KEY_SET = 256, COT_KEY_FORMAT, COT_KEY_OWN };

/** What help says of them: --set for a recipe and for that of a checkpoint, --format. */
extern const char cot_help_set[], cot_help_set_stored[], cot_help_format[];

/** The end of a command's argp parser: takes these options and one file. */
error_t cot_cli_parse_input(int key, char *text, cot_cli_input *in);

/** What an argp parser returns for a status. */
error_t cot_cli_argp_error(cot_status status);

/** Parse the argument of --format: "text" or "json". Errors: COT_E_USAGE. */
COT_MUST_CHECK cot_status cot_cli_parse_format(const char *text, bool *json_out);

/** Parse a non-negative integer option to its end. Errors: COT_E_USAGE naming the option. */
COT_MUST_CHECK cot_status cot_cli_parse_count(const char *option, const char *text,
                                              size_t *value_out);

/** Parse a finite number to its end. Errors: COT_E_USAGE naming the option. */
COT_MUST_CHECK cot_status cot_cli_parse_number(const char *option, const char *text,
                                               double *value_out);

/** Parse the argument of --split: "train", "validation" or "test". Errors: COT_E_USAGE. */
COT_MUST_CHECK cot_status cot_cli_parse_split(const char *text, cot_split *split_out);

/** Print one JSON object as one line on standard output and release it (call on rank 0 only). */
void cot_cli_print_json(json_t *object);

#endif
