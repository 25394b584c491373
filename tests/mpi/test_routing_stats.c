/* Statistics of routing against plain loops over all samples, on several ranks against one, and
 * where the answer is known. */
#include "support/ranks.h"
#include "support/samples.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/routing_stats.h>

#include <math.h>
#include <string.h>

enum {
    LAYERS = 2,
    E = DRAWN_EXPERTS,
    P = DRAWN_SLOTS,
    S = DRAWN_ALL_SLOTS,
    T = DRAWN_TOKENS,
    C = DRAWN_CLASSES,
    N = DRAWN_SAMPLES,
    KEEPS = 3
};
static size_t keep_sizes[KEEPS] = {1, 2, 5};
static const cot_keeps keeps = {KEEPS, keep_sizes};

typedef struct fixture {
    cot_comm *comm;
    cot_ordered_sum *sums;
    cot_routing_stats *stats;
    cot_routing_stats_options options;
    size_t damaged; /* this sample has a NaN among its weights */
} fixture;

static void create(fixture *f, cot_comm *comm, bool classes)
{
    *f = (fixture){.comm = comm, .damaged = SIZE_MAX};
    f->options = (cot_routing_stats_options){.layers = LAYERS,
                                             .tokens = T,
                                             .experts = E,
                                             .slots_per_expert = P,
                                             .classes = classes ? C : 0,
                                             .keeps = &keeps,
                                             .share_by_class = true,
                                             .grains = drawn_grains_here(comm)};
    f->sums = cot_ordered_sum_create(comm->world, 1, true, 1);
    f->stats = cot_routing_stats_create(&f->options);
}

static void destroy(fixture *f)
{
    cot_routing_stats_destroy(&f->stats);
    assert_null(f->stats);
    cot_ordered_sum_destroy(&f->sums);
    cot_comm_destroy(&f->comm);
}

static void add_layers(void *context, size_t grain, size_t index)
{
    fixture *f = context;
    drawn_sample sample;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        draw_sample(index, layer, f->options.classes > 0, &sample);
        if (index == f->damaged) sample.combine[3] = sample.dispatch[3] = NAN;
        cot_routing_stats_add(f->stats, grain, &sample.view);
    }
}

static void run(fixture *f, cot_catalog *catalog)
{
    *catalog = (cot_catalog){0};
    visit_drawn(f->comm, add_layers, f);
    cot_routing_stats_finish(f->stats, f->comm, f->sums);
    cot_routing_stats_list(f->stats, catalog);
}

/* Sums of N doubles in another order; some of the results are logarithms of their ratios. */
static const double rounding = 1e-12;

static bool all_close(size_t n, const double *actual, const double *want, double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(actual[i] - want[i]) <= tolerance || (isnan(actual[i]) && isnan(want[i])))) {
            print_error("element %zu: %.17g is not %.17g\n", i, actual[i], want[i]);
            return false;
        }
    return true;
}

/* ---- by plain loops ---- */

typedef struct plain {
    double samples[C], mass[E], mass_by_class[C][E], share[KEEPS][E], share_by_class[KEEPS][C][E];
    double information, information_by_expert[E], purity[E];
    double combine_entropy, dispatch_entropy[S], effective_tokens[S], output_norm[E];
    int64_t main_class[E];
} plain;

static double term(cot_real w)
{
    return w > 0 ? -(double)w * log((double)w) : 0;
}

static void add_plainly(const drawn_sample *sample, plain *p)
{
    size_t label = (size_t)sample->view.target.label;
    double mass[E] = {0};
    p->samples[label]++;
    for (size_t i = 0; i < T * S; i++) {
        mass[i % S / P] += (double)sample->combine[i] / T;
        p->combine_entropy += term(sample->combine[i]) / T / N;
    }
    for (size_t s = 0; s < S; s++) {
        double entropy = 0;
        for (size_t t = 0; t < T; t++) entropy += term(sample->dispatch[t * S + s]);
        p->dispatch_entropy[s] += entropy / N;
        p->effective_tokens[s] += exp(entropy) / N;
        p->output_norm[s / P] += (double)sample->norms[s] / P / N;
    }
    for (size_t e = 0; e < E; e++) {
        size_t better = 0;
        p->mass[e] += mass[e] / N;
        p->mass_by_class[label][e] += mass[e];
        for (size_t other = 0; other < E; other++) better += mass[other] > mass[e];
        for (size_t k = 0; k < KEEPS; k++) {
            p->share[k][e] += (double)(better < keep_sizes[k]) / N;
            p->share_by_class[k][label][e] += better < keep_sizes[k];
        }
    }
}

