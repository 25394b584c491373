/* coterie inspect: what a checkpoint or another file of ours holds. */
#include "cli/cli.h"
#include "cli/inspect_report.h"

#include <coterie/digest.h>
#include <coterie/memory.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_DIGEST = COT_KEY_OWN, TEXT_SIZE = 160 };

typedef struct arguments {
    cot_cli_input common;
    bool digest;
} arguments;

static error_t parse_option(int option, char *text, struct argp_state *state)
{
    arguments *args = state->input;
    if (option != OPTION_DIGEST) return cot_cli_parse_input(option, text, &args->common);
    args->digest = true;
    return 0;
}

static const struct argp_option options[] = {
    {"digest", OPTION_DIGEST, NULL, 0,
     "print only the SHA-256 of the content: equal for equal results, wherever they were computed",
     0},
    {"format", COT_KEY_FORMAT, "text|json", 0, "how to print (default: text)", 0},
    {0}};

static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "FILE",
    .doc = "Says what a checkpoint or a statistics file holds, and reads all of it to verify its "
           "checksums; of another HDF5 file it lists groups, data sets and attributes.",
};

/* ---- text ---- */

/* One JSON value on one line: text without quotes, numbers shortened. */
static void print_value(const json_t *value, char text[TEXT_SIZE])
{
    if (json_is_string(value)) {
        snprintf(text, TEXT_SIZE, "%s", json_string_value(value));
    } else if (json_is_real(value)) {
        snprintf(text, TEXT_SIZE, "%.6g", json_real_value(value));
    } else {
        char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        snprintf(text, TEXT_SIZE, "%s", dumped != NULL ? dumped : "-");
        free(dumped);
    }
}

static bool is_long(const json_t *value)
{
    return json_is_string(value) && strchr(json_string_value(value), '\n') != NULL;
}

/* Texts of several lines (the recipe) come after the others. */
static void print_attributes(const char *title, json_t *attributes)
{
    const char *key = NULL;
    json_t *value = NULL;
    char text[TEXT_SIZE];
    if (json_object_size(attributes) == 0) return;
    printf("\n%s\n", title);
    json_object_foreach(attributes, key, value)
    {
        if (is_long(value)) continue;
        print_value(value, text);
        printf("  %-16s %s\n", key, text);
    }
    json_object_foreach(attributes, key, value)
    {
        if (is_long(value)) printf("\n%s\n%s", key, json_string_value(value));
    }
}

static void print_param(const json_t *param)
{
    static const struct {
        const char *key;
        int width; /* negative: to the left */
    } columns[] = {{"name", -24}, {"axes", -7}, {"shape", -16}, {"placement", -10},
                   {"count", 10}, {"norm", 11}, {"min", 11},    {"max", 11}};
    char text[TEXT_SIZE];
    printf(" ");
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        if (param != NULL)
            print_value(json_object_get(param, columns[i].key), text);
        else
            snprintf(text, sizeof text, "%s", columns[i].key);
        printf(" %*s", columns[i].width, text);
    }
    printf("\n");
}

static void print_checkpoint(const json_t *report)
{
    size_t i = 0;
    json_t *param = NULL;
    char total[TEXT_SIZE];
    printf("%s: a checkpoint; all checksums are good\n",
           json_string_value(json_object_get(report, "file")));
    print_attributes("attributes", json_object_get(report, "attributes"));
    print_attributes("progress", json_object_get(report, "progress"));
    printf("\nparameters\n");
    print_param(NULL);
    json_array_foreach(json_object_get(report, "parameters"), i, param) print_param(param);
    print_value(json_object_get(report, "total_parameters"), total);
    printf("\ntotal parameters %s, moments of each: %zu\n", total,
           json_array_size(json_object_get(report, "moments")));
}

/* "0 to 9", or the values where they are others. */
static void print_dimension(const json_t *dimension)
{
    char values[TEXT_SIZE];
    const char *name = json_string_value(json_object_get(dimension, "name"));
    json_int_t size = json_integer_value(json_object_get(dimension, "size"));
    const json_t *listed = json_object_get(dimension, "values");
    if (listed != NULL)
        print_value(listed, values);
    else
        snprintf(values, sizeof values, size > 1 ? "0 to %" JSON_INTEGER_FORMAT : "0", size - 1);
    printf("  %-10s %8" JSON_INTEGER_FORMAT "  %s\n", name, size, values);
}

