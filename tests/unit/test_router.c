/* The router's values against its formulas in double, and its bits on parts of a batch. Gradients
 * are checked through the whole model, by finite differences. */
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/rng.h>
#include <coterie/router.h>
#include <coterie/tree.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

enum { T = 4, D = 6, E = 5, P = 2, S = E * P, GRAINS = 8, BATCH = 13, GRAIN = 2, PHI = D * S };
enum { LAYER = 3, TOKENS = BATCH * T * D, WEIGHTS = BATCH * T * S, ROWS = BATCH * S * D };

static const cot_moe_shape shape = {.T = T, .D = D, .E = E, .P = P, .H = 1};

typedef struct fixture {
    cot_router_options options;
    cot_params *params;
    cot_router *router;
    cot_param *phi, *scale;
    cot_real x_size; /* of the tokens' numbers */
    size_t samples[E], first[E];
    cot_slots slots; /* of the samples at hand */
} fixture;

static void create(fixture *f, const cot_router_options *options)
{
    memset(f, 0, sizeof *f);
    f->options = *options;
    f->x_size = 1;
    f->params = cot_params_create(0, E);
    f->router = cot_router_create(options, &shape, LAYER, BATCH, GRAINS, GRAIN, f->params, "moe.3");
    cot_params_allocate(f->params);
    cot_params_initialize(f->params, 21);
    f->phi = cot_params_find(f->params, "moe.3.phi");
    f->scale = cot_params_find(f->params, "moe.3.scale");
    if (f->scale != NULL) f->scale->value[0] = (cot_real)1.5;
}

static void destroy(fixture *f)
{
    cot_router_destroy(&f->router);
    assert_null(f->router);
    cot_params_destroy(&f->params);
}

/* All experts, of so many samples. */
static const cot_slots *slots_of(fixture *f, size_t samples)
{
    f->slots = (cot_slots){E, P, f->samples, f->first};
    for (size_t e = 0; e < E; e++) {
        f->samples[e] = samples;
        f->first[e] = e * P * samples;
    }
    return &f->slots;
}

/* A forward and a backward pass of the samples of `grains`; arrays begin with these samples. */
typedef struct pass {
    cot_real x[TOKENS], y[TOKENS], dy[TOKENS], dx[TOKENS];
    cot_real slot_in[ROWS], slot_out[ROWS], dslot_in[ROWS];
    cot_real combine[WEIGHTS], dispatch[WEIGHTS];
    cot_real grads[PHI + 1];
} pass;

static void run(fixture *f, const cot_grains *grains, const cot_noise *noise, pass *p)
{
    size_t first = cot_grains_begin(grains);
    size_t n = cot_grains_size(grains);
    cot_real all[TOKENS];
    cot_real rows[ROWS];
    const cot_slots *slots = slots_of(f, n);
    draw_normal(1, TOKENS, all);
    cot_scale(TOKENS, f->x_size, all, all);
    memcpy(p->x, all + first * T * D, n * T * D * sizeof *all);
    draw_normal(2, TOKENS, all);
    memcpy(p->dy, all + first * T * D, n * T * D * sizeof *all);
    cot_router_route(f->router, grains, noise, p->x);
    cot_router_dispatch(f->router, grains, slots, NULL, p->slot_in);
    draw_normal(3, ROWS, rows);
    for (size_t j = 0; j < S; j++)
        memcpy(p->slot_out + j * n * D, rows + (j * BATCH + first) * D, n * D * sizeof *rows);
    cot_router_combine(f->router, grains, slots, NULL, p->slot_out, p->y, NULL);
    memcpy(p->combine, cot_router_combine_weights(f->router), n * T * S * sizeof *all);
    memcpy(p->dispatch, cot_router_dispatch_weights(f->router), n * T * S * sizeof *all);
    /* What the experts make of the outputs' gradients does not matter here. */
    cot_router_combine_backward(f->router, grains, slots, p->dy, p->slot_out);
    memcpy(p->dslot_in, p->slot_out, n * S * D * sizeof *rows);
    draw_normal(4, PHI + 1, p->grads);
    memcpy(cot_params_grads(f->params), p->grads,
           cot_params_replicated_size(f->params) * sizeof *p->grads); /* to be overwritten */
    cot_router_dispatch_backward(f->router, grains, slots, p->dslot_in, p->dx);
    memcpy(p->grads, cot_params_grads(f->params),
           cot_params_replicated_size(f->params) * sizeof *p->grads);
}

