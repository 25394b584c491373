#include "support/samples.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/rng.h>

#include <math.h>
#include <string.h>

enum { E = DRAWN_EXPERTS, P = DRAWN_SLOTS, T = DRAWN_TOKENS, S = DRAWN_ALL_SLOTS, DRAWS = 60 };

/* Of two layers, all samples together; of equals the lower index first, NaN last. */
static const double mass_of_all[] = {0.5, 0, NAN, 0.5, 0.75, 0, 0, 1, 2, 3, 4, 3};
static const size_t common_orders[2][E] = {{4, 0, 3, 1, 5, 2}, {4, 3, 5, 2, 1, 0}};

static void rank_sample(cot_order order, uint64_t seed, const cot_sample_view *view,
                        size_t *experts)
{
    cot_orderer *orderer = cot_orderer_create(order, seed, view->routing.experts, view->outputs);
    cot_orderer_set_mass(orderer, mass_of_all);
    cot_orderer_rank(orderer, view, experts);
    cot_orderer_destroy(&orderer);
    assert_null(orderer);
}

static void assert_order(cot_order order, const cot_sample_view *view, const size_t *want)
{
    size_t experts[16];
    rank_sample(order, 0, view, experts);
    for (size_t e = 0; e < view->routing.experts; e++)
        if (experts[e] != want[e])
            fail_msg("%s: place %zu has expert %zu, not %zu", cot_order_name(order), e, experts[e],
                     want[e]);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(cot_order_name(COT_ORDER_COMBINE), "combine");
    assert_string_equal(cot_order_name(COT_ORDER_DISPATCH), "dispatch");
    assert_string_equal(cot_order_name(COT_ORDER_CONTRIBUTION), "contribution");
    assert_string_equal(cot_order_name(COT_ORDER_RANDOM), "random");
    assert_string_equal(cot_order_name(COT_ORDER_COMMON), "common");
    assert_string_equal(cot_order_name(COT_ORDER_GREEDY), "greedy");
    assert_true(cot_order_needs_routing_only(COT_ORDER_COMBINE));
    assert_true(cot_order_needs_routing_only(COT_ORDER_DISPATCH));
    assert_true(cot_order_needs_routing_only(COT_ORDER_RANDOM));
    assert_true(cot_order_needs_routing_only(COT_ORDER_COMMON));
    assert_false(cot_order_needs_routing_only(COT_ORDER_CONTRIBUTION));
    assert_false(cot_order_needs_routing_only(COT_ORDER_GREEDY));
}

/* Two tokens, three experts. Combine masses 0.9, 0.5, 0.6. All dispatch columns sum to 1; their
 * squares to 0.5, 0.82, 1. Contributions: column norms 0.64, 0.51, 0.45, times 1, 4, 2. */
static const cot_real combine[] = {(cot_real)0.5, (cot_real)0.0, (cot_real)0.5,
                                   (cot_real)0.4, (cot_real)0.5, (cot_real)0.1};
static const cot_real dispatch[] = {(cot_real)0.5, (cot_real)0.9, 0,
                                    (cot_real)0.5, (cot_real)0.1, 1};
static const cot_real norms[] = {1, 4, 2};

static void by_hand(void **state)
{
    (void)state;
    const cot_sample_view view = {.routing = {.tokens = 2,
                                              .experts = 3,
                                              .slots_per_expert = 1,
                                              .combine = combine,
                                              .dispatch = dispatch},
                                  .slot_norms = norms};
    assert_order(COT_ORDER_COMBINE, &view, (size_t[]){0, 2, 1});
    assert_order(COT_ORDER_DISPATCH, &view, (size_t[]){2, 1, 0});
    assert_order(COT_ORDER_CONTRIBUTION, &view, (size_t[]){1, 2, 0});
}

static void of_equals_the_lower_index_and_nan_last(void **state)
{
    (void)state;
    const cot_real weights[] = {(cot_real)0.25, NAN, (cot_real)0.25, (cot_real)0.5};
    const cot_real equal_norms[] = {2, 2, 2, 1};
    const cot_sample_view view = {.routing = {.tokens = 1,
                                              .experts = 4,
                                              .slots_per_expert = 1,
                                              .combine = weights,
                                              .dispatch = weights},
                                  .slot_norms = equal_norms};
    assert_order(COT_ORDER_COMBINE, &view, (size_t[]){3, 0, 2, 1});
    assert_order(COT_ORDER_DISPATCH, &view, (size_t[]){3, 0, 2, 1});
    assert_order(COT_ORDER_CONTRIBUTION, &view, (size_t[]){0, 2, 3, 1});
}

