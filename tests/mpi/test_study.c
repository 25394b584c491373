/* The study against subsets summed one by one, on several ranks against one, and its two ways of
 * being fed against each other. */
#include "support/ranks.h"
#include "support/samples.h"
#include "support/subsets.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/study.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    E = DRAWN_EXPERTS,
    C = DRAWN_CLASSES,
    N = DRAWN_SAMPLES,
    KEEPS = 4,
    SEEDS = 3,
    MASSES = 3,
    FIRST_SEED = 40,
    LIMIT = 15 /* C(6,3) = 20 are too many, C(6,4) = 15 are not */
};
static size_t keep_sizes[KEEPS] = {1, 3, 4, E};
static const cot_keeps keeps = {KEEPS, keep_sizes};
static const double masses[MASSES] = {0.3, 0.75, 1};
static const cot_loss_options class_loss = {COT_CROSS_ENTROPY, 0.1};
static const cot_loss_options value_loss = {COT_MEAN_SQUARED_ERROR, 0};

typedef struct fixture {
    cot_comm *comm;
    cot_ordered_sum *sums;
    cot_study *study;
    cot_study_options options;
} fixture;

static void create(fixture *f, cot_comm *comm, bool classes, size_t layers)
{
    *f = (fixture){.comm = comm};
    f->options = (cot_study_options){.layers = layers,
                                     .experts = E,
                                     .outputs = classes ? C : 1,
                                     .classes = classes ? C : 0,
                                     .loss = classes ? &class_loss : &value_loss,
                                     .keeps = &keeps,
                                     .orders = {true, true, true, true, true, true},
                                     .seeds = SEEDS,
                                     .first_seed = FIRST_SEED,
                                     .mass_count = MASSES,
                                     .masses = masses,
                                     .exhaustive = layers == 1,
                                     .subset_limit = LIMIT,
                                     .grains = drawn_grains_here(comm),
                                     .samples = N};
    f->sums = cot_ordered_sum_create(comm->world, 1, true, 1);
    f->study = cot_study_create(&f->options);
}

static void destroy(fixture *f)
{
    cot_study_destroy(&f->study);
    assert_null(f->study);
    cot_ordered_sum_destroy(&f->sums);
    cot_comm_destroy(&f->comm);
}

static void add_sample(void *context, size_t grain, size_t index)
{
    fixture *f = context;
    drawn_sample sample;
    draw_sample(index, 0, f->options.classes > 0, &sample);
    cot_study_add(f->study, grain, &sample.view);
}

static void add_once_more(void *context, size_t grain, size_t index)
{
    fixture *f = context;
    drawn_sample sample;
    double mass[E];
    mean_masses(0, mass);
    draw_sample(index, 0, f->options.classes > 0, &sample);
    cot_study_add_common(f->study, grain, &sample.view, mass);
}

static void finish(fixture *f, cot_catalog *catalog)
{
    *catalog = (cot_catalog){0};
    cot_study_finish(f->study, f->comm, f->sums);
    cot_study_list(f->study, catalog);
}

static void run(fixture *f, cot_catalog *catalog)
{
    visit_drawn(f->comm, add_sample, f);
    if (f->options.orders[COT_ORDER_COMMON]) visit_drawn(f->comm, add_once_more, f);
    finish(f, catalog);
}

/* ---- against subsets, one by one ---- */

/* Study classes, and values, on all ranks, and look at what comes out. */
static void study_both(void (*look)(const cot_catalog *catalog, bool classes))
{
    for (int classes = 0; classes <= 1; classes++) {
        fixture f;
        cot_catalog catalog;
        create(&f, comm_of_world(1), classes, 1);
        run(&f, &catalog);
        look(&catalog, classes);
        destroy(&f);
    }
}

/* What a curve's point must hold. */
typedef struct tally {
    double loss, metric;
    double squares, target, target_squares;
    uint64_t distinct;
    unsigned sets[N];
} tally;