static const cot_real *row_of(const cot_real *rows, size_t sample, size_t j)
{
    return rows + (j * BATCH + sample) * D;
}

static double inverse_norm(cot_normalize mode, double squares)
{
    if (mode == COT_NORMALIZE_NONE) return 1;
    return mode == COT_NORMALIZE_INPUTS ? 1 / fmax(sqrt(squares), 1e-12) : 1 / sqrt(squares + 1e-6);
}

static double row_factor(const fixture *f, const cot_real *x)
{
    double squares = 0;
    for (size_t d = 0; d < D; d++) squares += pow((double)x[d], 2);
    return inverse_norm(f->options.normalize, squares);
}

/* Logits of one sample, as router.h's formula has them. */
static void logits_directly(const fixture *f, const cot_real *x, double logits[T][S])
{
    double scale = f->scale != NULL ? (double)f->scale->value[0] : 1;
    for (size_t j = 0; j < S; j++) {
        double squares = 0;
        for (size_t d = 0; d < D; d++) squares += pow((double)f->phi->value[d * S + j], 2);
        double column = inverse_norm(f->options.normalize, squares);
        for (size_t t = 0; t < T; t++) {
            double sum = 0;
            for (size_t d = 0; d < D; d++)
                sum += (double)x[t * D + d] * (double)f->phi->value[d * S + j];
            logits[t][j] = sum * column * row_factor(f, x + t * D) * scale;
        }
    }
}

static void weights_directly(const fixture *f, const cot_real *x, double dispatch[T][S],
                             double combine[T][S])
{
    double logits[T][S];
    logits_directly(f, x, logits);
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < S; j++) {
            double over_tokens = 0;
            double over_slots = 0;
            for (size_t i = 0; i < T; i++) over_tokens += exp(logits[i][j]);
            for (size_t i = 0; i < S; i++) over_slots += exp(logits[t][i]);
            dispatch[t][j] = exp(logits[t][j]) / over_tokens;
            combine[t][j] = exp(logits[t][j]) / over_slots;
            if (f->options.uniform_dispatch) dispatch[t][j] = 1.0 / T;
            if (f->options.uniform_combine) combine[t][j] = 1.0 / S;
        }
}

/* Logits stay below 40, rounded D times and more by half an epsilon, and exp passes on their error;
 * weights are at most 1, tokens and slots at most 5. */
static const double tolerance = 5 * 40 * (D + 4) * (double)COT_REAL_EPSILON / 2;

static void check_values(const cot_router_options *options, cot_real x_size)
{
    fixture f;
    pass *p = cot_alloc(1, sizeof *p);
    create(&f, options);
    f.x_size = x_size;
    const cot_grains all = cot_grains_of(BATCH, GRAINS, 1, 0);
    cot_real slot_out[ROWS];
    draw_normal(3, ROWS, slot_out);
    run(&f, &all, NULL, p);
    for (size_t n = 0; n < BATCH; n++) {
        double dispatch[T][S];
        double combine[T][S];
        const cot_real *x = p->x + n * T * D;
        weights_directly(&f, x, dispatch, combine);
        for (size_t i = 0; i < T * S; i++) {
            assert_close_double((double)p->dispatch[n * T * S + i], dispatch[i / S][i % S], 0,
                                tolerance);
            assert_close_double((double)p->combine[n * T * S + i], combine[i / S][i % S], 0,
                                tolerance);
        }
        for (size_t i = 0; i < S * D; i++) {
            double want = 0;
            for (size_t t = 0; t < T; t++) {
                bool mixes_normalized = options->normalize == COT_NORMALIZE_INPUTS;
                double factor = mixes_normalized ? row_factor(&f, x + t * D) : 1;
                want += dispatch[t][i / D] * (double)x[t * D + i % D] * factor;
            }
            assert_close_double((double)row_of(p->slot_in, n, i / D)[i % D], want, 0,
                                T * tolerance);
        }
        for (size_t i = 0; i < T * D; i++) {
            double want = 0;
            for (size_t j = 0; j < S; j++)
                want += combine[i / D][j] * (double)row_of(slot_out, n, j)[i % D];
            assert_close_double((double)p->y[n * T * D + i], want, 0, S * tolerance);
        }
    }
    destroy(&f);
    cot_free(p);
}