/* Several slots an expert, against scores summed slot by slot. */
static void scores_add_over_slots(void **state)
{
    (void)state;
    drawn_sample sample;
    for (size_t draw = 0; draw < DRAWS; draw++) {
        double scores[3][E] = {{0}};
        draw_sample(draw, 0, true, &sample);
        for (size_t s = 0; s < S; s++) {
            double squares = 0;
            for (size_t t = 0; t < T; t++) {
                double w = (double)sample.combine[t * S + s];
                double d = (double)sample.dispatch[t * S + s];
                scores[0][s / P] += w;
                scores[1][s / P] += d * d;
                squares += w * w;
            }
            scores[2][s / P] += sqrt(squares) * (double)sample.norms[s];
        }
        for (size_t order = COT_ORDER_COMBINE; order <= COT_ORDER_CONTRIBUTION; order++) {
            size_t want[E];
            for (size_t e = 0; e < E; e++) {
                size_t better = 0;
                for (size_t other = 0; other < E; other++)
                    better += scores[order][other] > scores[order][e];
                want[better] = e;
            }
            assert_order(order, &sample.view, want);
        }
    }
}

/* ---- common ---- */

static void common_by_layer(void **state)
{
    (void)state;
    drawn_sample sample;
    for (size_t draw = 0; draw < DRAWS; draw++)
        for (size_t layer = 0; layer < 2; layer++) {
            draw_sample(draw, layer, true, &sample);
            assert_order(COT_ORDER_COMMON, &sample.view, common_orders[layer]);
        }
}

/* ---- random ---- */

static bool random_orders_differ(size_t sample, size_t layer, uint64_t seed)
{
    size_t one[64];
    size_t other[64];
    cot_sample_view view = {.routing = {.sample = 5, .layer = 0, .experts = 64}};
    rank_sample(COT_ORDER_RANDOM, 9, &view, one);
    view.routing.sample = sample;
    view.routing.layer = layer;
    rank_sample(COT_ORDER_RANDOM, seed, &view, other);
    return memcmp(one, other, sizeof one) != 0;
}

static void random_by_seed_layer_and_sample(void **state)
{
    (void)state;
    assert_false(random_orders_differ(5, 0, 9));
    assert_true(random_orders_differ(6, 0, 9));
    assert_true(random_orders_differ(5, 1, 9));
    assert_true(random_orders_differ(5, 0, 10));
}

/* Each of the 24 orders of four experts is as likely: counts within 5 standard deviations of the
 * binomial. The numbers are fixed, so the test cannot fail by chance. */
static void random_orders_are_uniform(void **state)
{
    (void)state;
    enum { ORDERS = 24, SAMPLES = 24000 };
    size_t counts[256] = {0};
    size_t seen = 0;
    cot_orderer *orderer = cot_orderer_create(COT_ORDER_RANDOM, 1, 4, 0);
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t experts[4];
        cot_sample_view view = {.routing = {.sample = i, .experts = 4}};
        cot_orderer_rank(orderer, &view, experts);
        counts[experts[0] | experts[1] << 2 | experts[2] << 4 | experts[3] << 6]++;
    }
    cot_orderer_destroy(&orderer);
    const double mean = (double)SAMPLES / ORDERS;
    for (size_t i = 0; i < 256; i++) {
        if (counts[i] == 0) continue;
        seen++;
        assert_true(fabs((double)counts[i] - mean) < 5 * sqrt(mean));
    }
    assert_int_equal(seen, ORDERS);
}

/* ---- greedy ---- */

static double loss_of(const cot_sample_view *view, const double *outputs)
{
    if (view->loss->kind == COT_MEAN_SQUARED_ERROR)
        return pow(outputs[0] - (double)view->target.value, 2);
    double max = -INFINITY;
    double sum = 0;
    for (size_t c = 0; c < view->outputs; c++) max = fmax(max, outputs[c]);
    for (size_t c = 0; c < view->outputs; c++) sum += exp(outputs[c] - max);
    double loss = 0;
    for (size_t c = 0; c < view->outputs; c++) {
        double q = view->loss->label_smoothing / (double)view->outputs;
        if (c == (size_t)view->target.label) q += 1 - view->loss->label_smoothing;
        loss -= q * (outputs[c] - max - log(sum));
    }
    return loss;
}

static double loss_with(const cot_sample_view *view, const double *running, size_t e)
{
    double outputs[DRAWN_CLASSES];
    for (size_t c = 0; c < view->outputs; c++)
        outputs[c] = running[c] + (double)view->effects[e * view->outputs + c];
    return loss_of(view, outputs);
}