static void tally_add(tally *t, const drawn_sample *sample, size_t i, unsigned set)
{
    outcome result = outcome_of(sample, set);
    double value = (double)sample->view.target.value;
    bool seen = false;
    t->loss += result.loss / N;
    t->metric += (double)result.right / N;
    t->target += value / N;
    t->target_squares += value * value / N;
    for (size_t before = 0; before < i; before++) seen = seen || t->sets[before] == set;
    t->sets[i] = set;
    t->distinct += !seen;
}

static void tally_finish(tally *t, bool classes)
{
    if (!classes) t->metric = t->loss / (t->target_squares - t->target * t->target);
}

/* Outputs in single precision are the same but where a sum in another order rounds the other way:
 * one unit in the last place of one output, and the variance of the target takes some more. */
static const double rounding = 1e-6;

static bool is_close(const char *what, double actual, double want)
{
    bool good = fabs(actual - want) <= rounding * (1 + fabs(want));
    if (!good) print_error("%s: %.17g is not %.17g\n", what, actual, want);
    return good;
}

static bool point_holds(const cot_catalog *catalog, const char *curve, bool classes, size_t at,
                        const tally *want)
{
    char loss[64];
    char metric[64];
    char distinct[64];
    snprintf(loss, sizeof loss, "loss_%s", curve);
    snprintf(metric, sizeof metric, "%s_%s", classes ? "accuracy" : "relative_error", curve);
    snprintf(distinct, sizeof distinct, "distinct_subsets_%s", curve);
    const cot_variable *subsets = cot_catalog_variable(catalog, distinct);
    bool counted =
        strcmp(curve, "random") != 0 && strcmp(curve, "common") != 0 && strcmp(curve, "mass") != 0;
    return is_close(loss, reals_of(catalog, loss)[at], want->loss) &&
           is_close(metric, reals_of(catalog, metric)[at], want->metric) &&
           counted == (subsets != NULL) &&
           (!counted || wholes_of(catalog, distinct)[at] == (int64_t)want->distinct);
}

static bool order_holds(const cot_catalog *catalog, bool classes, cot_order order)
{
    size_t seeds = order == COT_ORDER_RANDOM ? SEEDS : 1;
    bool good = true;
    for (size_t seed = 0; seed < seeds; seed++)
        for (size_t k = 0; k < KEEPS; k++) {
            tally want = {0};
            drawn_sample sample;
            for (size_t i = 0; i < N; i++) {
                draw_sample(i, 0, classes, &sample);
                tally_add(&want, &sample, i,
                          subset_of(&sample, order, FIRST_SEED + seed, keep_sizes[k]));
            }
            tally_finish(&want, classes);
            good = good &&
                   point_holds(catalog, cot_order_name(order), classes, seed * KEEPS + k, &want);
        }
    return good;
}

static void orders_hold(const cot_catalog *catalog, bool classes)
{
    for (cot_order order = 0; order < COT_ORDERS; order++)
        assert_on_every_rank(order_holds(catalog, classes, order));
}

static void orders_agree_with_subsets(void **state)
{
    (void)state;
    study_both(orders_hold);
}

static void masses_hold(const cot_catalog *catalog, bool classes)
{
    bool good = true;
    for (size_t m = 0; m < MASSES; m++) {
        tally want = {0};
        drawn_sample sample;
        double kept = 0;
        double squares = 0;
        for (size_t i = 0; i < N; i++) {
            draw_sample(i, 0, classes, &sample);
            unsigned set = subset_by_mass(&sample, masses[m]);
            double size = __builtin_popcount(set);
            kept += size / N;
            squares += size * size / N;
            tally_add(&want, &sample, i, set);
        }
        tally_finish(&want, classes);
        /* A root of a difference. */
        double deviation = reals_of(catalog, "kept_mass_sd")[m];
        good = good && point_holds(catalog, "mass", classes, m, &want) &&
               is_close("kept", reals_of(catalog, "kept_mass_mean")[m], kept) &&
               is_close("kept", deviation * deviation, squares - kept * kept);
    }
    assert_on_every_rank(good);
}

