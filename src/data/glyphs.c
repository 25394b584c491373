/* The built-in source: handwritten digits, drawn when first asked for and kept. */
#include "data/checksum.h"
#include "data/glyph.h"
#include "data/source.h"

#include <coterie/memory.h>

/* Raised whenever the same options would give other glyphs. */
enum { GLYPHS_VERSION = 1 };

/* Glyphs of one stream, as far as they have been drawn. */
typedef struct glyph_album {
    uint8_t *pixels; /* [samples, 28, 28] */
    uint8_t *labels; /* [samples]: 0 not drawn yet, else the digit + 1 */
} glyph_album;

typedef struct glyphs {
    uint64_t seed;
    cot_dataset_info info;
    glyph_album train; /* training samples, then validation samples */
    glyph_album test;
} glyphs;

static uint64_t checksum(const cot_dataset_options *options)
{
    uint64_t hash = cot_checksum_number(cot_hash(cot_source_glyphs.name), GLYPHS_VERSION);
    const uint64_t numbers[] = {options->seed, options->train_samples, options->validation,
                                options->test_samples};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        hash = cot_checksum_number(hash, numbers[i]);
    return hash;
}

static glyph_album create_album(size_t samples)
{
    return (glyph_album){cot_alloc(samples, COT_GLYPH_PIXELS), cot_alloc(samples, 1)};
}

static cot_status open_glyphs(const cot_dataset_options *options, cot_dataset_info *info,
                              void **source_out)
{
    COT_TRY(cot_source_cut(options->train_samples, options->test_samples, options->validation,
                           info->samples));
    info->channels = 1;
    info->height = COT_GLYPH_SIDE;
    info->width = COT_GLYPH_SIDE;
    info->classes = COT_GLYPH_DIGITS;
    info->checksum = checksum(options);
    glyphs *source = cot_alloc(1, sizeof *source);
    source->seed = options->seed;
    source->info = *info;
    source->train = create_album(options->train_samples);
    source->test = create_album(options->test_samples);
    *source_out = source;
    return COT_OK;
}

static void close_glyphs(void *source)
{
    glyphs *self = source;
    cot_free(self->train.pixels);
    cot_free(self->train.labels);
    cot_free(self->test.pixels);
    cot_free(self->test.labels);
    cot_free(self);
}

static const uint8_t *pixels_glyphs(void *source, cot_split split, size_t index, int *label_out)
{
    glyphs *self = source;
    const glyph_album *album = split == COT_SPLIT_TEST ? &self->test : &self->train;
    /* Validation is the end of the training data and is drawn from the same stream. */
    cot_split drawn_from = split == COT_SPLIT_TEST ? COT_SPLIT_TEST : COT_SPLIT_TRAIN;
    size_t i = cot_source_place(&self->info, split, index);
    uint8_t *pixels = &album->pixels[i * COT_GLYPH_PIXELS];
    if (album->labels[i] == 0) {
        cot_stream stream = {self->seed, i, (uint32_t)drawn_from, COT_PURPOSE_GLYPHS};
        album->labels[i] = (uint8_t)(cot_glyph_draw(&stream, pixels) + 1);
    }
    *label_out = album->labels[i] - 1;
    return pixels;
}

const cot_source_ops cot_source_glyphs = {
    .name = "glyphs", .open = open_glyphs, .close = close_glyphs, .pixels = pixels_glyphs};
