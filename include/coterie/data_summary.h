/** What a data set looks like in numbers, for `coterie data info`. */
#ifndef COTERIE_DATA_SUMMARY_H
#define COTERIE_DATA_SUMMARY_H

#include <coterie/dataset.h>

/** Mean and standard deviation (over the count, not the count less one) of many numbers. */
typedef struct cot_moments {
    double mean, deviation;
} cot_moments;

/** One split. Of images, `values` are the pixels in 0 .. 1 as they are before normalization: what
 * `data.mean` and `data.deviation` expect. */
typedef struct cot_split_summary {
    size_t samples;
    cot_moments values;
    cot_moments target; /**< for regression */
    size_t *histogram;  /**< [classes] samples of each class */
} cot_split_summary;

typedef struct cot_data_summary {
    size_t classes;
    cot_split_summary splits[COT_SPLITS];
} cot_data_summary;

/** Read every sample of a data set once (of training samples drawn fresh, those of epoch 0). Not
 * collective. Release with cot_data_summary_free. */
void cot_data_summarize(cot_dataset *dataset, cot_data_summary *summary_out);
void cot_data_summary_free(cot_data_summary *summary);

#endif
