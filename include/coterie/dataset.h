/** Data sets behind one interface: a sample is a pure function of (split, epoch, index).
 *
 * An image is x [C,H,W] (C channels, height, width), already normalized; the l2norm source gives X
 * [T,D] as one channel of height T and width D. Every rank holds its own data set and reads the
 * samples that it is given to train on. */
#ifndef COTERIE_DATASET_H
#define COTERIE_DATASET_H

#include <coterie/real.h>
#include <coterie/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cot_split { COT_SPLIT_TRAIN, COT_SPLIT_VALIDATION, COT_SPLIT_TEST } cot_split;
enum { COT_SPLITS = 3 };

typedef enum cot_data_source { COT_DATA_GLYPHS, COT_DATA_IDX, COT_DATA_L2NORM } cot_data_source;

/** What the recipe says under `data:`. */
typedef struct cot_dataset_options {
    cot_data_source source;
    const char *path;     /**< idx: folder with the four files, plain or .gz */
    uint64_t seed;        /**< glyphs, l2norm: which samples are drawn */
    size_t train_samples; /**< generated: samples an epoch; idx: use only the first, 0 for all */
    size_t test_samples;  /**< generated: test samples; idx: use only the first, 0 for all */
    size_t validation; /**< samples cut from the end of the training data; l2norm: drawn besides */
    double mean, deviation; /**< x = (pixel/255 - mean) / deviation; not used by l2norm */
    size_t tokens, width;   /**< l2norm: T and D of a sample */
} cot_dataset_options;

/** What a data set is, for the model and for `data info`. */
typedef struct cot_dataset_info {
    size_t channels, height, width;
    size_t classes;             /**< 0 for regression */
    size_t samples[COT_SPLITS]; /**< by cot_split */
    uint64_t checksum;          /**< of the content: equal checksums, equal samples */
} cot_dataset_info;

/** The answer to one sample: a class for classification, a value for regression. */
typedef struct cot_target {
    int label;
    cot_real value;
} cot_target;

typedef struct cot_dataset cot_dataset;

/** Open or generate a data set. Not collective: every rank calls it for itself and the caller
 * agrees on the outcome.
 * Errors: COT_E_NOINPUT for a file that is not there, COT_E_DATA for one whose content is wrong,
 * COT_E_CONFIG when a split would be empty or larger than the data. */
COT_MUST_CHECK cot_status cot_dataset_create(const cot_dataset_options *options,
                                             cot_dataset **dataset_out);
void cot_dataset_destroy(cot_dataset **dataset);

const cot_dataset_info *cot_dataset_info_of(const cot_dataset *dataset);

/** Sample `index` of a split: x [C,H,W] and its target are overwritten. `epoch` matters only to
 * sources that draw fresh training samples (l2norm); it is ignored for the other splits. Not
 * collective; cannot fail; no allocation. `dataset` is not const: a source may keep what it
 * generated. */
void cot_dataset_get(cot_dataset *dataset, cot_split split, uint64_t epoch, size_t index,
                     cot_real *x, cot_target *target);

/** Write a data set of grey images as IDX files into `folder`, which is made when missing: training
 * samples (then validation samples) as train-*, test samples as t10k-*, with `gzip` compressed as
 * *.gz. Files appear only when all four are complete; existing ones are never replaced. Not
 * collective.
 * Errors: COT_E_USAGE when the samples are not grey images of at most 10 classes, COT_E_CREATE,
 * COT_E_IO. */
COT_MUST_CHECK cot_status cot_dataset_write_idx(cot_dataset *dataset, const char *folder,
                                                bool gzip);

/** "glyphs", "idx" or "l2norm", as in `data.source`; NULL past the last source. */
const char *cot_data_source_name(cot_data_source source);

/** "train", "validation" or "test". */
const char *cot_split_name(cot_split split);

/** That a split is there to be looked at. Not collective.
 * Errors: COT_E_CONFIG when it has no samples. */
COT_MUST_CHECK cot_status cot_dataset_check_split(const cot_dataset_info *info, cot_split split);

#endif
