/* base + effects against the model itself: with all experts, and with a selector that keeps some,
 * on every number of ranks. */
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/effects.h>
#include <coterie/expert_order.h>
#include <coterie/memory.h>
#include <coterie/rng.h>

#include <math.h>
#include <string.h>

enum { BATCH = 11, GRAINS = 8, HEIGHT = 4, WIDTH = 6, CLASSES = 5 };

typedef struct fixture {
    const char *name;
    cot_model_options options;
} fixture;

static const fixture fixtures[] = {
    {"flattened", {.layers = 1, .experts = 5, .slots = 1, .head_bias = true}},
    {"mean", {.layers = 1, .experts = 5, .slots = 1, .pool = COT_POOL_MEAN}},
    {"residual, slots",
     {.layers = 1, .experts = 3, .slots = 2, .residual = true, .embed = 6, .head_bias = true}},
    {"mean, residual, layers",
     {.layers = 2,
      .experts = 4,
      .slots = 3,
      .residual = true,
      .embed = 5,
      .pool = COT_POOL_MEAN,
      .head_bias = true}},
    {"one expert", {.layers = 1, .experts = 1, .slots = 4}},
};
enum { FIXTURES = sizeof fixtures / sizeof fixtures[0] };

typedef struct setup {
    const fixture *fixture;
    cot_comm *comm;
    cot_params *params;
    cot_model *model;
    size_t here;         /* samples on this rank */
    cot_real *base;      /* [here,CLASSES] */
    cot_real *by_expert; /* [here,E,CLASSES] */
} setup;

static void create(setup *s, const fixture *f, cot_comm *comm)
{
    *s = (setup){.fixture = f, .comm = comm};
    cot_model_options options = f->options;
    options.patch_height = options.patch_width = 2;
    options.expert_hidden = 7;
    options.expert_bias = true;
    options.router =
        (cot_router_options){.normalize = COT_NORMALIZE_LOGITS, .init = COT_ROUTER_LECUN_NORMAL};
    size_t members = (size_t)comm->group_size;
    size_t me = (size_t)comm->group_rank;
    s->params = cot_params_create(cot_shard_begin(f->options.experts, members, me),
                                  cot_shard_begin(f->options.experts, members, me + 1));
    cot_model_io io = {1, HEIGHT, WIDTH, CLASSES};
    cot_batching batching = {.max_batch = BATCH, .grains = GRAINS};
    assert_int_equal(cot_model_create(&options, &io, &batching, comm, s->params, &s->model),
                     COT_OK);
    cot_params_allocate(s->params);
    cot_params_initialize(s->params, 8);
    cot_param *bias = cot_params_find(s->params, "head.b");
    for (size_t c = 0; bias != NULL && c < CLASSES; c++) bias->value[c] = (cot_real)c - 2;
    cot_grains grains = cot_model_grains(s->model, BATCH);
    s->here = cot_grains_size(&grains);
    for (size_t i = 0; i < s->here; i++) {
        cot_stream stream = {
            .seed = 3, .index = cot_grains_begin(&grains) + i, .purpose = COT_PURPOSE_TEST};
        cot_rng_normal(&stream, 0, HEIGHT * WIDTH, 1,
                       cot_model_images(s->model) + i * HEIGHT * WIDTH);
    }
    s->base = cot_alloc(s->here * CLASSES, sizeof *s->base);
    s->by_expert = cot_alloc(s->here * f->options.experts * CLASSES, sizeof *s->by_expert);
}

static void destroy(setup *s)
{
    cot_free(s->by_expert);
    cot_free(s->base);
    cot_model_destroy(&s->model);
    cot_params_destroy(&s->params);
    cot_comm_destroy(&s->comm);
}

static void find_effects(setup *s)
{
    cot_effects *effects = cot_effects_create(s->model);
    for (size_t i = 0; i < s->here; i++)
        cot_effects_of(effects, i, s->base + i * CLASSES,
                       s->by_expert + i * s->fixture->options.experts * CLASSES);
    cot_effects_destroy(&effects);
    assert_null(effects);
}

