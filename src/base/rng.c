#include "base/box_muller.h"
#include "base/vector_clones.h"

#include <coterie/rng.h>
#include <coterie/status.h>

#include <Random123/philox.h>
#include <math.h>

static inline philox4x32_ctr_t random_block(cot_stream stream, uint32_t block)
{
    /* The purpose shares a word with the index's upper bits: indices reach 2^56, purposes 2^8. */
    uint32_t high = (uint32_t)(stream.index >> 32) & 0x00ffffffu;
    philox4x32_ctr_t counter = {
        {block, (uint32_t)stream.index, stream.epoch, high | ((uint32_t)stream.purpose << 24)}};
    philox4x32_key_t key = {{(uint32_t)stream.seed, (uint32_t)(stream.seed >> 32)}};
    return philox4x32(counter, key);
}

void cot_rng_words(const cot_stream *stream, uint32_t block, uint32_t words[4])
{
    philox4x32_ctr_t random = random_block(*stream, block);
    for (int i = 0; i < 4; i++) words[i] = random.v[i];
}

/* Four numbers a block, and 2^32 blocks: beyond them a stream would begin again. */
static void check_range(size_t first, size_t n)
{
    COT_ASSERT(first <= COT_STREAM_LENGTH && n <= COT_STREAM_LENGTH - first);
}

#ifdef COT_DOUBLE
#define REAL_NEXTAFTER nextafter
#else
#define REAL_NEXTAFTER nextafterf
#endif

/* A 24-bit fraction is exact in float: uniform in [0, 1). */
static cot_real unit(uint32_t word)
{
    return (cot_real)(word >> 8) * (cot_real)0x1p-24;
}

void cot_rng_uniform(const cot_stream *stream, size_t first, size_t n, cot_real low, cot_real high,
                     cot_real *out)
{
    const cot_real last = REAL_NEXTAFTER(high, low); /* where rounding would reach high */
    uint32_t words[4];
    check_range(first, n);
    for (size_t i = 0; i < n; i++) {
        size_t position = first + i;
        if (i == 0 || position % 4 == 0) cot_rng_words(stream, (uint32_t)(position / 4), words);
        cot_real value = low + (high - low) * unit(words[position % 4]);
        out[i] = value < high ? value : last;
    }
}

/* Blocks that are drawn together, enough to fill vectors; of each block two pairs of normals. */
enum { BLOCKS = 32, PAIRS = 2 * BLOCKS, NORMALS = 2 * PAIRS };

/* One object, so that the compiler sees that stores to one array leave the other alone. */
typedef struct word_pairs {
    uint32_t radii[PAIRS];
    uint32_t angles[PAIRS];
} word_pairs;

/* Words (0, 1) and (2, 3) of a block are a radius and an angle each. */
COT_VECTOR_CLONES
static void draw_pairs(cot_stream stream, uint32_t first, size_t blocks, word_pairs *pairs)
{
    for (size_t i = 0; i < blocks; i++) {
        philox4x32_ctr_t random = random_block(stream, first + (uint32_t)i);
        for (size_t k = 0; k < 2; k++) {
            pairs->radii[2 * i + k] = random.v[2 * k];
            pairs->angles[2 * i + k] = random.v[2 * k + 1];
        }
    }
}

void cot_rng_normal(const cot_stream *stream, size_t first, size_t n, cot_real deviation,
                    cot_real *out)
{
    word_pairs pairs;
    cot_real normals[NORMALS];
    check_range(first, n);
    while (n > 0) {
        const size_t skipped = first % 4; /* in the first block */
        const size_t count = n < NORMALS - skipped ? n : NORMALS - skipped;
        const size_t blocks = (skipped + count + 3) / 4;
        draw_pairs(*stream, (uint32_t)(first / 4), blocks, &pairs);
        cot_box_muller(2 * blocks, pairs.radii, pairs.angles, normals);
        for (size_t i = 0; i < count; i++) out[i] = deviation * normals[skipped + i];
        first += count;
        n -= count;
        out += count;
    }
}

uint64_t cot_hash(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text != '\0'; text++) hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    return hash;
}
