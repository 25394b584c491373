#include "base/box_muller.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/rng.h>

#include <math.h>
#include <string.h>

static void assert_words(const cot_stream *stream, uint32_t block, const uint32_t want[4])
{
    uint32_t words[4];
    cot_rng_words(stream, block, words);
    for (int i = 0; i < 4; i++) assert_int_equal(words[i], want[i]);
}

/* The three known answers for philox4x32-10 in Random123 1.14 (tests/kat_vectors). Counter: block,
 * lower index, epoch, purpose and upper index; key: seed. */
static void philox_known_answers(void **state)
{
    (void)state;
    cot_stream zeros = {.seed = 0};
    assert_words(&zeros, 0, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    cot_stream ones = {UINT64_MAX, UINT64_MAX, UINT32_MAX, (cot_purpose)0xff};
    assert_words(&ones, UINT32_MAX, (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    cot_stream digits = {.seed = 0x299f31d0a4093822,
                         .index = 0x70734485a308d3,
                         .epoch = 0x13198a2e,
                         .purpose = (cot_purpose)0x03};
    assert_words(&digits, 0x243f6a88, (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void every_part_of_a_stream_matters(void **state)
{
    (void)state;
    const cot_stream base = {.seed = 1, .index = 2, .epoch = 3, .purpose = COT_PURPOSE_TEST};
    cot_stream others[6];
    for (int i = 0; i < 6; i++) others[i] = base;
    others[0].seed ^= 1;
    others[1].seed ^= (uint64_t)1 << 63;
    others[2].index ^= 1;
    others[3].index ^= (uint64_t)1 << 55;
    others[4].epoch ^= 1;
    others[5].purpose = COT_PURPOSE_INIT;
    uint32_t words[4];
    uint32_t other[4];
    cot_rng_words(&base, 0, words);
    for (int i = 0; i < 6; i++) {
        cot_rng_words(&others[i], 0, other);
        assert_memory_not_equal(words, other, sizeof words);
    }
    cot_rng_words(&base, 1, other);
    assert_memory_not_equal(words, other, sizeof words);
}

/* Moments of n independent draws lie within five standard deviations of their own. */
static void uniform_is_uniform(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    cot_real *draws = cot_alloc(N, sizeof *draws);
    cot_stream stream = {.seed = 3, .purpose = COT_PURPOSE_TEST};
    cot_rng_uniform(&stream, 0, N, -2, 4, draws);
    double sum = 0;
    double squares = 0;
    size_t tenths[10] = {0};
    for (size_t i = 0; i < N; i++) {
        assert_true(draws[i] >= -2 && draws[i] < 4);
        double share = ((double)draws[i] + 2) / 6;
        sum += share;
        squares += share * share;
        tenths[(int)(share * 10)]++;
    }
    assert_close_double(sum / N, 0.5, 0, 5 * sqrt(1.0 / 12 / N));
    assert_close_double(squares / N, 1.0 / 3, 0, 5 * sqrt(4.0 / 45 / N));
    for (int i = 0; i < 10; i++)
        assert_close_double((double)tenths[i] / N, 0.1, 0, 5 * sqrt(0.09 / N));
    cot_free(draws);
}

/* Where numbers lie so wide apart that low + (high - low) u rounds up to high. */
static void uniform_never_reaches_high(void **state)
{
    (void)state;
    enum { N = 1000 };
    cot_real draws[N];
    cot_stream stream = {.seed = 4, .purpose = COT_PURPOSE_TEST};
    cot_rng_uniform(&stream, 0, N, 4194304, 4194305, draws);
    for (size_t i = 0; i < N; i++) assert_true(draws[i] >= 4194304 && draws[i] < 4194305);
}

/* Normals are drawn in groups of 128: offsets at both ends of the first, lengths into the third. */
static void a_draw_at_an_offset_is_the_tail(void **state)
{
    (void)state;
    enum { N = 300 };
    static const size_t firsts[] = {0, 1, 2, 3, 4, 5, 7, 9, 124, 125, 126, 127, 128, 129, 130};
    cot_real uniform[N];
    cot_real normal[N];
    cot_real tail[N];
    cot_stream stream = {.seed = 5, .index = 6, .purpose = COT_PURPOSE_TEST};
    cot_rng_uniform(&stream, 0, N, -1, 1, uniform);
    cot_rng_normal(&stream, 0, N, 3, normal);
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++)
        for (size_t n = 0; n <= N - firsts[i]; n++) {
            cot_rng_uniform(&stream, firsts[i], n, -1, 1, tail);
            assert_same_bits(tail, uniform + firsts[i], n);
            cot_rng_normal(&stream, firsts[i], n, 3, tail);
            assert_same_bits(tail, normal + firsts[i], n);
        }
}

/* Words (0, 1) and (2, 3) of a block give two normals each, also where the stream ends. */
static void normals_come_from_words(void **state)
{
    (void)state;
    enum { BLOCKS = 70 };
    static const uint32_t firsts[] = {0, UINT32_MAX - BLOCKS + 1};
    cot_real normals[4 * BLOCKS];
    cot_stream stream = {.seed = 8, .index = 9, .epoch = 10, .purpose = COT_PURPOSE_TEST};
    for (size_t i = 0; i < 2; i++) {
        cot_rng_normal(&stream, (size_t)firsts[i] * 4, 4 * (size_t)BLOCKS, 1, normals);
        for (uint32_t block = 0; block < BLOCKS; block++) {
            uint32_t words[4];
            cot_real want[4];
            cot_rng_words(&stream, firsts[i] + block, words);
            cot_box_muller(2, (uint32_t[]){words[0], words[2]}, (uint32_t[]){words[1], words[3]},
                           want);
            assert_same_bits(normals + 4 * (size_t)block, want, 4);
        }
    }
}

static void normal_is_normal(void **state)
{
    (void)state;
    enum { N = 1 << 17 };
    cot_real *draws = cot_alloc(N, sizeof *draws);
    cot_stream stream = {.seed = 7, .purpose = COT_PURPOSE_TEST};
    cot_rng_normal(&stream, 0, N, 2, draws);
    double moments[5] = {0};
    double neighbours = 0; /* the two normals that Box-Muller makes of one radius */
    size_t beyond_two = 0;
    for (size_t i = 0; i < N; i++) {
        double z = (double)draws[i] / 2;
        for (int k = 1; k <= 4; k++) moments[k] += pow(z, k) / N;
        if (i % 2 == 1) neighbours += z * (double)draws[i - 1] / 2 / (N / 2.0);
        beyond_two += fabs(z) > 2;
    }
    /* Variances of a single draw's power: 1, 2, 15, 96. */
    assert_close_double(moments[1], 0, 0, 5 * sqrt(1.0 / N));
    assert_close_double(moments[2], 1, 0, 5 * sqrt(2.0 / N));
    assert_close_double(moments[3], 0, 0, 5 * sqrt(15.0 / N));
    assert_close_double(moments[4], 3, 0, 5 * sqrt(96.0 / N));
    assert_close_double(neighbours, 0, 0, 5 * sqrt(2.0 / N));
    double share = 0.04550026; /* P(|z| > 2) */
    assert_close_double((double)beyond_two / N, share, 0, 5 * sqrt(share / N));
    cot_free(draws);
}

static void below_covers_its_range(void **state)
{
    (void)state;
    assert_int_equal(cot_rng_below(0, 1), 0);
    assert_int_equal(cot_rng_below(UINT32_MAX, 1), 0);
    assert_int_equal(cot_rng_below(0, 10), 0);
    assert_int_equal(cot_rng_below(UINT32_MAX, 10), 9);
    assert_int_equal(cot_rng_below(UINT32_MAX / 2, 10), 4);
    assert_int_equal(cot_rng_below(12345, (uint64_t)1 << 32), 12345);
}

/* From the FNV authors' test vectors. */
static void hash_known_answers(void **state)
{
    (void)state;
    assert_true(cot_hash("") == 0xcbf29ce484222325);
    assert_true(cot_hash("a") == 0xaf63dc4c8601ec8c);
    assert_true(cot_hash("foobar") == 0x85944171f73967e8);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(philox_known_answers),
    cmocka_unit_test(every_part_of_a_stream_matters),
    cmocka_unit_test(uniform_is_uniform),
    cmocka_unit_test(uniform_never_reaches_high),
    cmocka_unit_test(a_draw_at_an_offset_is_the_tail),
    cmocka_unit_test(normals_come_from_words),
    cmocka_unit_test(normal_is_normal),
    cmocka_unit_test(below_covers_its_range),
    cmocka_unit_test(hash_known_answers),
};

RUN_UNIT_TESTS(tests)
