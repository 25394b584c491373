#include "support/ranks.h"
#include "support/test.h"

#include <coterie/experiment.h>
#include <coterie/memory.h>
#include <coterie/model_stats.h>

#include <math.h>
#include <string.h>

enum { LAYERS = 2, E = 7, P = 2, S = E * P, D = 12 };

static const char deep[] = "model: {patch_height: 14, patch_width: 14, embed: 12, layers: 2,\n"
                           "  experts: 7, slots: 2, expert_hidden: 5, expert_bias: true}\n"
                           "data: {train_samples: 16, test_samples: 16}\n"
                           "train: {batch: 16}\n";

/* A model on some ranks, with what measures it. */
typedef struct side {
    cot_comm *comm;
    cot_recipe *recipe;
    cot_experiment *experiment;
    cot_params *params; /* the experiment's */
    cot_norms *norms;
    cot_model_stats *stats;
    cot_catalog catalog;
} side;

static void create(side *s, cot_comm *comm, const char *text, bool steps)
{
    *s = (side){.comm = comm};
    assert_int_equal(cot_recipe_parse(text, "test", 0, NULL, &s->recipe), COT_OK);
    assert_int_equal(cot_experiment_create(comm, s->recipe, &s->experiment), COT_OK);
    s->params = s->experiment->params;
    s->norms = cot_norms_create(s->experiment->comm, s->params);
    s->stats = cot_model_stats_create(s->experiment->model, s->params, s->norms,
                                      s->experiment->comm, steps);
}

static void destroy(side *s)
{
    cot_model_stats_destroy(&s->stats);
    assert_null(s->stats);
    cot_norms_destroy(&s->norms);
    cot_experiment_destroy(&s->experiment);
    cot_recipe_destroy(&s->recipe);
    cot_comm_destroy(&s->comm);
}

static size_t size_of(const cot_params *params)
{
    return cot_params_replicated_size(params) + cot_params_sharded_size(params);
}

/* A step whose gradient, and whose values before and behind it, are three draws. */
static void step(side *s)
{
    cot_real *values = cot_params_values(s->params);
    cot_params_initialize(s->params, 1);
    memcpy(cot_params_grads(s->params), values, size_of(s->params) * sizeof *values);
    cot_params_initialize(s->params, 2);
    cot_norms_measure(s->norms, cot_params_grads(s->params));
    double total = cot_norms_total(s->norms);
    cot_model_stats_before_update(s->stats);
    /* Clipping needs the norm after the statistics have looked. */
    assert_on_every_rank(total > 0 && cot_norms_total(s->norms) == total);
    cot_params_initialize(s->params, 3);
    cot_model_stats_after_update(s->stats);
    cot_model_stats_measure(s->stats);
    cot_model_stats_list(s->stats, &s->catalog);
}

static const double *variable(const side *s, const char *name, const char *axes)
{
    const cot_variable *found = cot_catalog_variable(&s->catalog, name);
    if (found == NULL) fail_msg("there is no %s", name);
    assert_string_equal(found->axes, axes);
    assert_int_equal(found->type, COT_H5_FLOAT64);
    return found->data;
}

static const struct {
    const char *name, *axes;
    size_t count;
} all[] = {{"weight_norm", "layer,expert", LAYERS *E},
           {"gradient_norm", "layer,expert", LAYERS *E},
           {"update_norm", "layer,expert", LAYERS *E},
           {"router_similarity_min", "layer,slot", LAYERS *S},
           {"router_similarity_mean", "layer,slot", LAYERS *S},
           {"router_similarity_max", "layer,slot", LAYERS *S}};
enum { ALL = sizeof all / sizeof all[0] };

/* Also on three ranks, and with replicas. */
static void same_bits_on_any_ranks(void **state)
{
    (void)state;
    side alone;
    side many;
    create(&alone, comm_of_self(), deep, true);
    create(&many, comm_of_world(1), deep, true);
    step(&alone);
    step(&many);
    for (size_t i = 0; i < ALL; i++)
        assert_on_every_rank(memcmp(variable(&alone, all[i].name, all[i].axes),
                                    variable(&many, all[i].name, all[i].axes),
                                    all[i].count * sizeof(double)) == 0);
    destroy(&many);
    destroy(&alone);
}

/* Values of one draw, on one rank: all experts are there. */
static double *draw(side *s, uint64_t seed)
{
    double *copy = cot_alloc(size_of(s->params), sizeof *copy);
    cot_params_initialize(s->params, seed);
    for (size_t i = 0; i < size_of(s->params); i++)
        copy[i] = (double)cot_params_values(s->params)[i];
    return copy;
}

/* ||a - b|| over the four parameters of an expert. */
static double distance(const side *s, size_t layer, size_t e, const double *a, const double *b)
{
    static const char *const names[] = {"w1", "b1", "w2", "b2"};
    double squares = 0;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        char name[64];
        snprintf(name, sizeof name, "moe.%zu.experts.%s", layer, names[n]);
        const cot_param *param = cot_params_find(s->params, name);
        assert_non_null(param);
        for (size_t i = 0; i < param->row_size; i++) {
            size_t at = param->offset + e * param->row_size + i;
            squares += pow(a[at] - (b != NULL ? b[at] : 0), 2);
        }
    }
    return sqrt(squares);
}

