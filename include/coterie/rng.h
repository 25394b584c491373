/** Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011) from Random123.
 *
 * A number is a pure function of (seed, purpose, epoch, index, position). No state, no stream that
 * belongs to a rank: any rank can draw any number, so results do not depend on how work is divided.
 * Nothing here is collective. */
#ifndef COTERIE_RNG_H
#define COTERIE_RNG_H

#include <coterie/real.h>

#include <stddef.h>
#include <stdint.h>

/** What a stream is for. Streams of different purposes never share a number. The values are part of
 * the reproducibility promise: append, never renumber. */
typedef enum cot_purpose {
    COT_PURPOSE_INIT = 1,      /**< index: a hash of the parameter's name */
    COT_PURPOSE_SHUFFLE = 2,   /**< epoch: the epoch */
    COT_PURPOSE_NOISE = 3,     /**< epoch: the step; index: layer and global sample */
    COT_PURPOSE_GLYPHS = 4,    /**< epoch: the split; index: the sample */
    COT_PURPOSE_L2NORM = 5,    /**< epoch: split and epoch; index: the sample */
    COT_PURPOSE_SELECTION = 6, /**< random expert subsets */
    COT_PURPOSE_TEST = 7       /**< tests and benchmarks */
} cot_purpose;

/** One stream: everything but the position of a number in it. */
typedef struct cot_stream {
    uint64_t seed;
    uint64_t index; /**< only the lower 56 bits count */
    uint32_t epoch;
    cot_purpose purpose;
} cot_stream;

/** The numbers of a stream; asking for one past them is a bug and ends the job. */
#define COT_STREAM_LENGTH ((uint64_t)1 << 34)

/** Four uniform 32-bit words: number `block` of the stream. */
void cot_rng_words(const cot_stream *stream, uint32_t block, uint32_t words[4]);

/** out[i] = uniform in [low, high), the stream's number first + i. */
void cot_rng_uniform(const cot_stream *stream, size_t first, size_t n, cot_real low, cot_real high,
                     cot_real *out);

/** out[i] = normal with mean 0 and standard deviation `deviation` (Box-Muller), the stream's number
 * first + i. */
void cot_rng_normal(const cot_stream *stream, size_t first, size_t n, cot_real deviation,
                    cot_real *out);

/** A uniform integer in [0, bound), 0 < bound <= 2^32, from one 32-bit word (Lemire's
 * multiplication; the bias is below bound / 2^32). */
static inline uint32_t cot_rng_below(uint32_t word, uint64_t bound)
{
    return (uint32_t)(((uint64_t)word * bound) >> 32);
}

/** FNV-1a hash of a string, to give names a place in a stream. */
uint64_t cot_hash(const char *text);

#endif