static void finish_plainly(plain *p)
{
    for (size_t e = 0; e < E; e++) {
        for (size_t c = 0; c < C; c++) {
            p->mass_by_class[c][e] /= p->samples[c];
            for (size_t k = 0; k < KEEPS; k++) p->share_by_class[k][c][e] /= p->samples[c];
            double prior = p->samples[c] / N;
            if (prior == 0) continue;
            double given = p->mass_by_class[c][e];
            p->information_by_expert[e] += prior * given * log(given / p->mass[e]);
            double posterior = prior * given / p->mass[e];
            if (posterior > p->purity[e]) {
                p->purity[e] = posterior;
                p->main_class[e] = (int64_t)c;
            }
        }
        p->information += p->information_by_expert[e];
    }
}

static bool agrees(const cot_catalog *catalog, const plain *p, size_t layer)
{
    /* Logarithms in single precision, of sums of T S terms. */
    const double entropies = 4 * T * S * (double)FLT_EPSILON;
    const struct {
        const char *name;
        size_t size;
        const double *want;
        double tolerance;
    } reals[] = {
        {"combine_mass", E, p->mass, rounding},
        {"combine_mass_by_class", C * E, p->mass_by_class[0], rounding},
        {"mutual_information", 1, &p->information, rounding},
        {"mutual_information_by_expert", E, p->information_by_expert, rounding},
        {"purity", E, p->purity, rounding},
        {"top_share", KEEPS * E, p->share[0], rounding},
        {"top_share_by_class", KEEPS * C * E, p->share_by_class[0][0], rounding},
        {"combine_entropy", 1, &p->combine_entropy, entropies},
        {"dispatch_entropy", S, p->dispatch_entropy, entropies},
        {"effective_tokens", S, p->effective_tokens, T * entropies},
        {"output_norm", E, p->output_norm, rounding},
    };
    bool good = memcmp(wholes_of(catalog, "main_class") + layer * E, p->main_class,
                       sizeof p->main_class) == 0;
    for (size_t c = 0; c < C; c++)
        good = good && (double)wholes_of(catalog, "class_samples")[c] == p->samples[c];
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        if (!all_close(reals[i].size, reals_of(catalog, reals[i].name) + layer * reals[i].size,
                       reals[i].want, reals[i].tolerance)) {
            print_error("%s, layer %zu\n", reals[i].name, layer);
            good = false;
        }
    return good;
}

static void agrees_with_plain_loops(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    create(&f, comm_of_world(1), true);
    run(&f, &catalog);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        plain p = {0};
        drawn_sample sample;
        for (size_t i = 0; i < N; i++) {
            draw_sample(i, layer, true, &sample);
            add_plainly(&sample, &p);
        }
        finish_plainly(&p);
        assert_on_every_rank(p.samples[DRAWN_EMPTY_CLASS] == 0);
        assert_on_every_rank(agrees(&catalog, &p, layer));
    }
    destroy(&f);
}

/* ---- on several ranks ---- */

static void same_bits_on_every_number_of_ranks(void **state)
{
    (void)state;
    for (int classes = 0; classes <= 1; classes++) {
        fixture many;
        fixture one;
        cot_catalog of_many;
        cot_catalog of_one;
        create(&many, comm_of_world(1), classes);
        create(&one, comm_of_self(), classes);
        run(&many, &of_many);
        run(&one, &of_one);
        assert_on_every_rank(catalogs_agree(&of_many, &of_one, ranks_divide_grains(many.comm)));
        destroy(&one);
        destroy(&many);
    }
}