/* Every place has the expert of lowest loss among those left, up to rounding in double. */
static void assert_greedy(const cot_sample_view *view)
{
    size_t experts[E];
    double running[DRAWN_CLASSES];
    bool used[E] = {false};
    rank_sample(COT_ORDER_GREEDY, 0, view, experts);
    for (size_t c = 0; c < view->outputs; c++) running[c] = (double)view->base[c];
    for (size_t place = 0; place < E; place++) {
        assert_true(experts[place] < E && !used[experts[place]]);
        double mine = loss_with(view, running, experts[place]);
        for (size_t e = 0; e < E; e++)
            if (!used[e])
                assert_true(mine <= loss_with(view, running, e) + 1e-11 * (1 + fabs(mine)));
        used[experts[place]] = true;
        for (size_t c = 0; c < view->outputs; c++)
            running[c] += (double)view->effects[experts[place] * view->outputs + c];
    }
}

static void greedy_takes_the_lowest_loss(void **state)
{
    (void)state;
    drawn_sample sample;
    for (size_t draw = 0; draw < DRAWS; draw++)
        for (int classes = 0; classes <= 1; classes++) {
            draw_sample(draw, 0, classes, &sample);
            assert_greedy(&sample.view);
        }
}

/* Outputs so far apart that products of their powers vanish. */
static void greedy_with_large_outputs(void **state)
{
    (void)state;
    drawn_sample sample;
    for (size_t draw = 0; draw < DRAWS; draw++) {
        draw_sample(draw, 0, true, &sample);
        for (size_t i = 0; i < DRAWN_EXPERTS * DRAWN_CLASSES; i++) sample.effects[i] *= 500;
        for (size_t c = 0; c < DRAWN_CLASSES; c++) sample.base[c] *= 1000;
        assert_greedy(&sample.view);
    }
}

static void greedy_of_equals_the_lower_index_and_nan_last(void **state)
{
    (void)state;
    drawn_sample sample;
    size_t experts[E];
    draw_sample(3, 0, true, &sample);
    for (size_t e = 1; e < E; e++)
        memcpy(sample.effects + e * DRAWN_CLASSES, sample.effects,
               DRAWN_CLASSES * sizeof(cot_real));
    assert_order(COT_ORDER_GREEDY, &sample.view, (size_t[]){0, 1, 2, 3, 4, 5});
    /* One that goes first leaves the others in order. */
    sample.effects[4 * DRAWN_CLASSES + (size_t)sample.view.target.label] += 5;
    assert_order(COT_ORDER_GREEDY, &sample.view, (size_t[]){4, 0, 1, 2, 3, 5});
    draw_sample(3, 0, true, &sample);
    sample.effects[2 * DRAWN_CLASSES + 1] = NAN;
    rank_sample(COT_ORDER_GREEDY, 0, &sample.view, experts);
    assert_int_equal(experts[E - 1], 2);
    draw_sample(3, 0, false, &sample);
    sample.effects[4] = NAN;
    rank_sample(COT_ORDER_GREEDY, 0, &sample.view, experts);
    assert_int_equal(experts[E - 1], 4);
}

/* ---- selectors ---- */

static void one_expert(void **state)
{
    (void)state;
    const cot_real one[] = {1, 1};
    const cot_real effects[] = {1, 2};
    const cot_loss_options loss = {COT_CROSS_ENTROPY, 0};
    const cot_sample_view view = {.routing = {.tokens = 2,
                                              .experts = 1,
                                              .slots_per_expert = 1,
                                              .combine = one,
                                              .dispatch = one},
                                  .slot_norms = one,
                                  .base = one,
                                  .effects = effects,
                                  .outputs = 2,
                                  .loss = &loss};
    for (cot_order order = 0; order < COT_ORDERS; order++)
        assert_order(order, &view, (size_t[]){0});
    uint8_t kept = 9;
    cot_selector *selector = cot_selector_mass(1, 0.1);
    selector->select(selector, &view.routing, &kept);
    assert_int_equal(kept, 1);
    cot_selector_destroy(&selector);
}

static void selectors_keep_the_front_of_an_order(void **state)
{
    (void)state;
    const cot_order orders[] = {COT_ORDER_COMBINE, COT_ORDER_DISPATCH, COT_ORDER_RANDOM,
                                COT_ORDER_COMMON};
    drawn_sample sample;
    for (size_t o = 0; o < 4; o++)
        for (size_t keep = 1; keep <= E; keep++) {
            cot_selector *selector = orders[o] == COT_ORDER_COMMON
                                         ? cot_selector_common(mass_of_all, E, keep)
                                         : cot_selector_order(orders[o], 31, E, keep);
            for (size_t draw = 0; draw < DRAWS; draw++) {
                uint8_t kept[E + 1];
                uint8_t want[E + 1] = {0};
                size_t experts[E];
                memset(kept, 0xee, sizeof kept);
                want[E] = 0xee;
                draw_sample(draw, draw % 2, true, &sample);
                selector->select(selector, &sample.view.routing, kept);
                rank_sample(orders[o], 31, &sample.view, experts);
                for (size_t k = 0; k < keep; k++) want[experts[k]] = 1;
                assert_memory_equal(kept, want, sizeof kept);
            }
            cot_selector_destroy(&selector);
            assert_null(selector);
        }
}