/* Squares in double, of differences in float: to float's rounding. */
static void norms_are_those_of_the_experts(void **state)
{
    (void)state;
    const double rounding = 1e-6;
    side s;
    create(&s, comm_of_self(), deep, true);
    double *gradient = draw(&s, 1);
    double *before = draw(&s, 2);
    double *after = draw(&s, 3);
    step(&s);
    for (size_t layer = 0; layer < LAYERS; layer++)
        for (size_t e = 0; e < E; e++) {
            size_t at = layer * E + e;
            assert_close_double(variable(&s, "weight_norm", "layer,expert")[at],
                                distance(&s, layer, e, after, NULL), rounding, 0);
            assert_close_double(variable(&s, "gradient_norm", "layer,expert")[at],
                                distance(&s, layer, e, gradient, NULL), rounding, 0);
            assert_close_double(variable(&s, "update_norm", "layer,expert")[at],
                                distance(&s, layer, e, after, before), rounding, 0);
        }
    cot_free(after);
    cot_free(before);
    cot_free(gradient);
    destroy(&s);
}

static double cosine(const cot_param *phi, size_t a, size_t b)
{
    size_t slots = phi->dims[1] * phi->dims[2];
    double products[3] = {0};
    for (size_t d = 0; d < phi->dims[0]; d++) {
        double x = (double)phi->value[d * slots + a];
        double y = (double)phi->value[d * slots + b];
        products[0] += x * y;
        products[1] += x * x;
        products[2] += y * y;
    }
    return products[0] / sqrt(products[1] * products[2]);
}

/* A sum of D rounded products of numbers below 1, each normalized with a few roundings. */
static void assert_similarities(const side *s, size_t layer, const cot_param *phi)
{
    const double rounding = 1e-6;
    size_t slots = phi->dims[1] * phi->dims[2];
    for (size_t i = 0; i < slots; i++) {
        double low = 2;
        double high = -2;
        double sum = 0;
        for (size_t j = 0; j < slots; j++) {
            if (j == i) continue;
            double c = cosine(phi, i, j);
            low = fmin(low, c);
            high = fmax(high, c);
            sum += c;
        }
        size_t at = layer * slots + i;
        const char *axes = "layer,slot";
        assert_close_double(variable(s, "router_similarity_min", axes)[at], low, 0, rounding);
        assert_close_double(variable(s, "router_similarity_max", axes)[at], high, 0, rounding);
        assert_close_double(variable(s, "router_similarity_mean", axes)[at],
                            sum / (double)(slots - 1), 0, rounding);
    }
}

static void similarities_are_cosines(void **state)
{
    (void)state;
    side s;
    create(&s, comm_of_self(), deep, false);
    cot_params_find(s.params, "moe.1.phi")->value[3] = 40; /* a column like no other */
    cot_model_stats_measure(s.stats);
    cot_model_stats_list(s.stats, &s.catalog);
    assert_similarities(&s, 0, cot_params_find(s.params, "moe.0.phi"));
    assert_similarities(&s, 1, cot_params_find(s.params, "moe.1.phi"));
    /* Without steps there is nothing to say of them. */
    assert_null(cot_catalog_variable(&s.catalog, "gradient_norm"));
    assert_null(cot_catalog_variable(&s.catalog, "update_norm"));
    destroy(&s);
}

/* More columns than are multiplied at a time, and not a multiple of them: two ranks have some. */
static void many_slots(void **state)
{
    (void)state;
    side s;
    create(&s, comm_of_world(1),
           "model: {experts: 300, expert_hidden: 1, embed: 4}\n"
           "data: {train_samples: 8, test_samples: 8}\n"
           "train: {batch: 8}\n",
           false);
    cot_model_stats_measure(s.stats);
    cot_model_stats_list(s.stats, &s.catalog);
    assert_int_equal(cot_catalog_dimension(&s.catalog, "slot")->size, 300);
    assert_similarities(&s, 0, cot_params_find(s.params, "moe.0.phi"));
    destroy(&s);
}

static void one_slot_is_like_no_other(void **state)
{
    (void)state;
    side s;
    create(&s, comm_of_self(),
           "model: {experts: 1, expert_hidden: 1, embed: 4}\n"
           "data: {train_samples: 8, test_samples: 8}\n"
           "train: {batch: 8}\n",
           false);
    cot_model_stats_measure(s.stats);
    cot_model_stats_list(s.stats, &s.catalog);
    for (size_t i = 3; i < ALL; i++) assert_true(isnan(variable(&s, all[i].name, all[i].axes)[0]));
    destroy(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_bits_on_any_ranks),    cmocka_unit_test(norms_are_those_of_the_experts),
    cmocka_unit_test(similarities_are_cosines),  cmocka_unit_test(many_slots),
    cmocka_unit_test(one_slot_is_like_no_other),
};

RUN_MPI_TESTS(tests)
