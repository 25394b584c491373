#include "data/source.h"

#include <coterie/memory.h>

#include <math.h>

/* By cot_data_source. */
static const cot_source_ops *const sources[] = {
    [COT_DATA_GLYPHS] = &cot_source_glyphs,
    [COT_DATA_IDX] = &cot_source_idx,
    [COT_DATA_L2NORM] = &cot_source_l2norm,
};
enum { SOURCES = sizeof sources / sizeof sources[0], PIXEL_VALUES = 256 };

struct cot_dataset {
    const cot_source_ops *ops;
    void *source;
    cot_dataset_info info;
    size_t sample_size;                /* C * H * W */
    cot_real normalized[PIXEL_VALUES]; /* what a byte becomes */
};

const char *cot_split_name(cot_split split)
{
    static const char *const names[COT_SPLITS] = {"train", "validation", "test"};
    return names[split];
}

cot_status cot_dataset_check_split(const cot_dataset_info *info, cot_split split)
{
    if (info->samples[split] > 0) return COT_OK;
    return cot_fail(COT_E_CONFIG, "the data set has no %s split; see data.validation",
                    cot_split_name(split));
}

const char *cot_data_source_name(cot_data_source source)
{
    return (size_t)source < SOURCES ? sources[source]->name : NULL;
}

cot_status cot_source_cut(size_t train_total, size_t test_total, size_t validation,
                          size_t samples[COT_SPLITS])
{
    if (train_total == 0 || train_total > UINT32_MAX)
        return cot_fail(COT_E_CONFIG, "data.train_samples: %zu; use 1 to %zu", train_total,
                        (size_t)UINT32_MAX);
    if (test_total == 0 || test_total > UINT32_MAX)
        return cot_fail(COT_E_CONFIG, "data.test_samples: %zu; use 1 to %zu", test_total,
                        (size_t)UINT32_MAX);
    if (validation >= train_total)
        return cot_fail(COT_E_CONFIG,
                        "data.validation: %zu of %zu training samples leave none to train on; "
                        "use at most %zu",
                        validation, train_total, train_total - 1);
    samples[COT_SPLIT_TRAIN] = train_total - validation;
    samples[COT_SPLIT_VALIDATION] = validation;
    samples[COT_SPLIT_TEST] = test_total;
    return COT_OK;
}

static cot_status check_normalization(const cot_dataset_options *options)
{
    if (!isfinite(options->mean))
        return cot_fail(COT_E_CONFIG, "data.mean: %g is not a finite number", options->mean);
    if (!isfinite(options->deviation) || options->deviation <= 0.0)
        return cot_fail(COT_E_CONFIG, "data.deviation: %g is not a positive number",
                        options->deviation);
    return COT_OK;
}

static void fill_normalized(cot_dataset *dataset, double mean, double deviation)
{
    for (int value = 0; value < PIXEL_VALUES; value++)
        dataset->normalized[value] =
            (cot_real)((value / (double)(PIXEL_VALUES - 1) - mean) / deviation);
}

cot_status cot_dataset_create(const cot_dataset_options *options, cot_dataset **dataset_out)
{
    COT_ASSERT((size_t)options->source < SOURCES);
    const cot_source_ops *ops = sources[options->source];
    if (ops->pixels != NULL) COT_TRY(check_normalization(options));
    cot_dataset_info info = {0};
    void *source = NULL;
    COT_TRY(ops->open(options, &info, &source));

    cot_dataset *dataset = cot_alloc(1, sizeof *dataset);
    dataset->ops = ops;
    dataset->source = source;
    dataset->info = info;
    dataset->sample_size = info.channels * info.height * info.width;
    if (ops->pixels != NULL) fill_normalized(dataset, options->mean, options->deviation);
    *dataset_out = dataset;
    return COT_OK;
}

void cot_dataset_destroy(cot_dataset **dataset)
{
    if (*dataset == NULL) return;
    (*dataset)->ops->close((*dataset)->source);
    cot_free(*dataset);
    *dataset = NULL;
}

const cot_dataset_info *cot_dataset_info_of(const cot_dataset *dataset)
{
    return &dataset->info;
}

bool cot_dataset_has_pixels(const cot_dataset *dataset)
{
    return dataset->ops->pixels != NULL;
}

const uint8_t *cot_dataset_pixels(cot_dataset *dataset, cot_split split, size_t index,
                                  int *label_out)
{
    COT_ASSERT(index < dataset->info.samples[split]);
    return dataset->ops->pixels(dataset->source, split, index, label_out);
}

static void look_up(size_t n, const uint8_t *restrict pixels, const cot_real *restrict normalized,
                    cot_real *restrict x)
{
    for (size_t i = 0; i < n; i++) x[i] = normalized[pixels[i]];
}

void cot_dataset_get(cot_dataset *dataset, cot_split split, uint64_t epoch, size_t index,
                     cot_real *x, cot_target *target)
{
    COT_ASSERT(index < dataset->info.samples[split]);
    *target = (cot_target){0};
    if (!cot_dataset_has_pixels(dataset)) {
        dataset->ops->sample(dataset->source, split, epoch, index, x, target);
        return;
    }
    const uint8_t *pixels = cot_dataset_pixels(dataset, split, index, &target->label);
    look_up(dataset->sample_size, pixels, dataset->normalized, x);
}
