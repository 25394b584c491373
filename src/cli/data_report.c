#include "cli/data_report.h"

#include "cli/cli.h"

#include <coterie/data_summary.h>

#include <inttypes.h>
#include <stdio.h>

static void print_histogram(const char *name, const size_t *histogram, size_t classes)
{
    printf("%-11s", name);
    for (size_t i = 0; i < classes; i++) printf(" %6zu", histogram[i]);
    printf("\n");
}

static void print_classes(const cot_data_summary *summary)
{
    printf("\n%-11s", "class");
    for (size_t i = 0; i < summary->classes; i++) printf(" %6zu", i);
    printf("\n");
    for (int i = 0; i < COT_SPLITS; i++)
        if (summary->splits[i].samples > 0)
            print_histogram(cot_split_name((cot_split)i), summary->splits[i].histogram,
                            summary->classes);
}

static void print_splits(const cot_data_summary *summary)
{
    bool regression = summary->classes == 0;
    printf("\n%-11s %9s %9s %9s%s\n", "split", "samples", "mean", "deviation",
           regression ? "  target: mean deviation" : "");
    for (int i = 0; i < COT_SPLITS; i++) {
        const cot_split_summary *split = &summary->splits[i];
        if (split->samples == 0) continue;
        printf("%-11s %9zu %9.4f %9.4f", cot_split_name((cot_split)i), split->samples,
               split->values.mean, split->values.deviation);
        if (regression) printf("  %12.4f %9.4f", split->target.mean, split->target.deviation);
        printf("\n");
    }
}

static void print_text(const cot_dataset_options *data, const cot_dataset_info *info,
                       const cot_data_summary *summary)
{
    printf("source      %s%s%s\n", cot_data_source_name(data->source),
           data->source == COT_DATA_IDX ? " " : "", data->source == COT_DATA_IDX ? data->path : "");
    printf("shape       %zu x %zu x %zu (channels, height, width)\n", info->channels, info->height,
           info->width);
    if (info->classes > 0)
        printf("classes     %zu\n", info->classes);
    else
        printf("classes     none: the target is a number\n");
    printf("checksum    %016" PRIx64 "\n", info->checksum);
    print_splits(summary);
    if (info->classes > 0) print_classes(summary);
}

static json_t *split_as_json(const cot_split_summary *split, size_t classes)
{
    json_t *object = json_pack("{s:I, s:f, s:f}", "samples", (json_int_t)split->samples, "mean",
                               split->values.mean, "deviation", split->values.deviation);
    if (classes == 0) {
        json_object_set_new(object, "target_mean", json_real(split->target.mean));
        json_object_set_new(object, "target_deviation", json_real(split->target.deviation));
        return object;
    }
    json_t *histogram = json_array();
    for (size_t i = 0; i < classes; i++)
        json_array_append_new(histogram, json_integer((json_int_t)split->histogram[i]));
    json_object_set_new(object, "classes", histogram);
    return object;
}

static void print_json(const cot_dataset_options *data, const cot_dataset_info *info,
                       const cot_data_summary *summary)
{
    enum { CHECKSUM_SIZE = 17 };
    char checksum[CHECKSUM_SIZE];
    snprintf(checksum, sizeof checksum, "%016" PRIx64, info->checksum);
    json_t *splits = json_object();
    for (int i = 0; i < COT_SPLITS; i++)
        if (summary->splits[i].samples > 0)
            json_object_set_new(splits, cot_split_name((cot_split)i),
                                split_as_json(&summary->splits[i], info->classes));
    json_t *object = json_pack(
        "{s:s, s:[I, I, I], s:I, s:s, s:o}", "source", cot_data_source_name(data->source), "shape",
        (json_int_t)info->channels, (json_int_t)info->height, (json_int_t)info->width, "classes",
        (json_int_t)info->classes, "checksum", checksum, "splits", splits);
    if (data->source == COT_DATA_IDX) json_object_set_new(object, "path", json_string(data->path));
    cot_cli_print_json(object);
}

cot_status cot_data_report(const cot_dataset_options *data, bool json)
{
    cot_dataset *dataset = NULL;
    COT_TRY(cot_dataset_create(data, &dataset));
    cot_data_summary summary;
    cot_data_summarize(dataset, &summary);
    (json ? print_json : print_text)(data, cot_dataset_info_of(dataset), &summary);
    cot_data_summary_free(&summary);
    cot_dataset_destroy(&dataset);
    return COT_OK;
}
