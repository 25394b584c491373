#include "moe/mix.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>

#include <math.h>
#include <string.h>

/* A buffer of two grains, the second at work. */
enum { T = 3, D = 5, E = 4, P = 2, S = E * P, N = 3, FIRST_GRAIN = 2 };
enum {
    TOKENS = N * T * D,
    WEIGHTS = N * T * S,
    ROWS = (FIRST_GRAIN + N) * S,
    ROW_NUMBERS = ROWS * D
};

static const cot_moe_shape shape = {.T = T, .D = D, .E = E, .P = P};

typedef struct fixture {
    size_t samples[2 * E], first[2 * E];
    cot_slots slots;
    uint8_t kept[N * E];
    cot_mix mix;
    cot_real weights[WEIGHTS], x[TOKENS], rows[ROW_NUMBERS];
} fixture;

/* kept NULL: all; the first grain is full in any case. */
static void create(fixture *f, const uint8_t *kept)
{
    memset(f, 0, sizeof *f);
    size_t next = 0;
    for (size_t i = 0; i < 2 * E; i++) {
        f->samples[i] = i < E ? FIRST_GRAIN : N;
        if (i >= E && kept != NULL) {
            f->samples[i] = 0;
            for (size_t n = 0; n < N; n++) f->samples[i] += kept[n * E + i - E];
        }
        f->first[i] = next;
        next += P * f->samples[i];
    }
    if (kept != NULL) memcpy(f->kept, kept, sizeof f->kept);
    f->slots = (cot_slots){2, E, P, f->samples, f->first};
    f->mix = (cot_mix){&shape, &f->slots, 1, N, kept != NULL ? f->kept : NULL};
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
    return f->rows +
           (cot_slots_first(&f->slots, 1, e) + p * cot_slots_samples(&f->slots, 1, e) + place) * D;
}

/* Sums of at most S products of numbers below 5. */
static const double tolerance = S * 25 * (double)COT_REAL_EPSILON;

static void check_to_slots(fixture *f)
{
    cot_real before[ROW_NUMBERS];
    memcpy(before, f->rows, sizeof before);
    cot_mix_to_slots(&f->mix, f->weights, f->x, f->rows);
    size_t written = 0;
    for (size_t n = 0; n < N; n++)
        for (size_t j = 0; j < S; j++) {
            if (!is_kept(f, n, j / P)) continue;
            written++;
            for (size_t d = 0; d < D; d++) {
                double want = 0;
                for (size_t t = 0; t < T; t++)
                    want +=
                        (double)f->weights[(n * T + t) * S + j] * (double)f->x[(n * T + t) * D + d];
                assert_close_double((double)row_of(f, n, j / P, j % P)[d], want, 0, tolerance);
            }
        }
    /* The other grain, and what lies behind, stay as they were. */
    size_t begin = FIRST_GRAIN * S;
    assert_same_bits(f->rows, before, begin * D);
    size_t end = (begin + written) * D;
    assert_same_bits(f->rows + end, before + end, ROW_NUMBERS - end);
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
    cmocka_unit_test(a_kept_subset),
    cmocka_unit_test(to_weights),
};

RUN_UNIT_TESTS(tests)
