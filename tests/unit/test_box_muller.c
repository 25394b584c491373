#include "base/box_muller.h"
#include "data/checksum.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/rng.h>

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Random pairs, and all pairs of edges: words where quadrants begin, or halves of them, where the
 * mantissa of a logarithm wraps at sqrt(1/2), and the words beside these. */
enum { SEAMS = 9, EDGES = 3 * SEAMS, RANDOM = 4096, WORDS = RANDOM + EDGES * EDGES };
static uint32_t radii[WORDS];
static uint32_t angles[WORDS];

static uint32_t edge(uint32_t i)
{
    const uint32_t seam = i / 3 < 8 ? (i / 3) << 29 : 0xb504f333u;
    return seam + i % 3 - 1;
}

static int draw_words(void **state)
{
    (void)state;
    const cot_stream stream = {.seed = 11, .purpose = COT_PURPOSE_TEST};
    for (uint32_t i = 0; i < RANDOM; i++) {
        uint32_t words[4];
        cot_rng_words(&stream, i, words);
        /* Of all sizes: short radii and angles beside the axes too. */
        radii[i] = i % 2 == 0 ? words[0] >> i / 2 % 32 : ~(words[0] >> i / 2 % 32);
        angles[i] = i % 3 == 0 ? (words[1] << 30) + (words[2] >> (2 + i % 30)) : words[1];
    }
    for (uint32_t i = 0; i < EDGES * EDGES; i++) {
        radii[RANDOM + i] = edge(i / EDGES);
        angles[RANDOM + i] = edge(i % EDGES);
    }
    return 0;
}

/* From the nearest quarter turn on, lest the zeros of sine and cosine lose digits. */
static void reference(uint32_t radius_word, uint32_t angle_word, double want[2])
{
    const long double two_pi = 6.283185307179586476925286766559L;
    long double radius = sqrtl(-2 * logl(((long double)radius_word + 1) * 0x1p-32L));
    long double quarters = (long double)angle_word * 0x1p-30L;
    long double nearest = rintl(quarters);
    long double x = radius * cosl(two_pi / 4 * (quarters - nearest));
    long double y = radius * sinl(two_pi / 4 * (quarters - nearest));
    for (int turns = (int)nearest; turns > 0; turns--) {
        long double turned = x;
        x = -y;
        y = turned;
    }
    want[0] = (double)x;
    want[1] = (double)y;
}

/* The code's roundings and polynomials add up to 3.2 DBL_EPSILON: 0.7 of the angle's, which sine
 * and cosine at most keep, 1 of theirs, 1 of the logarithm and the root, 0.5 of the product. The
 * reference gets as much: under valgrind long double is double. Then it is rounded to cot_real. */
static const double tolerance = 2 * 3.2 * DBL_EPSILON + COT_REAL_EPSILON / 2.0;

static void agrees_with_the_library(void **state)
{
    (void)state;
    cot_real normals[2 * WORDS];
    cot_box_muller(WORDS, radii, angles, normals);
    for (size_t i = 0; i < WORDS; i++) {
        double want[2];
        reference(radii[i], angles[i], want);
        for (size_t k = 0; k < 2; k++)
            assert_close_double((double)normals[2 * i + k], want[k], tolerance, 0);
    }
}

/* Eighths of a turn, for the longest radius, sqrt(-2 log 2^-32). Zeros are exact. */
static void points_the_right_way(void **state)
{
    (void)state;
    const double radius = sqrt(64 * log(2));
    const double h = sqrt(0.5);
    const double compass[8][2] = {{1, 0},  {h, h},   {0, 1},  {-h, h},
                                  {-1, 0}, {-h, -h}, {0, -1}, {h, -h}};
    for (uint32_t i = 0; i < 8; i++) {
        cot_real point[2];
        cot_box_muller(1, (uint32_t[]){0}, (uint32_t[]){i << 29}, point);
        for (size_t k = 0; k < 2; k++)
            assert_close_double((double)point[k], radius * compass[i][k], tolerance, 0);
    }
}

static void a_radius_of_zero_is_exact(void **state)
{
    (void)state;
    cot_real point[2];
    cot_box_muller(1, (uint32_t[]){UINT32_MAX}, (uint32_t[]){12345678}, point);
    assert_true(point[0] == 0 && point[1] == 0);
}

/* Vectors and what remains beside them compute the same bits. */
static void at_any_position(void **state)
{
    (void)state;
    cot_real alone[2 * WORDS];
    cot_real together[2 * WORDS];
    for (size_t i = 0; i < WORDS; i++) cot_box_muller(1, radii + i, angles + i, alone + 2 * i);
    cot_box_muller(WORDS, radii, angles, together);
    assert_same_bits(together, alone, 2 * (size_t)WORDS);
    for (size_t n = 0; n <= MOST_LENGTH; n++)
        for (size_t first = 0; first <= MOST_OFFSET; first++) {
            cot_box_muller(n, radii + first, angles + first, together);
            assert_same_bits(together, alone + 2 * first, 2 * n);
        }
}

/* FNV-1a of the bits of all of them, as of version 0.1.0 (GCC 12.2, x86-64, of every vector width,
 * and Clang 14). Other bits are other samples: they raise the version in data/l2norm.c. */
static void bits_never_change(void **state)
{
    (void)state;
    const uint64_t want =
        sizeof(cot_real) == sizeof(float) ? 0x7578b5bbca21ebd0 : 0xb23dbefc867e656b;
    cot_real normals[2 * WORDS];
    cot_box_muller(WORDS, radii, angles, normals);
    uint64_t hash = cot_hash("");
    for (size_t i = 0; i < 2 * (size_t)WORDS; i++) {
        uint64_t bits = 0;
        memcpy(&bits, &normals[i], sizeof normals[i]);
        hash = cot_checksum_number(hash, bits);
    }
    if (hash != want) fail_msg("0x%016" PRIx64 " is not 0x%016" PRIx64, hash, want);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(agrees_with_the_library, draw_words),
    cmocka_unit_test(points_the_right_way),
    cmocka_unit_test(a_radius_of_zero_is_exact),
    cmocka_unit_test_setup(at_any_position, draw_words),
    cmocka_unit_test_setup(bits_never_change, draw_words),
};

RUN_UNIT_TESTS(tests)