static const cot_router_options variants[] = {
    {.normalize = COT_NORMALIZE_NONE},
    {.normalize = COT_NORMALIZE_LOGITS},
    {.normalize = COT_NORMALIZE_INPUTS},
    {.normalize = COT_NORMALIZE_NONE, .init = COT_ROUTER_ZEROS},
    {.normalize = COT_NORMALIZE_LOGITS, .uniform_dispatch = true},
    {.normalize = COT_NORMALIZE_INPUTS, .uniform_combine = true},
    {.normalize = COT_NORMALIZE_INPUTS, .uniform_dispatch = true, .uniform_combine = true}};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static void follows_the_formulas(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        check_values(&variants[i], 1);
        /* So small that the two forms of normalization differ. */
        check_values(&variants[i], (cot_real)1e-3);
    }
}

static void registers_what_its_options_say(void **state)
{
    (void)state;
    fixture f;
    create(&f, &(cot_router_options){.normalize = COT_NORMALIZE_NONE, .freeze = true});
    assert_int_equal(cot_params_count(f.params), 1);
    assert_true(f.phi->dims[0] == D && f.phi->dims[1] == E && f.phi->dims[2] == P);
    assert_true(f.phi->frozen && f.phi->decay && f.phi->placement == COT_REPLICATED);
    assert_true(f.phi->init == COT_INIT_UNIFORM && f.phi->init_scale == 1);
    destroy(&f);
    create(&f, &(cot_router_options){.normalize = COT_NORMALIZE_LOGITS,
                                     .init = COT_ROUTER_LECUN_NORMAL});
    assert_int_equal(cot_params_count(f.params), 2);
    assert_true(f.scale->count == 1 && !f.scale->decay && !f.scale->frozen && !f.phi->frozen);
    assert_true(f.phi->init == COT_INIT_NORMAL);
    assert_close_double(f.phi->init_scale, 1 / sqrt(D), 1e-15, 0);
    destroy(&f);
    create(&f, &(cot_router_options){.normalize = COT_NORMALIZE_NONE, .init = COT_ROUTER_ZEROS});
    for (size_t i = 0; i < PHI; i++) assert_true(f.phi->value[i] == 0);
    destroy(&f);
}

/* The parts of a batch on 2, 4 and 8 ranks against the whole: everything of a sample, and by the
 * tree over the parts the gradients of Phi and scale, has the same bits. */
