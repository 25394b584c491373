#include "data/source.h"

#include <coterie/data_summary.h>
#include <coterie/memory.h>

#include <math.h>

/* Sums of many numbers. Bytes add exactly; numbers of size 1 lose nothing that would be printed. */
typedef struct data_tally {
    double count, sum, squares;
} data_tally;

static void add(data_tally *tally, double value)
{
    tally->count += 1.0;
    tally->sum += value;
    tally->squares += value * value;
}

static cot_moments moments_of(const data_tally *tally, double unit)
{
    if (tally->count == 0.0) return (cot_moments){0};
    double mean = tally->sum / tally->count;
    double variance = tally->squares / tally->count - mean * mean;
    return (cot_moments){mean * unit, sqrt(fmax(variance, 0.0)) * unit};
}

static void summarize_images(cot_dataset *dataset, cot_split split, cot_split_summary *summary)
{
    const cot_dataset_info *info = cot_dataset_info_of(dataset);
    size_t size = info->channels * info->height * info->width;
    data_tally values = {0};
    for (size_t i = 0; i < summary->samples; i++) {
        int label = 0;
        const uint8_t *pixels = cot_dataset_pixels(dataset, split, i, &label);
        for (size_t j = 0; j < size; j++) add(&values, pixels[j]);
        summary->histogram[label]++;
    }
    summary->values = moments_of(&values, 1.0 / 255.0);
}

static void summarize_values(cot_dataset *dataset, cot_split split, cot_split_summary *summary)
{
    const cot_dataset_info *info = cot_dataset_info_of(dataset);
    size_t size = info->channels * info->height * info->width;
    cot_real *x = cot_alloc(size, sizeof *x);
    data_tally values = {0};
    data_tally targets = {0};
    for (size_t i = 0; i < summary->samples; i++) {
        cot_target target;
        cot_dataset_get(dataset, split, 0, i, x, &target);
        for (size_t j = 0; j < size; j++) add(&values, (double)x[j]);
        if (info->classes > 0)
            summary->histogram[target.label]++;
        else
            add(&targets, (double)target.value);
    }
    summary->values = moments_of(&values, 1.0);
    summary->target = moments_of(&targets, 1.0);
    cot_free(x);
}

void cot_data_summarize(cot_dataset *dataset, cot_data_summary *summary_out)
{
    const cot_dataset_info *info = cot_dataset_info_of(dataset);
    *summary_out = (cot_data_summary){.classes = info->classes};
    for (int split = 0; split < COT_SPLITS; split++) {
        cot_split_summary *summary = &summary_out->splits[split];
        summary->samples = info->samples[split];
        summary->histogram = cot_alloc(info->classes, sizeof *summary->histogram);
        if (cot_dataset_has_pixels(dataset))
            summarize_images(dataset, (cot_split)split, summary);
        else
            summarize_values(dataset, (cot_split)split, summary);
    }
}

void cot_data_summary_free(cot_data_summary *summary)
{
    for (int split = 0; split < COT_SPLITS; split++) cot_free(summary->splits[split].histogram);
    *summary = (cot_data_summary){0};
}