static void forgets_when_cleared(void **state)
{
    (void)state;
    fixture f;
    fixture fresh;
    cot_catalog again;
    cot_catalog want;
    create(&f, comm_of_world(1), true);
    create(&fresh, comm_of_world(1), true);
    run(&f, &again);
    cot_routing_stats_clear(f.stats);
    run(&f, &again);
    run(&fresh, &want);
    assert_on_every_rank(catalogs_agree(&again, &want, true));
    destroy(&fresh);
    destroy(&f);
}

/* ---- what must hold ---- */

static double sum_of(size_t n, const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

static bool sums_hold(const cot_catalog *catalog)
{
    /* Softmax rows add up to 1 in single precision, by the roundings of a division and a sum. */
    const double softmax = 8 * (double)FLT_EPSILON;
    bool good = true;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        const double *by_class = reals_of(catalog, "combine_mass_by_class") + layer * C * E;
        good = good &&
               fabs(sum_of(E, reals_of(catalog, "combine_mass") + layer * E) - 1) < softmax &&
               fabs(sum_of(E, reals_of(catalog, "mutual_information_by_expert") + layer * E) -
                    reals_of(catalog, "mutual_information")[layer]) < rounding;
        for (size_t c = 0; c < C; c++) {
            double sum = sum_of(E, by_class + c * E);
            good = good && (c == DRAWN_EMPTY_CLASS ? isnan(sum) : fabs(sum - 1) < softmax);
        }
        for (size_t k = 0; k < KEEPS; k++) {
            const double *share = reals_of(catalog, "top_share") + (layer * KEEPS + k) * E;
            good = good && fabs(sum_of(E, share) - (double)keep_sizes[k]) < rounding;
        }
    }
    return good;
}

static void sums_are_what_they_must_be(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    create(&f, comm_of_world(1), true);
    run(&f, &catalog);
    assert_on_every_rank(sums_hold(&catalog));
    destroy(&f);
}

static void regression_has_no_classes(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    const char *const none[] = {"class_samples",
                                "combine_mass_by_class",
                                "mutual_information",
                                "mutual_information_by_expert",
                                "purity",
                                "main_class",
                                "top_share_by_class"};
    create(&f, comm_of_world(1), false);
    run(&f, &catalog);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(cot_catalog_variable(&catalog, none[i]));
    assert_null(cot_catalog_dimension(&catalog, "class"));
    assert_on_every_rank(fabs(sum_of(E, reals_of(&catalog, "combine_mass")) - 1) < 1e-6);
    assert_on_every_rank(fabs(sum_of(E, reals_of(&catalog, "top_share")) - 1) < rounding);
    destroy(&f);
}

static void masses_only_leaves_out_the_costly_ones(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    const char *const none[] = {"combine_entropy", "dispatch_entropy", "effective_tokens",
                                "output_norm"};
    create(&f, comm_of_world(1), true);
    cot_routing_stats_destroy(&f.stats);
    f.options.masses_only = true;
    f.options.share_by_class = false;
    f.stats = cot_routing_stats_create(&f.options);
    run(&f, &catalog);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(cot_catalog_variable(&catalog, none[i]));
    assert_null(cot_catalog_variable(&catalog, "top_share_by_class"));
    assert_null(cot_catalog_dimension(&catalog, "slot"));
    assert_on_every_rank(sums_hold(&catalog));
    destroy(&f);
}

/* A NaN in one sample shows in what it belongs to, and memberships still add up. */
static void nan_shows(void **state)
{
    (void)state;
    fixture f;
    cot_catalog catalog;
    create(&f, comm_of_world(1), true);
    f.damaged = 7;
    run(&f, &catalog);
    const double *mass = reals_of(&catalog, "combine_mass");
    for (size_t e = 0; e < E; e++) assert_on_every_rank(isnan(mass[e]) == (e == 3 / P));
    assert_on_every_rank(isnan(reals_of(&catalog, "mutual_information")[0]));
    assert_on_every_rank(isnan(reals_of(&catalog, "combine_entropy")[0]));
    assert_on_every_rank(isnan(reals_of(&catalog, "dispatch_entropy")[3]));
    assert_on_every_rank(!isnan(reals_of(&catalog, "dispatch_entropy")[4]));
    for (size_t k = 0; k < KEEPS; k++)
        assert_on_every_rank(fabs(sum_of(E, reals_of(&catalog, "top_share") + k * E) -
                                  (double)keep_sizes[k]) < rounding);
    destroy(&f);
}