static void check_parts(const cot_router_options *options)
{
    fixture f;
    pass *whole = cot_alloc(1, sizeof *whole);
    pass *part = cot_alloc(1, sizeof *part);
    cot_noise noise = {.seed = 5, .step = 77, .first_sample = 40};
    const cot_noise *any_noise = options->noise > 0 ? &noise : NULL;
    create(&f, options);
    const cot_grains all = cot_grains_of(BATCH, GRAINS, 1, 0);
    size_t params = cot_params_replicated_size(f.params);
    run(&f, &all, any_noise, whole);
    for (size_t parts = 2; parts <= GRAINS; parts *= 2) {
        cot_real grads[GRAINS * (PHI + 1)];
        for (size_t i = 0; i < parts; i++) {
            cot_grains here = cot_grains_of(BATCH, GRAINS, parts, i);
            size_t first = cot_grains_begin(&here);
            size_t n = cot_grains_size(&here);
            run(&f, &here, any_noise, part);
            assert_same_bits(part->dispatch, whole->dispatch + first * T * S, n * T * S);
            assert_same_bits(part->combine, whole->combine + first * T * S, n * T * S);
            assert_same_bits(part->y, whole->y + first * T * D, n * T * D);
            for (size_t j = 0; j < S; j++) {
                assert_same_bits(part->slot_in + j * n * D, row_of(whole->slot_in, first, j),
                                 n * D);
                assert_same_bits(part->dslot_in + j * n * D, row_of(whole->dslot_in, first, j),
                                 n * D);
            }
            assert_same_bits(part->dx, whole->dx + first * T * D, n * T * D);
            memcpy(grads + i * params, part->grads, params * sizeof *grads);
        }
        cot_tree_reduce(parts, params, grads);
        assert_same_bits(grads, whole->grads, params);
    }
    destroy(&f);
    cot_free(part);
    cot_free(whole);
}

static void parts_make_up_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) check_parts(&variants[i]);
    check_parts(&(cot_router_options){.normalize = COT_NORMALIZE_LOGITS, .noise = 0.7});
}

static void frozen_or_idle_routers_have_no_gradient(void **state)
{
    (void)state;
    const cot_router_options options[] = {
        {.normalize = COT_NORMALIZE_LOGITS, .freeze = true},
        {.normalize = COT_NORMALIZE_INPUTS, .uniform_dispatch = true, .uniform_combine = true}};
    for (int i = 0; i < 2; i++) {
        fixture f;
        pass *p = cot_alloc(1, sizeof *p);
        create(&f, &options[i]);
        const cot_grains all = cot_grains_of(BATCH, GRAINS, 1, 0);
        run(&f, &all, NULL, p);
        for (size_t j = 0; j < PHI + 1; j++) assert_true(p->grads[j] == 0);
        destroy(&f);
        cot_free(p);
    }
}

/* The logits' noise of sample `place`, which for one token is the logarithm of the combine weights
 * up to a constant: read off where Phi is 0. */
static void noise_of(const cot_noise *noise, size_t layer, double deviation, size_t place,
                     cot_real *out)
{
    cot_stream stream = {.seed = noise->seed,
                         .purpose = COT_PURPOSE_NOISE,
                         .epoch = (uint32_t)noise->step,
                         .index = ((uint64_t)layer << 40) | place};
    cot_rng_normal(&stream, 0, T * S, (cot_real)deviation, out);
}

static void noise_is_keyed_by_sample_token_and_slot(void **state)
{
    (void)state;
    const cot_router_options options = {.init = COT_ROUTER_ZEROS, .noise = 0.5};
    fixture f;
    pass *p = cot_alloc(1, sizeof *p);
    create(&f, &options);
    const cot_noise noise = {.seed = 9, .step = 3, .first_sample = 100};
    const cot_grains all = cot_grains_of(BATCH, GRAINS, 1, 0);
    run(&f, &all, &noise, p);
    for (size_t n = 0; n < BATCH; n++) {
        cot_real logits[T * S];
        noise_of(&noise, LAYER, 0.5, 100 + n, logits);
        for (size_t t = 0; t < T; t++) {
            double sum = 0;
            for (size_t j = 0; j < S; j++) sum += exp((double)logits[t * S + j]);
            for (size_t j = 0; j < S; j++)
                assert_close_double((double)p->combine[(n * T + t) * S + j],
                                    exp((double)logits[t * S + j]) / sum, 0, tolerance);
        }
    }
    destroy(&f);
    cot_free(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(registers_what_its_options_say),
    cmocka_unit_test(follows_the_formulas),
    cmocka_unit_test(parts_make_up_the_whole),
    cmocka_unit_test(frozen_or_idle_routers_have_no_gradient),
    cmocka_unit_test(noise_is_keyed_by_sample_token_and_slot),
};

RUN_UNIT_TESTS(tests)