static void masses_agree_with_subsets(void **state)
{
    (void)state;
    study_both(masses_hold);
}

static bool spread_holds(const cot_catalog *catalog, const char *values, const char *means,
                         const char *deviations)
{
    bool good = true;
    for (size_t k = 0; k < KEEPS; k++) {
        double mean = 0;
        double squares = 0;
        for (size_t s = 0; s < SEEDS; s++) mean += reals_of(catalog, values)[s * KEEPS + k] / SEEDS;
        for (size_t s = 0; s < SEEDS; s++)
            squares += pow(reals_of(catalog, values)[s * KEEPS + k] - mean, 2);
        good = good && is_close(means, reals_of(catalog, means)[k], mean) &&
               is_close(deviations, reals_of(catalog, deviations)[k], sqrt(squares / (SEEDS - 1)));
    }
    return good;
}

static void random_has_mean_and_deviation(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    create(&f, comm_of_world(1), true, 1);
    run(&f, &catalog);
    assert_on_every_rank(
        spread_holds(&catalog, "accuracy_random", "accuracy_random_mean", "accuracy_random_sd"));
    assert_on_every_rank(
        spread_holds(&catalog, "loss_random", "loss_random_mean", "loss_random_sd"));
    assert_on_every_rank(reals_of(&catalog, "loss_random_sd")[0] > 0);
    const cot_dimension *seed = cot_catalog_dimension(&catalog, "seed");
    assert_true(seed->size == SEEDS && ((const int64_t *)seed->values)[1] == FIRST_SEED + 1);
    destroy(&f);
}

/* ---- exhaustive ---- */

static bool search_holds(const cot_catalog *catalog, bool classes, size_t k)
{
    const size_t keep = keep_sizes[k];
    tally want = {0};
    drawn_sample sample;
    double any_right = 0;
    double lower = 0;
    int64_t searched = 0;
    for (size_t i = 0; i < N; i++) {
        draw_sample(i, 0, classes, &sample);
        unsigned own = subset_of(&sample, COT_ORDER_COMBINE, 0, keep);
        unsigned best = own;
        bool any = false;
        searched = 0;
        for (unsigned set = 0; set < SUBSETS; set++) {
            if ((size_t)__builtin_popcount(set) != keep) continue;
            outcome result = outcome_of(&sample, set);
            searched++;
            any = any || result.right;
            lower += (double)(result.loss < outcome_of(&sample, own).loss) / N;
            if (result.loss < outcome_of(&sample, best).loss) best = set;
        }
        any_right += (double)any / N;
        tally_add(&want, &sample, i, best);
    }
    tally_finish(&want, classes);
    return point_holds(catalog, "exhaustive", classes, k, &want) &&
           is_close("rank", reals_of(catalog, "exhaustive_combine_rank")[k], lower) &&
           wholes_of(catalog, "exhaustive_subsets")[k] == searched &&
           (!classes ||
            is_close("any right", reals_of(catalog, "exhaustive_any_right")[k], any_right));
}

static void searches_hold(const cot_catalog *catalog, bool classes)
{
    for (size_t k = 0; k < KEEPS; k++) {
        if (keep_sizes[k] == 3) continue; /* too many */
        assert_on_every_rank(search_holds(catalog, classes, k));
    }
    assert_true(isnan(reals_of(catalog, "loss_exhaustive")[1]));
    assert_true(isnan(reals_of(catalog, "exhaustive_combine_rank")[1]));
    assert_int_equal(wholes_of(catalog, "exhaustive_subsets")[1], 0);
    assert_int_equal(wholes_of(catalog, "distinct_subsets_exhaustive")[1], 0);
    if (classes) assert_true(isnan(reals_of(catalog, "exhaustive_any_right")[1]));
    if (!classes) assert_null(cot_catalog_variable(catalog, "exhaustive_any_right"));
}

static void search_agrees_with_subsets(void **state)
{
    (void)state;
    study_both(searches_hold);
}

