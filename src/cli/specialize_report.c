#include "cli/specialize_report.h"

#include "cli/cli.h"

#include <coterie/expert_order.h>
#include <coterie/memory.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static double value_at(cot_h5_type type, const void *data, size_t i)
{
    return type == COT_H5_INT64 ? (double)((const int64_t *)data)[i] : ((const double *)data)[i];
}

static double coordinate(const cot_dimension *dimension, size_t i)
{
    return value_at(dimension->type, dimension->values, i);
}

/* ---- JSON ---- */

static json_t *number(cot_h5_type type, const void *data, size_t i)
{
    if (type == COT_H5_INT64) return json_integer(((const int64_t *)data)[i]);
    double value = ((const double *)data)[i];
    return isfinite(value) ? json_real(value) : json_null();
}

/* The part of a variable behind the axes that are already chosen, from element `first` on. */
static json_t *nested(const cot_catalog *catalog, const cot_variable *variable, const char *axes,
                      size_t *first)
{
    char name[32];
    if (axes[0] == '\0') return number(variable->type, variable->data, (*first)++);
    size_t length = strcspn(axes, ",");
    snprintf(name, sizeof name, "%.*s", (int)length, axes);
    const cot_dimension *dimension = cot_catalog_dimension(catalog, name);
    json_t *array = json_array();
    for (size_t i = 0; i < dimension->size; i++)
        json_array_append_new(
            array, nested(catalog, variable, axes + length + (axes[length] == ','), first));
    return array;
}

/* Curves, not what has a number for each expert, slot or class. */
static bool is_printed(const cot_variable *variable)
{
    static const char *const axes[] = {"", "keep", "mass", "seed,keep", "layer,keep"};
    for (size_t i = 0; i < sizeof axes / sizeof axes[0]; i++)
        if (strcmp(variable->axes, axes[i]) == 0) return true;
    return false;
}

static void add_coordinates(const cot_catalog *catalog, const char *name, json_t *object)
{
    const cot_dimension *dimension = cot_catalog_dimension(catalog, name);
    if (dimension == NULL || dimension->values == NULL) return;
    json_t *array = json_array();
    for (size_t i = 0; i < dimension->size; i++)
        json_array_append_new(array, number(dimension->type, dimension->values, i));
    json_object_set_new(object, name, array);
}

void cot_specialize_print_json(const cot_specialize_report *report)
{
    const cot_catalog *catalog = report->catalog;
    const cot_model *model = report->experiment->model;
    json_t *object = json_pack("{s:s, s:s, s:s, s:I, s:I}", "checkpoint", report->checkpoint,
                               "file", report->file, "split", cot_split_name(report->split),
                               "experts", (json_int_t)cot_model_shape(model)->E, "layers",
                               (json_int_t)cot_model_layers(model));
    add_coordinates(catalog, "keep", object);
    add_coordinates(catalog, "mass", object);
    add_coordinates(catalog, "seed", object);
    for (size_t i = 0; i < catalog->variable_count; i++) {
        const cot_variable *variable = &catalog->variables[i];
        const char *slash = strrchr(variable->name, '/');
        size_t first = 0;
        if (is_printed(variable))
            json_object_set_new(object, slash != NULL ? slash + 1 : variable->name,
                                nested(catalog, variable, variable->axes, &first));
    }
    cot_cli_print_json(object);
}

/* ---- text ---- */

/* A column of the table against K, from a variable [keep] or the first layer of one
 * [layer,keep]. */
typedef struct column {
    char title[32];
    const cot_variable *values, *deviations; /* deviations: NULL for none */
    double scale;
    int digits; /* behind the point */
} column;

enum { MOST_COLUMNS = 24, WIDTH = 13 };

typedef struct table {
    size_t count;
    column columns[MOST_COLUMNS];
} table;

static void add_column(table *t, const char *title, const cot_variable *values,
                       const cot_variable *deviations, double scale, int digits)
{
    if (values == NULL || t->count == MOST_COLUMNS) return;
    column *c = &t->columns[t->count++];
    *c = (column){.values = values, .deviations = deviations, .scale = scale, .digits = digits};
    snprintf(c->title, sizeof c->title, "%s", title);
}

static const cot_variable *find(const cot_catalog *catalog, const char *first, const char *second,
                                const char *third)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s%s", first, second, third);
    return cot_catalog_variable(catalog, name);
}