static void assert_kept_by_mass(double share, const cot_real *weights, const uint8_t *want)
{
    enum { EXPERTS = 4 };
    uint8_t kept[EXPERTS];
    const cot_routing routing = {
        .tokens = 1, .experts = EXPERTS, .slots_per_expert = 1, .combine = weights};
    cot_selector *selector = cot_selector_mass(EXPERTS, share);
    selector->select(selector, &routing, kept);
    assert_memory_equal(kept, want, EXPERTS);
    cot_selector_destroy(&selector);
}

/* Weights that are exact in binary, so that shares are reached exactly. */
static void mass_keeps_the_fewest(void **state)
{
    (void)state;
    const cot_real weights[] = {(cot_real)0.125, (cot_real)0.5, 0, (cot_real)0.375};
    assert_kept_by_mass(0.001, weights, (uint8_t[]){0, 1, 0, 0});
    assert_kept_by_mass(0.5, weights, (uint8_t[]){0, 1, 0, 0});
    assert_kept_by_mass(0.51, weights, (uint8_t[]){0, 1, 0, 1});
    assert_kept_by_mass(0.875, weights, (uint8_t[]){0, 1, 0, 1});
    assert_kept_by_mass(0.876, weights, (uint8_t[]){1, 1, 0, 1});
    assert_kept_by_mass(1, weights, (uint8_t[]){1, 1, 0, 1});
    /* Of weights that do not add up to 1 by rounding, all is still reached. */
    const cot_real thirds[] = {(cot_real)0.1, (cot_real)0.2, (cot_real)0.3, (cot_real)0.39};
    assert_kept_by_mass(1, thirds, (uint8_t[]){1, 1, 1, 1});
    const cot_real damaged[] = {(cot_real)0.1, NAN, (cot_real)0.3, (cot_real)0.39};
    assert_kept_by_mass(0.1, damaged, (uint8_t[]){1, 1, 1, 1});
}

static void mass_against_counting(void **state)
{
    (void)state;
    drawn_sample sample;
    for (size_t draw = 0; draw < DRAWS; draw++)
        for (double share = 0.05; share <= 0.98; share += 0.1) {
            uint8_t kept[E];
            double mass[E];
            draw_sample(draw, 0, true, &sample);
            cot_selector *selector = cot_selector_mass(E, share);
            selector->select(selector, &sample.view.routing, kept);
            cot_selector_destroy(&selector);
            cot_combine_mass(&sample.view.routing, mass);
            double total = 0;
            double reached = 0;
            double smallest = INFINITY;
            for (size_t e = 0; e < E; e++) {
                total += mass[e];
                if (!kept[e]) continue;
                reached += mass[e];
                smallest = fmin(smallest, mass[e]);
            }
            /* Enough, and not without the last; the largest ones. */
            assert_true(reached >= share * total && reached - smallest < share * total);
            for (size_t e = 0; e < E; e++) assert_true(kept[e] || mass[e] <= smallest);
        }
}

static void destroying_nothing(void **state)
{
    (void)state;
    cot_orderer *orderer = NULL;
    cot_orderer_destroy(&orderer);
    assert_null(orderer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(names),
    cmocka_unit_test(by_hand),
    cmocka_unit_test(of_equals_the_lower_index_and_nan_last),
    cmocka_unit_test(scores_add_over_slots),
    cmocka_unit_test(common_by_layer),
    cmocka_unit_test(random_by_seed_layer_and_sample),
    cmocka_unit_test(random_orders_are_uniform),
    cmocka_unit_test(greedy_takes_the_lowest_loss),
    cmocka_unit_test(greedy_with_large_outputs),
    cmocka_unit_test(greedy_of_equals_the_lower_index_and_nan_last),
    cmocka_unit_test(one_expert),
    cmocka_unit_test(selectors_keep_the_front_of_an_order),
    cmocka_unit_test(mass_keeps_the_fewest),
    cmocka_unit_test(mass_against_counting),
    cmocka_unit_test(destroying_nothing),
};

RUN_UNIT_TESTS(tests)
