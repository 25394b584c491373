#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/statistics_pass.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLES = 301 };

/* Batches of 64 in 8 grains; the last one is smaller. */
static const char deep[] = "model: {patch_height: 14, patch_width: 14, embed: 12, layers: 2,\n"
                           "  experts: 6, slots: 2, expert_hidden: 5}\n"
                           "data: {train_samples: 64, test_samples: 301}\n"
                           "train: {batch: 64}\n";
static const char regression[] = "model: {patch_height: 1, patch_width: 8, experts: 6,\n"
                                 "  expert_hidden: 5}\n"
                                 "router: {normalize: none}\n"
                                 "loss: {kind: mean_squared_error}\n"
                                 "data: {source: l2norm, train_samples: 64, test_samples: 301}\n"
                                 "train: {batch: 64}\n";

static size_t sizes[] = {1, 3};
static const cot_keeps keeps = {.count = 2, .sizes = sizes};

typedef struct side {
    cot_comm *comm;
    cot_recipe *recipe;
    cot_experiment *experiment;
    cot_statistics_pass *pass;
    cot_evaluation evaluation;
    cot_catalog catalog;
} side;

static void run_pass(side *s)
{
    cot_observer observer = cot_statistics_pass_observer(s->pass);
    cot_statistics_pass_begin(s->pass);
    cot_evaluation_free(&s->evaluation);
    assert_int_equal(cot_evaluate(s->experiment, COT_SPLIT_TEST, NULL, &observer, &s->evaluation),
                     COT_OK);
    s->catalog = (cot_catalog){0};
    cot_statistics_pass_finish(s->pass, 17, 3, &s->evaluation, &s->catalog);
}

static void create(side *s, cot_comm *comm, const char *text, bool masses_only)
{
    *s = (side){.comm = comm};
    assert_int_equal(cot_recipe_parse(text, "test", 0, NULL, &s->recipe), COT_OK);
    assert_int_equal(cot_experiment_create(comm, s->recipe, &s->experiment), COT_OK);
    s->pass = cot_statistics_pass_create(s->experiment, &keeps, masses_only, true);
    run_pass(s);
}

static void destroy(side *s)
{
    cot_evaluation_free(&s->evaluation);
    cot_statistics_pass_destroy(&s->pass);
    assert_null(s->pass);
    cot_experiment_destroy(&s->experiment);
    cot_recipe_destroy(&s->recipe);
    cot_comm_destroy(&s->comm);
}

/* Numbers of a variable: the product of its axes. */
static size_t count_of(const cot_catalog *catalog, const cot_variable *variable)
{
    size_t count = 1;
    char axes[64];
    snprintf(axes, sizeof axes, "%s", variable->axes);
    for (char *rest = axes, *name; (name = strtok_r(rest, ",", &rest)) != NULL;) {
        const cot_dimension *dimension = cot_catalog_dimension(catalog, name);
        if (dimension == NULL) fail_msg("%s has no dimension %s", variable->name, name);
        count *= dimension->size;
    }
    return count;
}

static bool is_same(const side *a, const side *b, double tolerance)
{
    bool same = a->catalog.variable_count == b->catalog.variable_count;
    for (size_t v = 0; v < a->catalog.variable_count && same; v++) {
        const cot_variable *x = &a->catalog.variables[v];
        const cot_variable *y = cot_catalog_variable(&b->catalog, x->name);
        size_t count = count_of(&a->catalog, x);
        same = y != NULL && strcmp(x->axes, y->axes) == 0;
        if (same && (tolerance == 0 || x->type == COT_H5_INT64))
            same = memcmp(x->data, y->data, count * sizeof(double)) == 0;
        for (size_t i = 0; i < count && same && tolerance > 0 && x->type == COT_H5_FLOAT64; i++)
            same = fabs(((const double *)x->data)[i] - ((const double *)y->data)[i]) <= tolerance;
    }
    return same;
}

/* Three ranks divide no power of two: to the rounding of float32, what grains they are cut at. */
static void same_bits_on_any_ranks(void **state)
{
    (void)state;
    static const char *const recipes[] = {deep, regression};
    for (size_t i = 0; i < 2; i++) {
        side alone;
        side many;
        create(&alone, comm_of_self(), recipes[i], false);
        create(&many, comm_of_world(1), recipes[i], false);
        assert_on_every_rank(is_same(&alone, &many, rank_count() == 3 ? 1e-6 : 0));
        destroy(&many);
        destroy(&alone);
    }
}