static void print_cell(const column *c, size_t i)
{
    char text[48];
    double value = c->scale * value_at(c->values->type, c->values->data, i);
    double deviation =
        c->deviations != NULL ? value_at(c->deviations->type, c->deviations->data, i) : NAN;
    if (!isfinite(value))
        snprintf(text, sizeof text, "-");
    else if (isfinite(deviation))
        snprintf(text, sizeof text, "%.*f +-%.*f", c->digits, value, c->digits,
                 c->scale * deviation);
    else
        snprintf(text, sizeof text, "%.*f", c->digits, value);
    printf("  %*s", WIDTH, text);
}

static void print_table(const table *t, const cot_dimension *rows, bool shares, double experts)
{
    printf(shares ? "\n      K     K/E" : "\n      M");
    for (size_t c = 0; c < t->count; c++) printf("  %*s", WIDTH, t->columns[c].title);
    printf("\n");
    for (size_t i = 0; i < rows->size; i++) {
        double at = coordinate(rows, i);
        if (shares)
            printf("%7.0f%8.4f", at, at / experts);
        else
            printf("%7.3g", at);
        for (size_t c = 0; c < t->count; c++) print_cell(&t->columns[c], i);
        printf("\n");
    }
}

/* Every selector's score, then how many different subsets it used, then time. */
static void print_against_keep(const cot_specialize_report *report, const char *score, double scale,
                               int digits)
{
    const cot_catalog *catalog = report->catalog;
    const double experts = (double)cot_model_shape(report->experiment->model)->E;
    table t = {0};
    for (int order = 0; order < COT_ORDERS; order++) {
        const char *name = cot_order_name((cot_order)order);
        if (order == COT_ORDER_RANDOM)
            add_column(&t, name, find(catalog, score, name, "_mean"),
                       find(catalog, score, name, "_sd"), scale, digits);
        else
            add_column(&t, name, find(catalog, score, name, ""), NULL, scale, digits);
    }
    add_column(&t, "exhaustive", find(catalog, score, "exhaustive", ""), NULL, scale, digits);
    add_column(&t, "some subset", find(catalog, "exhaustive", "any_right", ""), NULL, scale,
               digits);
    const cot_variable *subsets = find(catalog, "distinct_subsets", "combine", "");
    add_column(&t, "subsets used", subsets, NULL, 1, 0);
    add_column(&t, "us a sample", cot_catalog_variable(catalog, "timing/seconds_per_sample"), NULL,
               1e6, 1);
    print_table(&t, cot_catalog_dimension(catalog, "keep"), true, experts);
    if (subsets != NULL && cot_model_layers(report->experiment->model) > 1)
        printf("(subsets used: in the first layer, by combine)\n");
}

static void print_against_mass(const cot_specialize_report *report, const char *score, double scale,
                               int digits)
{
    const cot_catalog *catalog = report->catalog;
    const cot_dimension *masses = cot_catalog_dimension(catalog, "mass");
    table t = {0};
    if (masses == NULL) return;
    add_column(&t, "mass", find(catalog, score, "mass", ""), NULL, scale, digits);
    add_column(&t, "experts kept", find(catalog, "kept", "mass", "_mean"),
               find(catalog, "kept", "mass", "_sd"), 1, 1);
    print_table(&t, masses, false, 0);
}

void cot_specialize_print_text(const cot_specialize_report *report)
{
    const double percent = 100;
    const cot_experiment *ex = report->experiment;
    const bool classifies = cot_experiment_classifies(ex);
    const cot_variable *samples = cot_catalog_variable(report->catalog, "samples");
    const char *score = classifies ? "accuracy" : "relative_error";
    printf("%s: %.0f %s samples, %zu experts\n", report->checkpoint,
           value_at(samples->type, samples->data, 0), cot_split_name(report->split),
           cot_model_shape(ex->model)->E);
    printf("%s, against the experts kept for each sample\n",
           classifies ? "accuracy in %" : "relative error");
    print_against_keep(report, score, classifies ? percent : 1, classifies ? 2 : 4);
    print_against_mass(report, score, classifies ? percent : 1, classifies ? 2 : 4);
    printf("\nall of it is in %s\n", report->file);
    fflush(stdout);
}