/* Sums of T D products in another order: outputs here are below 10. */
static const double tolerance = 64 * 10 * (double)COT_REAL_EPSILON;

/* Whether outputs [here,CLASSES] are base + the effects of the experts kept (NULL: all). */
static bool adds_up(const setup *s, const cot_real *outputs, const uint8_t *kept)
{
    const size_t E = s->fixture->options.experts;
    bool good = true;
    for (size_t i = 0; i < s->here; i++)
        for (size_t c = 0; c < CLASSES; c++) {
            double sum = (double)s->base[i * CLASSES + c];
            for (size_t e = 0; e < E; e++)
                if (kept == NULL || kept[i * E + e])
                    sum += (double)s->by_expert[(i * E + e) * CLASSES + c];
            good = good && fabs(sum - (double)outputs[i * CLASSES + c]) <= tolerance;
        }
    return good;
}

static void all_experts_are_the_model(void **state)
{
    (void)state;
    for (size_t f = 0; f < FIXTURES; f++) {
        setup s;
        create(&s, &fixtures[f], comm_of_world(1));
        const cot_real *outputs = cot_model_forward(s.model, &(cot_pass){.samples = BATCH});
        find_effects(&s);
        if (!on_every_rank(adds_up(&s, outputs, NULL))) fail_msg("%s", fixtures[f].name);
        destroy(&s);
    }
}

/* Algorithm 2: of a model with one layer, for each way of keeping experts. */
static void kept_experts_are_the_model_with_a_selector(void **state)
{
    (void)state;
    for (size_t f = 0; f < FIXTURES; f++) {
        const size_t experts = fixtures[f].options.experts;
        if (fixtures[f].options.layers > 1) continue;
        for (size_t keep = 1; keep <= experts; keep++) {
            setup s;
            create(&s, &fixtures[f], comm_of_world(1));
            cot_model_forward(s.model, &(cot_pass){.samples = BATCH});
            find_effects(&s);
            cot_selector *selector = cot_selector_order(COT_ORDER_RANDOM, 2, experts, keep);
            const cot_real *outputs =
                cot_model_forward(s.model, &(cot_pass){.samples = BATCH, .selector = selector});
            bool good = adds_up(&s, outputs, cot_soft_moe_kept(cot_model_layer(s.model, 0)));
            cot_selector_destroy(&selector);
            if (!on_every_rank(good)) fail_msg("%s, %zu kept", fixtures[f].name, keep);
            destroy(&s);
        }
    }
}

/* The same bits wherever a sample is; a rank alone has all samples. */
static void same_bits_on_every_number_of_ranks(void **state)
{
    (void)state;
    if (GRAINS % rank_count() != 0) return;
    for (size_t f = 0; f < FIXTURES; f++) {
        const size_t E = fixtures[f].options.experts;
        setup many;
        setup one;
        create(&many, &fixtures[f], comm_of_world(1));
        create(&one, &fixtures[f], comm_of_self());
        cot_model_forward(many.model, &(cot_pass){.samples = BATCH});
        cot_model_forward(one.model, &(cot_pass){.samples = BATCH});
        find_effects(&many);
        find_effects(&one);
        cot_grains grains = cot_model_grains(many.model, BATCH);
        size_t first = cot_grains_begin(&grains);
        assert_on_every_rank(memcmp(many.base, one.base + first * CLASSES,
                                    many.here * CLASSES * sizeof *one.base) == 0);
        assert_on_every_rank(memcmp(many.by_expert, one.by_expert + first * E * CLASSES,
                                    many.here * E * CLASSES * sizeof *one.base) == 0);
        destroy(&one);
        destroy(&many);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_experts_are_the_model),
    cmocka_unit_test(kept_experts_are_the_model_with_a_selector),
    cmocka_unit_test(same_bits_on_every_number_of_ranks),
};

RUN_MPI_TESTS(tests)