static void print_variable(const json_t *variable)
{
    char shape[TEXT_SIZE];
    print_value(json_object_get(variable, "shape"), shape);
    printf("  %-28s %-8s %-5s %-26s %s\n", json_string_value(json_object_get(variable, "name")),
           json_string_value(json_object_get(variable, "type")),
           json_string_value(json_object_get(variable, "units")),
           json_string_value(json_object_get(variable, "axes")), shape);
}

static void print_statistics(const json_t *report)
{
    size_t i = 0;
    json_t *item = NULL;
    const json_t *steps = json_object_get(report, "steps");
    const size_t records = json_array_size(steps);
    printf("%s: a statistics file (%s); all checksums are good\n",
           json_string_value(json_object_get(report, "file")),
           json_string_value(json_object_get(report, "kind")));
    if (records == 1)
        printf("1 record, of step %" JSON_INTEGER_FORMAT "\n",
               json_integer_value(json_array_get(steps, 0)));
    else if (records > 1)
        printf("%zu records, of steps %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT "\n",
               records, json_integer_value(json_array_get(steps, 0)),
               json_integer_value(json_array_get(steps, records - 1)));
    printf("\ndimensions\n");
    json_array_foreach(json_object_get(report, "dimensions"), i, item) print_dimension(item);
    printf("\nvariables\n");
    json_array_foreach(json_object_get(report, "variables"), i, item) print_variable(item);
    print_attributes("attributes", json_object_get(report, "attributes"));
}

static void print_any(const json_t *report)
{
    size_t i = 0;
    json_t *object = NULL;
    char type[TEXT_SIZE];
    char shape[TEXT_SIZE];
    printf("%s\n", json_string_value(json_object_get(report, "file")));
    print_attributes("attributes", json_object_get(report, "attributes"));
    printf("\nobjects\n");
    json_array_foreach(json_object_get(report, "objects"), i, object)
    {
        bool dataset = json_object_get(object, "type") != NULL;
        print_value(json_object_get(object, dataset ? "type" : "kind"), type);
        snprintf(shape, sizeof shape, "%s", "");
        if (dataset) print_value(json_object_get(object, "shape"), shape);
        printf("  %-32s %-8s %s\n", json_string_value(json_object_get(object, "path")), type,
               shape);
    }
}

/* ---- the command ---- */

static cot_status print_digest(const cot_h5_file *file, bool json)
{
    char hex[COT_DIGEST_SIZE];
    COT_TRY(cot_digest(file, hex));
    if (json)
        cot_cli_print_json(json_pack("{s:s}", "digest", hex));
    else
        printf("%s\n", hex);
    return COT_OK;
}

/* How a file of a format is described, and how that is printed. */
typedef struct description {
    const char *format; /* NULL: any other */
    cot_status (*describe)(const cot_h5_file *file, json_t **report_out);
    void (*print)(const json_t *report);
} description;

static const description descriptions[] = {
    {"coterie-checkpoint", cot_inspect_checkpoint, print_checkpoint},
    {"coterie-statistics", cot_inspect_statistics, print_statistics},
    {NULL, cot_inspect_any, print_any}};

static const description *description_of(const cot_h5_file *file)
{
    char *format = NULL;
    const description *found = descriptions;
    bool has_format = cot_h5_get_text(file, "/", "format", &format) == COT_OK;
    cot_failure_clear(); /* a file without the attribute is any other file */
    while (found->format != NULL && !(has_format && strcmp(format, found->format) == 0)) found++;
    cot_free(format);
    return found;
}

static cot_status print_report(const cot_h5_file *file, bool json)
{
    json_t *report = NULL;
    const description *fitting = description_of(file);
    COT_TRY(fitting->describe(file, &report));
    if (json) {
        cot_cli_print_json(report);
        return COT_OK;
    }
    fitting->print(report);
    json_decref(report);
    return COT_OK;
}

static cot_status inspect(const arguments *args)
{
    cot_h5_file *file = NULL;
    COT_TRY(cot_h5_open(args->common.file, &file));
    cot_status status = args->digest ? print_digest(file, args->common.json)
                                     : print_report(file, args->common.json);
    cot_h5_close(&file);
    return status;
}

static cot_status run_inspect(const cot_comm *world, int argc, char **argv)
{
    arguments args = {0};
    COT_TRY(cot_cli_parse(&cot_command_inspect, argc, argv, &args));
    if (args.common.file == NULL)
        return cot_fail(COT_E_USAGE, "inspect: name a file; see 'coterie help inspect'");
    return cot_comm_agree(world, world->rank == 0 ? inspect(&args) : COT_OK);
}

const cot_command cot_command_inspect = {.name = "inspect",
                                         .summary =
                                             "say what a checkpoint or statistics file holds",
                                         .argp = &parser,
                                         .run = run_inspect};