/* ---- with known answers ---- */

typedef struct known {
    size_t experts;
    double mass, information, purity, combine_entropy, effective_tokens;
} known;

/* Two tokens; class c goes to expert c alone, or every class to all experts alike. */
static bool holds_known(cot_comm *comm, bool specialized, const known *want)
{
    enum { CLASSES = 2, TOKENS = 2, SAMPLES = 10 };
    const size_t experts = want->experts;
    size_t size = 1;
    const cot_keeps one = {1, &size};
    cot_routing_stats *stats =
        cot_routing_stats_create(&(cot_routing_stats_options){.layers = 1,
                                                              .tokens = TOKENS,
                                                              .experts = experts,
                                                              .slots_per_expert = 1,
                                                              .classes = CLASSES,
                                                              .keeps = &one,
                                                              .grains = 1});
    cot_ordered_sum *sums = cot_ordered_sum_create(comm->world, 1, true, 1);
    for (size_t i = 0; i < SAMPLES; i++) {
        cot_real combine[TOKENS * CLASSES] = {0};
        const cot_real dispatch[] = {(cot_real)0.5, (cot_real)0.5, (cot_real)0.5, (cot_real)0.5};
        const cot_real norms[] = {3, 3};
        for (size_t t = 0; t < TOKENS; t++)
            for (size_t e = 0; e < experts; e++)
                combine[t * experts + e] =
                    specialized ? (cot_real)(e == i % CLASSES) : 1 / (cot_real)experts;
        const cot_sample_view view = {.routing = {i, 0, TOKENS, experts, 1, combine, dispatch},
                                      .slot_norms = norms,
                                      .target = {.label = (int)(i % CLASSES)}};
        cot_routing_stats_add(stats, 0, &view);
    }
    cot_routing_stats_finish(stats, comm, sums);
    cot_catalog catalog = {0};
    cot_routing_stats_list(stats, &catalog);
    const double small = 1e-6; /* logarithms in single precision */
    bool good =
        all_close(1, reals_of(&catalog, "combine_mass"), &want->mass, rounding) &&
        all_close(1, reals_of(&catalog, "mutual_information"), &want->information, rounding) &&
        all_close(1, reals_of(&catalog, "purity"), &want->purity, rounding) &&
        all_close(1, reals_of(&catalog, "combine_entropy"), &want->combine_entropy, small) &&
        all_close(1, reals_of(&catalog, "effective_tokens"), &want->effective_tokens, small) &&
        reals_of(&catalog, "output_norm")[0] == 3 && wholes_of(&catalog, "main_class")[0] == 0;
    cot_ordered_sum_destroy(&sums);
    cot_routing_stats_destroy(&stats);
    return good;
}

static void known_answers(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    const known specialists = {2, 0.5, log(2), 1, 0, 2};
    const known generalists = {2, 0.5, 0, 0.5, log(2), 2};
    const known alone = {1, 1, 0, 0.5, 0, 2};
    assert_on_every_rank(holds_known(comm, true, &specialists));
    assert_on_every_rank(holds_known(comm, false, &generalists));
    assert_on_every_rank(holds_known(comm, false, &alone));
    cot_comm_destroy(&comm);
}

static void destroying_nothing(void **state)
{
    (void)state;
    cot_routing_stats *stats = NULL;
    cot_routing_stats_destroy(&stats);
    assert_null(stats);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(agrees_with_plain_loops),
    cmocka_unit_test(same_bits_on_every_number_of_ranks),
    cmocka_unit_test(forgets_when_cleared),
    cmocka_unit_test(sums_are_what_they_must_be),
    cmocka_unit_test(regression_has_no_classes),
    cmocka_unit_test(masses_only_leaves_out_the_costly_ones),
    cmocka_unit_test(nan_shows),
    cmocka_unit_test(known_answers),
    cmocka_unit_test(destroying_nothing),
};

RUN_MPI_TESTS(tests)
