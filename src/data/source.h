/* What a source of samples implements. A new one is one file with a cot_source_ops, a value of
 * cot_data_source and a line in the table of dataset.c. */
#ifndef COTERIE_DATA_SOURCE_H
#define COTERIE_DATA_SOURCE_H

#include <coterie/dataset.h>

/** A source gives either `pixels` (images of bytes, which dataset.c normalizes) or `sample`
 * (anything else). */
typedef struct cot_source_ops {
    const char *name; /**< as in `data.source` */

    /** Open the source; fill all of `info`. On failure nothing is left open. */
    cot_status (*open)(const cot_dataset_options *options, cot_dataset_info *info,
                       void **source_out);
    void (*close)(void *source);

    /** The bytes [C,H,W] and the label of one image; they stay valid until the next call. */
    const uint8_t *(*pixels)(void *source, cot_split split, size_t index, int *label_out);

    /** Write one sample x [C,H,W] and its target. */
    void (*sample)(void *source, cot_split split, uint64_t epoch, size_t index, cot_real *x,
                   cot_target *target);
} cot_source_ops;

extern const cot_source_ops cot_source_glyphs;
extern const cot_source_ops cot_source_idx;
extern const cot_source_ops cot_source_l2norm;

/** Samples by split where the validation split is the end of `train_total` training samples.
 * Errors: COT_E_CONFIG naming the key that leaves a split empty or is too large. */
COT_MUST_CHECK cot_status cot_source_cut(size_t train_total, size_t test_total, size_t validation,
                                         size_t samples[COT_SPLITS]);

/** Place among all training samples of sample `index` of a split that cot_source_cut made. */
static inline size_t cot_source_place(const cot_dataset_info *info, cot_split split, size_t index)
{
    return split == COT_SPLIT_VALIDATION ? info->samples[COT_SPLIT_TRAIN] + index : index;
}

/** Are the samples images of bytes? */
bool cot_dataset_has_pixels(const cot_dataset *dataset);

/** Raw bytes [C,H,W] and label of one image of a data set that has pixels. */
const uint8_t *cot_dataset_pixels(cot_dataset *dataset, cot_split split, size_t index,
                                  int *label_out);

#endif