static void counts_of_subsets(void **state)
{
    (void)state;
    assert_true(cot_subset_count(6, 3) == 20);
    assert_true(cot_subset_count(8, 1) == 8 && cot_subset_count(8, 7) == 8);
    assert_true(cot_subset_count(5, 5) == 1 && cot_subset_count(5, 0) == 1);
    assert_true(cot_subset_count(3, 4) == 0);
    assert_true(cot_subset_count(32, 16) == 601080390);
    assert_true(cot_subset_count(67, 33) == 14226520737620288370u);
    assert_true(cot_subset_count(68, 34) == SIZE_MAX);
    assert_true(cot_subset_count(512, 256) == SIZE_MAX);
    assert_true(cot_subset_count(512, 511) == 512);
}

/* All experts alike: no subset is lower than another, rounding or not. */
static void equal_subsets_are_not_lower(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    drawn_sample sample;
    create(&f, comm_of_self(), true, 1);
    for (size_t i = 0; i < N; i++) {
        draw_sample(i, 0, true, &sample);
        for (size_t e = 1; e < E; e++)
            memcpy(sample.effects + e * C, sample.effects, C * sizeof(cot_real));
        cot_study_add(f.study, i % DRAWN_GRAINS, &sample.view);
    }
    finish(&f, &catalog);
    for (size_t k = 0; k < KEEPS; k++) {
        if (keep_sizes[k] == 3) continue;
        assert_true(reals_of(&catalog, "exhaustive_combine_rank")[k] == 0);
        assert_int_equal(wholes_of(&catalog, "distinct_subsets_exhaustive")[k], 1);
        assert_int_equal(wholes_of(&catalog, "distinct_subsets_greedy")[k], 1);
    }
    destroy(&f);
}

/* An expert that broke down spoils the subsets that it is in, not the best of the others. */
static void nan_is_never_the_lowest(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    drawn_sample sample;
    create(&f, comm_of_self(), true, 1);
    draw_sample(0, 0, true, &sample);
    sample.effects[0] = NAN;
    cot_study_add(f.study, 0, &sample.view);
    finish(&f, &catalog);
    assert_false(isnan(reals_of(&catalog, "loss_exhaustive")[0]));
    assert_true(isnan(reals_of(&catalog, "loss_exhaustive")[KEEPS - 1]));
    destroy(&f);
}

/* ---- ranks ---- */

static void same_bits_on_every_number_of_ranks(void **state)
{
    (void)state;
    for (int classes = 0; classes <= 1; classes++) {
        fixture many;
        fixture one;
        cot_catalog of_many;
        cot_catalog of_one;
        create(&many, comm_of_world(1), classes, 1);
        create(&one, comm_of_self(), classes, 1);
        run(&many, &of_many);
        run(&one, &of_one);
        assert_on_every_rank(catalogs_agree(&of_many, &of_one, ranks_divide_grains(many.comm)));
        destroy(&one);
        destroy(&many);
    }
}

/* More ranks than grains: some have none, and no samples. */
static void a_rank_without_samples(void **state)
{
    (void)state;
    fixture many;
    fixture one;
    cot_catalog of_many;
    cot_catalog of_one;
    create(&many, comm_of_world(1), true, 1);
    create(&one, comm_of_self(), true, 1);
    bool works = rank_here() == rank_count() - 1;
    cot_study_destroy(&many.study);
    many.options.grains = works ? DRAWN_GRAINS : 0;
    many.options.samples = works ? N : 0;
    many.study = cot_study_create(&many.options);
    if (works) visit_drawn(one.comm, add_sample, &many);
    if (works) visit_drawn(one.comm, add_once_more, &many);
    finish(&many, &of_many);
    run(&one, &of_one);
    assert_on_every_rank(catalogs_agree(&of_many, &of_one, true));
    destroy(&one);
    destroy(&many);
}

/* ---- a run for each point ---- */

static void mark(unsigned set, uint8_t *kept)
{
    for (size_t e = 0; e < E; e++) kept[e] = set >> e & 1;
}

/* What a model of two layers would do: outputs by the subset of the first, the second's is that of
 * another sample. */
