/* X [T,D] of N(0,1) with target ||X||_2: the function that one expert cannot represent (arXiv
 * 2409.00879, theorem 1). */
#include "data/checksum.h"
#include "data/source.h"

#include <coterie/memory.h>
#include <coterie/vector.h>

#include <math.h>

/* Raised whenever the same options would give other samples. */
enum { L2NORM_VERSION = 2 };

typedef struct l2norm {
    uint64_t seed;
    size_t count; /* T * D */
} l2norm;

static cot_status check_options(const cot_dataset_options *options)
{
    if (options->tokens == 0) return cot_fail(COT_E_CONFIG, "data.tokens: 0; use at least 1");
    if (options->width == 0) return cot_fail(COT_E_CONFIG, "data.width: 0; use at least 1");
    return COT_OK;
}

static uint64_t checksum(const cot_dataset_options *options)
{
    uint64_t hash = cot_checksum_number(cot_hash(cot_source_l2norm.name), L2NORM_VERSION);
    const uint64_t numbers[] = {options->seed,          options->tokens,     options->width,
                                options->train_samples, options->validation, options->test_samples};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        hash = cot_checksum_number(hash, numbers[i]);
    return hash;
}

static cot_status open_l2norm(const cot_dataset_options *options, cot_dataset_info *info,
                              void **source_out)
{
    COT_TRY(check_options(options));
    /* Nothing is cut from the training samples, which are fresh every epoch. */
    COT_TRY(cot_source_cut(options->train_samples, options->test_samples, 0, info->samples));
    info->samples[COT_SPLIT_VALIDATION] = options->validation;
    info->channels = 1;
    info->height = options->tokens;
    info->width = options->width;
    info->classes = 0;
    info->checksum = checksum(options);
    l2norm *source = cot_alloc(1, sizeof *source);
    source->seed = options->seed;
    source->count = options->tokens * options->width;
    *source_out = source;
    return COT_OK;
}

static void close_l2norm(void *source)
{
    cot_free(source);
}

/* Split and epoch share the stream's 32 bits: 2^30 epochs. */
static uint32_t stream_epoch(cot_split split, uint64_t epoch)
{
    return split == COT_SPLIT_TRAIN ? (uint32_t)epoch * 4 : (uint32_t)split;
}

static void sample_l2norm(void *source, cot_split split, uint64_t epoch, size_t index, cot_real *x,
                          cot_target *target)
{
    const l2norm *self = source;
    cot_stream stream = {self->seed, index, stream_epoch(split, epoch), COT_PURPOSE_L2NORM};
    cot_rng_normal(&stream, 0, self->count, 1, x);
    target->value = (cot_real)sqrt(cot_dot_double(self->count, x, x));
}

const cot_source_ops cot_source_l2norm = {
    .name = "l2norm", .open = open_l2norm, .close = close_l2norm, .sample = sample_l2norm};