/* Nothing is left of the pass before. */
static void a_pass_begins_anew(void **state)
{
    (void)state;
    side once;
    side twice;
    create(&once, comm_of_world(1), deep, false);
    create(&twice, comm_of_world(1), deep, false);
    run_pass(&twice);
    assert_on_every_rank(is_same(&once, &twice, 0));
    destroy(&twice);
    destroy(&once);
}

static bool has(const side *s, const char *name)
{
    return cot_catalog_variable(&s->catalog, name) != NULL;
}

static int64_t whole(const side *s, const char *name)
{
    return *(const int64_t *)cot_catalog_variable(&s->catalog, name)->data;
}

static double real(const side *s, const char *name)
{
    return *(const double *)cot_catalog_variable(&s->catalog, name)->data;
}

static void it_has_the_evaluation(void **state)
{
    (void)state;
    side s;
    create(&s, comm_of_world(1), deep, false);
    assert_on_every_rank(whole(&s, "step") == 17 && whole(&s, "epoch") == 3);
    assert_on_every_rank(whole(&s, "samples") == SAMPLES);
    assert_on_every_rank(real(&s, "loss") == s.evaluation.loss);
    assert_on_every_rank(real(&s, "accuracy") == s.evaluation.accuracy);
    assert_on_every_rank(!has(&s, "relative_error") && has(&s, "output_norm"));
    const int64_t *class_samples = cot_catalog_variable(&s.catalog, "class_samples")->data;
    bool same = true;
    for (size_t c = 0; c < s.evaluation.classes; c++)
        same = same && (uint64_t)class_samples[c] == s.evaluation.class_samples[c];
    assert_on_every_rank(same);
    destroy(&s);

    create(&s, comm_of_world(1), regression, true);
    assert_on_every_rank(real(&s, "relative_error") == s.evaluation.relative_error);
    assert_on_every_rank(!has(&s, "accuracy") && !has(&s, "class_samples"));
    assert_on_every_rank(has(&s, "combine_mass") && !has(&s, "output_norm"));
    destroy(&s);
}

/* The mean over samples and slots, recomputed from the layer's outputs in the same batches. */
static cot_status add_norms(void *context, const cot_experiment *ex, size_t first, size_t count,
                            const cot_real *outputs)
{
    const cot_moe_shape *shape = cot_model_shape(ex->model);
    double *norms = context;
    (void)first, (void)outputs;
    for (size_t layer = 0; layer < cot_model_layers(ex->model); layer++)
        for (size_t i = 0; i < count; i++)
            for (size_t s = 0; s < shape->E * shape->P; s++) {
                const cot_real *output =
                    cot_soft_moe_slot_output(cot_model_layer(ex->model, layer), i, s);
                double squares = 0;
                for (size_t d = 0; d < shape->D; d++)
                    squares += (double)output[d] * (double)output[d];
                norms[layer * shape->E + s / shape->P] +=
                    sqrt(squares) / (double)(SAMPLES * shape->P);
            }
    return COT_OK;
}

static void slots_are_measured(void **state)
{
    (void)state;
    enum { LAYERS = 2, EXPERTS = 6 };
    side s;
    double norms[LAYERS * EXPERTS] = {0};
    cot_observer observer = {.batch = add_norms, .context = norms};
    cot_evaluation evaluation;
    create(&s, comm_of_self(), deep, false);
    assert_int_equal(cot_evaluate(s.experiment, COT_SPLIT_TEST, NULL, &observer, &evaluation),
                     COT_OK);
    cot_evaluation_free(&evaluation);
    const double *measured = cot_catalog_variable(&s.catalog, "output_norm")->data;
    /* A sum of 12 squares, and a root, in float32. */
    for (size_t i = 0; i < LAYERS * EXPERTS; i++)
        assert_close_double(measured[i], norms[i], 1e-6, 0);
    destroy(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_bits_on_any_ranks),
    cmocka_unit_test(a_pass_begins_anew),
    cmocka_unit_test(it_has_the_evaluation),
    cmocka_unit_test(slots_are_measured),
};

RUN_MPI_TESTS(tests)