static void add_runs(void *context, size_t grain, size_t index)
{
    fixture *f = context;
    drawn_sample sample;
    drawn_sample other;
    uint8_t masks[2][E];
    const uint8_t *const kept[] = {masks[0], masks[1]};
    draw_sample(index, 0, true, &sample);
    draw_sample(index % 2, 1, true, &other);
    for (cot_order order = 0; order < COT_ORDERS; order++)
        for (size_t seed = 0; seed < (order == COT_ORDER_RANDOM ? SEEDS : 1); seed++)
            for (size_t k = 0; k < KEEPS; k++) {
                unsigned set = subset_of(&sample, order, FIRST_SEED + seed, keep_sizes[k]);
                mark(set, masks[0]);
                mark(subset_of(&other, order, FIRST_SEED + seed, keep_sizes[k]), masks[1]);
                outcome result = outcome_of(&sample, set);
                cot_study_add_outputs(f->study, grain, order, seed, k, result.outputs,
                                      &sample.view.target, kept);
            }
    for (size_t m = 0; m < MASSES; m++) {
        unsigned set = subset_by_mass(&sample, masses[m]);
        mark(set, masks[0]);
        mark(set, masks[1]);
        outcome result = outcome_of(&sample, set);
        cot_study_add_mass_outputs(f->study, grain, m, result.outputs, &sample.view.target, kept);
    }
}

static bool layers_hold(const cot_catalog *catalog)
{
    bool good = true;
    const int64_t *distinct = wholes_of(catalog, "distinct_subsets_combine");
    for (size_t k = 0; k < KEEPS; k++)
        good = good && distinct[KEEPS + k] <= 2 && distinct[KEEPS + k] >= 1;
    return good && distinct[KEEPS] == 2;
}

static void runs_for_each_point_agree(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    create(&f, comm_of_world(1), true, 2);
    visit_drawn(f.comm, add_runs, &f);
    finish(&f, &catalog);
    orders_hold(&catalog, true);
    masses_hold(&catalog, true);
    assert_on_every_rank(layers_hold(&catalog));
    destroy(&f);
}

/* ---- little to study ---- */

static void what_was_not_asked_for_is_not_there(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    create(&f, comm_of_world(1), true, 1);
    cot_study_destroy(&f.study);
    f.options = (cot_study_options){.layers = 1,
                                    .experts = E,
                                    .outputs = C,
                                    .classes = C,
                                    .loss = &class_loss,
                                    .keeps = &keeps,
                                    .orders = {[COT_ORDER_RANDOM] = true},
                                    .seeds = 1,
                                    .grains = f.options.grains,
                                    .samples = N};
    f.study = cot_study_create(&f.options);
    run(&f, &catalog);
    assert_int_equal(catalog.variable_count, 6);
    assert_null(cot_catalog_dimension(&catalog, "mass"));
    /* One seed has no deviation. */
    assert_true(isnan(reals_of(&catalog, "accuracy_random_sd")[0]));
    assert_true(reals_of(&catalog, "loss_random_mean")[0] == reals_of(&catalog, "loss_random")[0]);
    destroy(&f);
}

static void destroying_nothing(void **state)
{
    (void)state;
    cot_study *study = NULL;
    cot_study_destroy(&study);
    assert_null(study);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(orders_agree_with_subsets),
    cmocka_unit_test(masses_agree_with_subsets),
    cmocka_unit_test(random_has_mean_and_deviation),
    cmocka_unit_test(search_agrees_with_subsets),
    cmocka_unit_test(counts_of_subsets),
    cmocka_unit_test(equal_subsets_are_not_lower),
    cmocka_unit_test(nan_is_never_the_lowest),
    cmocka_unit_test(same_bits_on_every_number_of_ranks),
    cmocka_unit_test(a_rank_without_samples),
    cmocka_unit_test(runs_for_each_point_agree),
    cmocka_unit_test(what_was_not_asked_for_is_not_there),
    cmocka_unit_test(destroying_nothing),
};

RUN_MPI_TESTS(tests)
