#include "support/test.h"

#include <coterie/rng.h>
#include <coterie/selector.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

static void assert_kept(size_t E, size_t P, size_t T, size_t keep, const cot_real *combine,
                        const uint8_t *want)
{
    uint8_t kept[16];
    memset(kept, 0xee, sizeof kept);
    cot_selector *selector = cot_selector_combine(E, keep);
    cot_routing routing = {.tokens = T, .experts = E, .slots_per_expert = P, .combine = combine};
    selector->select(selector, &routing, kept);
    assert_memory_equal(kept, want, E);
    assert_int_equal(kept[E], 0xee);
    cot_selector_destroy(&selector);
    assert_null(selector);
}

/* Two tokens, three experts of two slots. Masses: 0.3 + 0.4, 0.6 + 0.3, 0.1 + 0.3. */
static const cot_real two_tokens[] = {(cot_real)0.1, (cot_real)0.2, (cot_real)0.3, (cot_real)0.3,
                                      (cot_real)0.0, (cot_real)0.1, (cot_real)0.4, (cot_real)0.0,
                                      (cot_real)0.2, (cot_real)0.1, (cot_real)0.1, (cot_real)0.2};

static void keeps_the_largest_masses(void **state)
{
    (void)state;
    assert_kept(3, 2, 2, 1, two_tokens, (uint8_t[]){0, 1, 0});
    assert_kept(3, 2, 2, 2, two_tokens, (uint8_t[]){1, 1, 0});
    assert_kept(3, 2, 2, 3, two_tokens, (uint8_t[]){1, 1, 1});
    /* The first token alone: 0.3, 0.6, 0.1. */
    assert_kept(3, 2, 1, 2, two_tokens, (uint8_t[]){1, 1, 0});
}

static void of_equals_the_lower_index(void **state)
{
    (void)state;
    const cot_real equal[6] = {1, 1, 1, 1, 1, 1};
    assert_kept(6, 1, 1, 1, equal, (uint8_t[]){1, 0, 0, 0, 0, 0});
    assert_kept(6, 1, 1, 4, equal, (uint8_t[]){1, 1, 1, 1, 0, 0});
    const cot_real mixed[5] = {1, 3, 2, 3, 2};
    assert_kept(5, 1, 1, 3, mixed, (uint8_t[]){0, 1, 1, 1, 0});
}

/* Against counting, for each expert, those that beat it. */
static void agrees_with_counting(void **state)
{
    (void)state;
    enum { E = 12, P = 2, T = 3 };
    for (size_t draw = 0; draw < 50; draw++) {
        cot_real combine[T * E * P];
        cot_stream stream = {.seed = 1, .index = draw, .purpose = COT_PURPOSE_TEST};
        cot_rng_uniform(&stream, 0, T * E * P, 0, 1, combine);
        double mass[E] = {0};
        for (size_t i = 0; i < T * E * P; i++) mass[i % (E * P) / P] += (double)combine[i];
        for (size_t keep = 1; keep <= E; keep++) {
            uint8_t want[E];
            for (size_t e = 0; e < E; e++) {
                size_t better = 0;
                for (size_t other = 0; other < E; other++) better += mass[other] > mass[e];
                want[e] = better < keep;
            }
            assert_kept(E, P, T, keep, combine, want);
        }
    }
}

/* Of any two places the first has the larger score, or as large a one and the lower index; NaN is
 * behind all. With few different scores, so that there are equals. */
static void orders_by_score(void **state)
{
    (void)state;
    enum { MOST = 70, KINDS = 8 };
    const double kinds[KINDS] = {0.0, -0.0, 0.25, -3, 1e-310, INFINITY, -INFINITY, NAN};
    for (size_t n = 1; n <= MOST; n++) {
        double scores[MOST];
        size_t order[MOST];
        bool seen[MOST] = {false};
        cot_stream stream = {.seed = 2, .index = n, .purpose = COT_PURPOSE_TEST};
        cot_real draws[MOST];
        cot_rng_uniform(&stream, 0, n, 0, KINDS, draws);
        for (size_t e = 0; e < n; e++) scores[e] = kinds[(size_t)draws[e] % KINDS];
        cot_order_by_score(n, scores, order);
        for (size_t place = 0; place < n; place++) seen[order[place]] = true;
        for (size_t e = 0; e < n; e++) assert_true(seen[e]);
        for (size_t place = 1; place < n; place++) {
            double before = scores[order[place - 1]];
            double behind = scores[order[place]];
            bool equal = before == behind || (isnan(before) && isnan(behind));
            assert_true(equal ? order[place - 1] < order[place] : before > behind || isnan(behind));
        }
    }
}

static void destroying_nothing(void **state)
{
    (void)state;
    cot_selector *selector = NULL;
    cot_selector_destroy(&selector);
    assert_null(selector);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keeps_the_largest_masses), cmocka_unit_test(of_equals_the_lower_index),
    cmocka_unit_test(agrees_with_counting),     cmocka_unit_test(orders_by_score),
    cmocka_unit_test(destroying_nothing),
};

RUN_UNIT_TESTS(tests)
