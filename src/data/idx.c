/* Images and labels in the four IDX files of MNIST and of the sets that imitate it. */
#include "data/checksum.h"
#include "data/idx_format.h"
#include "data/source.h"

#include <coterie/memory.h>

typedef struct idx_pair {
    cot_idx_array images; /* [N,H,W] */
    cot_idx_array labels; /* [N] */
} idx_pair;

typedef struct idx {
    cot_dataset_info info;
    idx_pair train; /* training samples, then validation samples */
    idx_pair test;
} idx;

static void free_pair(idx_pair *pair)
{
    cot_idx_free(&pair->labels);
    cot_idx_free(&pair->images);
}

static cot_status check_labels(const idx_pair *pair)
{
    size_t count = pair->labels.dims[0];
    if (count != pair->images.dims[0])
        return cot_fail(COT_E_DATA,
                        "%s: holds %zu labels, but %s holds %zu images; the counts must be equal",
                        pair->labels.path, count, pair->images.path, pair->images.dims[0]);
    for (size_t i = 0; i < count; i++)
        if (pair->labels.bytes[i] >= COT_IDX_CLASSES)
            return cot_fail(COT_E_DATA, "%s: label %zu is %d; labels are 0 to %d",
                            pair->labels.path, i, pair->labels.bytes[i], COT_IDX_CLASSES - 1);
    return COT_OK;
}

static cot_status read_pair(const char *folder, const cot_idx_names *names, idx_pair *pair)
{
    COT_TRY(cot_idx_read(folder, names->images, COT_IDX_IMAGES, &pair->images));
    COT_TRY(cot_idx_read(folder, names->labels, COT_IDX_LABELS, &pair->labels));
    return check_labels(pair);
}

static cot_status check_same_shape(const idx *self)
{
    const size_t *train = self->train.images.dims;
    const size_t *test = self->test.images.dims;
    if (train[1] == test[1] && train[2] == test[2]) return COT_OK;
    return cot_fail(COT_E_DATA, "%s: images of %zu x %zu pixels, but %s has %zu x %zu",
                    self->test.images.path, test[1], test[2], self->train.images.path, train[1],
                    train[2]);
}

/* How many samples to use: `wanted`, or all that there are for 0. */
static cot_status limit(const char *key, size_t wanted, const cot_idx_array *images,
                        size_t *count_out)
{
    if (wanted > images->dims[0])
        return cot_fail(COT_E_CONFIG, "%s: %zu, but %s holds %zu; use at most that, or 0 for all",
                        key, wanted, images->path, images->dims[0]);
    *count_out = wanted > 0 ? wanted : images->dims[0];
    return COT_OK;
}

static uint64_t hash_pair(uint64_t hash, const idx_pair *pair, size_t samples)
{
    hash = cot_checksum_number(hash, samples);
    hash = cot_checksum_bytes(hash, pair->images.bytes, samples * pair->images.item_size);
    return cot_checksum_bytes(hash, pair->labels.bytes, samples);
}

/* Of the samples in use, however the files are compressed. */
static uint64_t checksum(const idx *self)
{
    const cot_dataset_info *info = &self->info;
    uint64_t hash = cot_hash(cot_source_idx.name);
    hash = cot_checksum_number(hash, info->height);
    hash = cot_checksum_number(hash, info->width);
    hash = cot_checksum_number(hash, info->samples[COT_SPLIT_VALIDATION]);
    hash = hash_pair(hash, &self->train,
                     info->samples[COT_SPLIT_TRAIN] + info->samples[COT_SPLIT_VALIDATION]);
    return hash_pair(hash, &self->test, info->samples[COT_SPLIT_TEST]);
}

static cot_status read_all(const cot_dataset_options *options, idx *self)
{
    cot_dataset_info *info = &self->info;
    size_t train = 0;
    size_t test = 0;
    COT_TRY(read_pair(options->path, &cot_idx_train, &self->train));
    COT_TRY(read_pair(options->path, &cot_idx_test, &self->test));
    COT_TRY(check_same_shape(self));
    COT_TRY(limit("data.train_samples", options->train_samples, &self->train.images, &train));
    COT_TRY(limit("data.test_samples", options->test_samples, &self->test.images, &test));
    COT_TRY(cot_source_cut(train, test, options->validation, info->samples));
    info->channels = 1;
    info->height = self->train.images.dims[1];
    info->width = self->train.images.dims[2];
    info->classes = COT_IDX_CLASSES;
    info->checksum = checksum(self);
    return COT_OK;
}

static void close_idx(void *source)
{
    idx *self = source;
    free_pair(&self->train);
    free_pair(&self->test);
    cot_free(self);
}

static cot_status open_idx(const cot_dataset_options *options, cot_dataset_info *info,
                           void **source_out)
{
    if (options->path == NULL || options->path[0] == '\0')
        return cot_fail(COT_E_CONFIG,
                        "data.path: missing; the idx source needs the folder of its four files");
    idx *self = cot_alloc(1, sizeof *self);
    cot_status status = read_all(options, self);
    if (status != COT_OK) {
        close_idx(self);
        return status;
    }
    *info = self->info;
    *source_out = self;
    return COT_OK;
}

static const uint8_t *pixels_idx(void *source, cot_split split, size_t index, int *label_out)
{
    const idx *self = source;
    const idx_pair *pair = split == COT_SPLIT_TEST ? &self->test : &self->train;
    size_t i = cot_source_place(&self->info, split, index);
    *label_out = pair->labels.bytes[i];
    return pair->images.bytes + i * pair->images.item_size;
}

const cot_source_ops cot_source_idx = {
    .name = "idx", .open = open_idx, .close = close_idx, .pixels = pixels_idx};
