#include "moe/mix.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>

#include <math.h>
#include <string.h>

/* A buffer that other ranks' samples share, before and behind these; with every expert kept, the
 * samples at work are not the first here. */
enum { T = 3, D = 5, E = 4, P = 2, S = E * P, N = 3, BEFORE = 2, BEHIND = 1, SKIPPED = 2 };
enum {
    TOKENS = N * T * D,
    WEIGHTS = N * T * S,
    ROWS = (BEFORE + SKIPPED + N + BEHIND) * S,
    ROW_NUMBERS = ROWS * D
};

static const cot_moe_shape shape = {.T = T, .D = D, .E = E, .P = P};

typedef struct fixture {
    size_t samples[E], first[E];
    cot_slots slots;
    uint8_t kept[N * E];
    cot_mix mix;
    cot_real weights[WEIGHTS], x[TOKENS], rows[ROW_NUMBERS];
} fixture;

/* kept NULL: all. */
static void create(fixture *f, const uint8_t *kept)
{
    memset(f, 0, sizeof *f);
    size_t next = 0;
    size_t skipped = kept == NULL ? SKIPPED : 0;
    for (size_t e = 0; e < E; e++) {
        size_t used = 0;
        for (size_t n = 0; n < N; n++) used += kept == NULL || kept[n * E + e];
        f->samples[e] = BEFORE + skipped + used + BEHIND;
        f->first[e] = next + BEFORE;
        next += P * f->samples[e];
    }
    if (kept != NULL) memcpy(f->kept, kept, sizeof f->kept);
    f->slots = (cot_slots){E, P, f->samples, f->first};
    f->mix = (cot_mix){.shape = &shape,
                       .slots = &f->slots,
                       .first = skipped,
                       .samples = N,
                       .stride = S,
                       .kept = kept != NULL ? f->kept : NULL};
    draw_normal(1, WEIGHTS, f->weights);
    draw_normal(2, TOKENS, f->x);
    draw_normal(3, ROW_NUMBERS, f->rows);
}

static bool is_kept(const fixture *f, size_t n, size_t e)
{
    return f->mix.kept == NULL || f->mix.kept[n * E + e];
}

/* The row of sample n's slot (e, p): behind the samples before it that use the expert. */
static cot_real *row_of(fixture *f, size_t n, size_t e, size_t p)
{
    size_t place = 0;
    for (size_t before = 0; before < n; before++) place += is_kept(f, before, e);
    return f->rows + (f->first[e] + p * f->samples[e] + f->mix.first + place) * D;
}

/* Sums of at most S products of numbers below 5. */
static const double tolerance = S * 25 * (double)COT_REAL_EPSILON;

static void check_to_slots(fixture *f)
{
    cot_real before[ROW_NUMBERS];
    memcpy(before, f->rows, sizeof before);
    cot_mix_to_slots(&f->mix, f->weights, f->x, f->rows);
    bool written[ROWS] = {false};
    for (size_t n = 0; n < N; n++)
        for (size_t j = 0; j < S; j++) {
            if (!is_kept(f, n, j / P)) continue;
            written[(row_of(f, n, j / P, j % P) - f->rows) / D] = true;
            for (size_t d = 0; d < D; d++) {
                double want = 0;
                for (size_t t = 0; t < T; t++)
                    want +=
                        (double)f->weights[(n * T + t) * S + j] * (double)f->x[(n * T + t) * D + d];
                assert_close_double((double)row_of(f, n, j / P, j % P)[d], want, 0, tolerance);
            }
        }
    /* Rows of others stay as they were. */
    for (size_t row = 0; row < ROWS; row++)
        if (!written[row]) assert_same_bits(f->rows + row * D, before + row * D, D);
}

static void check_to_tokens(fixture *f)
{
    cot_mix_to_tokens(&f->mix, f->weights, f->rows, f->x);
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < T * D; i++) {
            double want = 0;
            for (size_t j = 0; j < S; j++)
                if (is_kept(f, n, j / P))
                    want += (double)f->weights[(n * T + i / D) * S + j] *
                            (double)row_of(f, n, j / P, j % P)[i % D];
            assert_close_double((double)f->x[n * T * D + i], want, 0, tolerance);
        }
}

static void norms_of_what_is_read(void **state)
{
    (void)state;
    fixture f;
    cot_real norms[N * S];
    create(&f, NULL);
    f.mix.norms = norms;
    cot_mix_to_tokens(&f.mix, f.weights, f.rows, f.x);
    for (size_t n = 0; n < N; n++)
        for (size_t j = 0; j < S; j++) {
            double squares = 0;
            for (size_t d = 0; d < D; d++)
                squares += pow((double)row_of(&f, n, j / P, j % P)[d], 2);
            assert_close_double((double)norms[n * S + j], sqrt(squares), 0, tolerance);
        }
}

static void every_expert(void **state)
{
    (void)state;
    fixture f;
    create(&f, NULL);
    check_to_slots(&f);
    create(&f, NULL);
    check_to_tokens(&f);
}

/* Also an expert that nobody keeps, one that all keep, and a sample that keeps nothing. */
static void a_kept_subset(void **state)
{
    (void)state;
    static const uint8_t subsets[][N * E] = {
        {1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1},
        {0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 0},
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
        {0},
    };
    for (size_t i = 0; i < sizeof subsets / sizeof subsets[0]; i++) {
        fixture f;
        create(&f, subsets[i]);
        check_to_slots(&f);
        create(&f, subsets[i]);
        check_to_tokens(&f);
    }
}

static void to_weights(void **state)
{
    (void)state;
    fixture f;
    create(&f, NULL);
    cot_mix_to_weights(&f.mix, f.x, f.rows, f.weights);
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < T * S; i++) {
            double want = 0;
            for (size_t d = 0; d < D; d++)
                want += (double)f.x[(n * T + i / S) * D + d] *
                        (double)row_of(&f, n, i % S / P, i % S % P)[d];
            assert_close_double((double)f.weights[n * T * S + i], want, 0, tolerance);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_expert),
    cmocka_unit_test(norms_of_what_is_read),
    cmocka_unit_test(a_kept_subset),
    cmocka_unit_test(to_weights),
};

RUN_UNIT_TESTS(tests)
