#include <coterie/rng.h>
#include <coterie/status.h>

#include <Random123/philox.h>
#include <math.h>

void cot_rng_words(const cot_stream *stream, uint32_t block, uint32_t words[4])
{
    /* The purpose shares a word with the index's upper bits: indices reach 2^56, purposes 2^8. */
    uint32_t high = (uint32_t)(stream->index >> 32) & 0x00ffffffu;
    philox4x32_ctr_t counter = {
        {block, (uint32_t)stream->index, stream->epoch, high | ((uint32_t)stream->purpose << 24)}};
    philox4x32_key_t key = {{(uint32_t)stream->seed, (uint32_t)(stream->seed >> 32)}};
    philox4x32_ctr_t random = philox4x32(counter, key);
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

/* Box-Muller on one block: words (0, 1) and (2, 3) give two normals each. */
static void normal_block(const cot_stream *stream, uint32_t block, double normals[4])
{
    const double two_pi = 6.283185307179586;
    uint32_t words[4];
    cot_rng_words(stream, block, words);
    for (int pair = 0; pair < 2; pair++) {
        /* (word + 1) / 2^32 lies in (0, 1]: the logarithm is finite. */
        double radius = sqrt(-2.0 * log(((double)words[2 * pair] + 1.0) * 0x1p-32));
        double angle = two_pi * (double)words[2 * pair + 1] * 0x1p-32;
        normals[2 * pair] = radius * cos(angle);
        normals[2 * pair + 1] = radius * sin(angle);
    }
}

void cot_rng_normal(const cot_stream *stream, size_t first, size_t n, cot_real deviation,
                    cot_real *out)
{
    double normals[4];
    check_range(first, n);
    for (size_t i = 0; i < n; i++) {
        size_t position = first + i;
        if (i == 0 || position % 4 == 0) normal_block(stream, (uint32_t)(position / 4), normals);
        out[i] = deviation * (cot_real)normals[position % 4];
    }
}

uint64_t cot_hash(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text != '\0'; text++) hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    return hash;
}
