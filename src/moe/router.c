#include "moe/mix.h"
#include "moe/noise.h"
#include "moe/router_rules.h"

#include <coterie/blas.h>
#include <coterie/memory.h>
#include <coterie/normalize.h>
#include <coterie/router.h>
#include <coterie/softmax.h>
#include <coterie/tree.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

struct cot_router {
    cot_router_options options;
    cot_moe_shape shape;
    size_t S, layer;
    cot_param *phi, *scale;  /* scale is NULL without normalization */
    const cot_real *x;       /* [b,T,D], the caller's */
    cot_real *xhat;          /* [b,T,D]; NULL without normalization */
    cot_real *x_inverse;     /* [b,T] */
    cot_real *phi_hat;       /* [D,S]; NULL without normalization */
    cot_real *phi_inverse;   /* [S] */
    cot_real *dispatch;      /* [b,T,S] */
    cot_real *combine;       /* [b,T,S] */
    cot_real *dlogits;       /* [b,T,S] */
    cot_real *dphi_hat;      /* [D,S] */
    cot_real *dxhat;         /* [n,T,D] of one grain */
    cot_real *dweights;      /* [n,T,S] of one grain */
    cot_real *columns;       /* [2,S] */
    cot_tree *dphi, *dscale; /* over the grains here; NULL where nothing is learned */
};

static const cot_real *xhat_of(const cot_router *router)
{
    return cot_router_normalizes(&router->options) ? router->xhat : router->x;
}

/* What is mixed into the slots: Xm. */
static const cot_real *mixed_of(const cot_router *router)
{
    return router->options.normalize == COT_NORMALIZE_INPUTS ? router->xhat : router->x;
}

static const cot_real *phi_hat_of(const cot_router *router)
{
    return cot_router_normalizes(&router->options) ? router->phi_hat : router->phi->value;
}

static cot_real scale_of(const cot_router *router)
{
    return router->scale != NULL ? router->scale->value[0] : 1;
}

static void add_params(cot_router *router, cot_params *params, const char *prefix)
{
    static const cot_init init[] = {[COT_ROUTER_UNIFORM] = COT_INIT_UNIFORM,
                                    [COT_ROUTER_LECUN_NORMAL] = COT_INIT_NORMAL,
                                    [COT_ROUTER_ZEROS] = COT_INIT_ZEROS};
    const cot_moe_shape *shape = &router->shape;
    bool lecun = router->options.init == COT_ROUTER_LECUN_NORMAL;
    char *name = cot_strprintf("%s.phi", prefix);
    router->phi = cot_params_add(
        params, &(cot_param_spec){.name = name,
                                  .axes = "D,E,P",
                                  .dims = {shape->D, shape->E, shape->P},
                                  .init = init[router->options.init],
                                  .init_scale = lecun ? 1 / sqrt((double)shape->D) : 1,
                                  .decay = true,
                                  .frozen = router->options.freeze});
    cot_free(name);
    if (!cot_router_normalizes(&router->options)) return;
    name = cot_strprintf("%s.scale", prefix);
    router->scale = cot_params_add(params, &(cot_param_spec){.name = name,
                                                             .axes = "1",
                                                             .dims = {1},
                                                             .init = COT_INIT_ONES,
                                                             .frozen = router->options.freeze});
    cot_free(name);
}

cot_router *cot_router_create(const cot_router_options *options, const cot_moe_shape *shape,
                              size_t layer, size_t capacity, size_t grains, size_t grain_capacity,
                              cot_params *params, const char *prefix)
{
    cot_router *router = cot_alloc(1, sizeof *router);
    router->options = *options;
    router->shape = *shape;
    router->layer = layer;
    router->S = shape->E * shape->P;
    const size_t D = shape->D;
    const size_t S = router->S;
    size_t tokens = capacity * shape->T;
    add_params(router, params, prefix);
    if (cot_router_normalizes(&router->options)) {
        router->xhat = cot_alloc(tokens * D, sizeof(cot_real));
        router->x_inverse = cot_alloc(tokens, sizeof(cot_real));
        router->phi_hat = cot_alloc(D * S, sizeof(cot_real));
        router->phi_inverse = cot_alloc(S, sizeof(cot_real));
        router->dphi_hat = cot_alloc(D * S, sizeof(cot_real));
        router->dxhat = cot_alloc(grain_capacity * shape->T * D, sizeof(cot_real));
    }
    router->dispatch = cot_alloc(tokens * S, sizeof(cot_real));
    router->combine = cot_alloc(tokens * S, sizeof(cot_real));
    router->dlogits = cot_alloc(tokens * S, sizeof(cot_real));
    router->dweights = cot_alloc(grain_capacity * shape->T * S, sizeof(cot_real));
    router->columns = cot_alloc(2 * S, sizeof(cot_real));
    if (cot_router_learns(&router->options)) {
        router->dphi = cot_tree_create(grains, D * S);
        router->dscale = cot_tree_create(grains, 1);
    }
    return router;
}

void cot_router_destroy(cot_router **router_at)
{
    cot_router *router = *router_at;
    if (router == NULL) return;
    cot_tree_destroy(&router->dscale);
    cot_tree_destroy(&router->dphi);
    cot_free(router->columns);
    cot_free(router->dweights);
    cot_free(router->dlogits);
    cot_free(router->combine);
    cot_free(router->dispatch);
    cot_free(router->dxhat);
    cot_free(router->dphi_hat);
    cot_free(router->phi_inverse);
    cot_free(router->phi_hat);
    cot_free(router->x_inverse);
    cot_free(router->xhat);
    cot_free(router);
    *router_at = NULL;
}

/* Logits are computed where weights will stand: the softmaxes work in place. */
static cot_real *logits_of(const cot_router *router)
{
    return router->options.uniform_combine ? router->dispatch : router->combine;
}

/* Dispatch and combine weights of sample i of the batch, from its logits. */
static void weigh(cot_router *router, const cot_noise *noise, size_t i, size_t first_sample)
{
    const size_t T = router->shape.T;
    const size_t S = router->S;
    cot_real *logits = logits_of(router) + i * T * S;
    const cot_slot_range all = {0, S, S};
    if (noise != NULL)
        cot_add_logit_noise(noise, (cot_real)router->options.noise, router->layer, first_sample + i,
                            T, &all, router->columns, logits);
    if (!router->options.uniform_dispatch)
        cot_softmax_cols(T, S, logits, router->dispatch + i * T * S, router->columns);
    if (!router->options.uniform_combine)
        cot_softmax_rows(T, S, logits, router->combine + i * T * S);
}

void cot_router_route(cot_router *router, const cot_grains *grains, const cot_noise *noise,
                      const cot_real *x)
{
    const size_t T = router->shape.T;
    const size_t D = router->shape.D;
    const size_t S = router->S;
    const size_t samples = cot_grains_size(grains);
    router->x = x;
    if (cot_router_normalizes(&router->options)) {
        cot_normalize_cols(cot_router_l2_form(&router->options), D, S, router->phi->value,
                           router->phi_hat, router->phi_inverse);
        cot_normalize_rows(cot_router_l2_form(&router->options), samples * T, D, x, router->xhat,
                           router->x_inverse);
    }
    if (router->options.uniform_dispatch)
        cot_fill(samples * T * S, 1 / (cot_real)T, router->dispatch);
    if (router->options.uniform_combine)
        cot_fill(samples * T * S, 1 / (cot_real)S, router->combine);
    if (!cot_router_needs_logits(&router->options)) return;
    size_t begin = cot_grains_begin(grains);
    for (size_t g = grains->first; g < grains->end; g++) {
        size_t first = cot_grain_begin(grains, g) - begin;
        size_t n = cot_grain_size(grains, g);
        cot_gemm(COT_N, COT_N, n * T, S, D, scale_of(router), xhat_of(router) + first * T * D, D,
                 phi_hat_of(router), S, 0, logits_of(router) + first * T * S, S);
        for (size_t i = first; i < first + n; i++) weigh(router, noise, i, begin);
    }
}

/* The products of all samples here. */
static cot_mix mix_of_all(const cot_router *router, const cot_grains *grains,
                          const cot_slots *slots, const uint8_t *kept)
{
    return (cot_mix){.shape = &router->shape,
                     .slots = slots,
                     .samples = cot_grains_size(grains),
                     .stride = router->S,
                     .kept = kept};
}

/* The products of one grain. */
static cot_mix mix_of(const cot_router *router, const cot_grains *grains, const cot_slots *slots,
                      size_t grain)
{
    return (cot_mix){.shape = &router->shape,
                     .slots = slots,
                     .first = cot_grain_begin(grains, grain) - cot_grains_begin(grains),
                     .samples = cot_grain_size(grains, grain),
                     .stride = router->S};
}

void cot_router_dispatch(const cot_router *router, const cot_grains *grains, const cot_slots *slots,
                         const uint8_t *kept, cot_real *slot_in)
{
    cot_mix mix = mix_of_all(router, grains, slots, kept);
    cot_mix_to_slots(&mix, router->dispatch, mixed_of(router), slot_in);
}

void cot_router_combine(const cot_router *router, const cot_grains *grains, const cot_slots *slots,
                        const uint8_t *kept, const cot_real *slot_out, cot_real *y, cot_real *norms)
{
    cot_mix mix = mix_of_all(router, grains, slots, kept);
    mix.norms = norms;
    cot_mix_to_tokens(&mix, router->combine, slot_out, y);
}

/* With Yt the slot outputs:
 *     dCmb = dY Yt^T, through the softmax to dL
 *     dYt = Cmb^T dY, over Yt */
void cot_router_combine_backward(cot_router *router, const cot_grains *grains,
                                 const cot_slots *slots, const cot_real *dy, cot_real *slot_out)
{
    const size_t T = router->shape.T;
    const size_t S = router->S;
    for (size_t g = grains->first; g < grains->end; g++) {
        cot_mix mix = mix_of(router, grains, slots, g);
        const cot_real *dy_grain = dy + mix.first * T * router->shape.D;
        const cot_real *combine = router->combine + mix.first * T * S;
        cot_real *dlogits = router->dlogits + mix.first * T * S;
        cot_fill(mix.samples * T * S, 0, dlogits);
        if (!router->options.uniform_combine) {
            cot_mix_to_weights(&mix, dy_grain, slot_out, router->dweights);
            cot_softmax_rows_backward(mix.samples * T, S, combine, router->dweights, dlogits);
        }
        cot_mix_to_slots(&mix, combine, dy_grain, slot_out);
    }
}

/* dDsp = Xm dXt^T, with Xt the slot inputs; dL += softmax backward of it, sample by sample. */
static void add_dispatch_dlogits(cot_router *router, const cot_mix *mix, const cot_real *dslot_in)
{
    const size_t T = router->shape.T;
    const size_t S = router->S;
    if (router->options.uniform_dispatch) return;
    cot_mix_to_weights(mix, mixed_of(router) + mix->first * T * router->shape.D, dslot_in,
                       router->dweights);
    for (size_t i = 0; i < mix->samples; i++)
        cot_softmax_cols_backward(T, S, router->dispatch + (mix->first + i) * T * S,
                                  router->dweights + i * T * S,
                                  router->dlogits + (mix->first + i) * T * S, router->columns);
}

/* One grain's leaves, from dL of the logits L = s A, A = Xhat Phihat. With C = Xhat^T dL:
 *     dPhihat = s C, through the normalization to dPhi
 *     ds = sum of dL A = sum of C Phihat */
static void push_gradients(cot_router *router, size_t first, size_t samples)
{
    const size_t D = router->shape.D;
    const size_t S = router->S;
    const size_t tokens = samples * router->shape.T;
    const cot_real *xhat = xhat_of(router) + first * router->shape.T * D;
    const cot_real *dlogits = router->dlogits + first * router->shape.T * S;
    cot_real *leaf = cot_tree_leaf(router->dphi);
    cot_real *dphi_hat = cot_router_normalizes(&router->options) ? router->dphi_hat : leaf;
    cot_gemm(COT_T, COT_N, D, S, tokens, 1, xhat, D, dlogits, S, 0, dphi_hat, S);
    if (cot_router_normalizes(&router->options)) {
        *cot_tree_leaf(router->dscale) = cot_dot(D * S, dphi_hat, router->phi_hat);
        cot_tree_push(router->dscale);
        cot_scale(D * S, scale_of(router), dphi_hat, dphi_hat);
        cot_fill(D * S, 0, leaf);
        cot_normalize_cols_backward(cot_router_l2_form(&router->options), D, S, router->phi_hat,
                                    router->phi_inverse, dphi_hat, leaf, router->columns);
    }
    cot_tree_push(router->dphi);
}

/* dX of one grain, through the normalization where there is one, with Xt the slot inputs:
 *     from the mixed tokens, dXm = Dsp dXt
 *     from the logits, dXhat = s dL Phihat^T */
static void input_gradient(cot_router *router, const cot_mix *mix, const cot_real *dslot_in,
                           cot_real *dx)
{
    const size_t T = router->shape.T;
    const size_t D = router->shape.D;
    const size_t S = router->S;
    const size_t first = mix->first;
    const size_t tokens = mix->samples * T;
    const cot_real *dispatch = router->dispatch + first * T * S;
    const cot_real *dlogits = router->dlogits + first * T * S;
    bool inputs = router->options.normalize == COT_NORMALIZE_INPUTS;
    cot_real *dxhat = cot_router_normalizes(&router->options) ? router->dxhat : dx;
    cot_real *dmixed = inputs ? dxhat : dx;
    cot_mix_to_tokens(mix, dispatch, dslot_in, dmixed);
    if (cot_router_needs_logits(&router->options))
        cot_gemm(COT_N, COT_T, tokens, D, S, scale_of(router), dlogits, S, phi_hat_of(router), S,
                 dxhat == dmixed, dxhat, D);
    else if (dxhat != dmixed)
        cot_fill(tokens * D, 0, dxhat);
    if (!cot_router_normalizes(&router->options)) return;
    if (inputs) cot_fill(tokens * D, 0, dx);
    cot_normalize_rows_backward(cot_router_l2_form(&router->options), tokens, D,
                                router->xhat + first * T * D, router->x_inverse + first * T, dxhat,
                                dx);
}

static void finish_gradients(cot_router *router)
{
    if (cot_router_learns(&router->options))
        cot_tree_finish(router->dphi, router->phi->grad);
    else
        cot_fill(router->phi->count, 0, router->phi->grad);
    if (router->scale == NULL) return;
    if (cot_router_learns(&router->options))
        cot_tree_finish(router->dscale, router->scale->grad);
    else
        *router->scale->grad = 0;
}

void cot_router_dispatch_backward(cot_router *router, const cot_grains *grains,
                                  const cot_slots *slots, const cot_real *dslot_in, cot_real *dx)
{
    for (size_t g = grains->first; g < grains->end; g++) {
        cot_mix mix = mix_of(router, grains, slots, g);
        add_dispatch_dlogits(router, &mix, dslot_in);
        if (cot_router_learns(&router->options)) push_gradients(router, mix.first, mix.samples);
        if (dx != NULL)
            input_gradient(router, &mix, dslot_in,
                           dx + mix.first * router->shape.T * router->shape.D);
    }
    finish_gradients(router);
}

const cot_real *cot_router_combine_weights(const cot_router *router)
{
    return router->combine;
}

const cot_real *cot_router_dispatch_weights(const cot_router *router)
{
    return router->dispatch;
}

const cot_param *cot_router_phi(const cot_router *router)
{
    return router->phi;
}

const cot_param *cot_router_scale(const cot_router *router)
{
    return router->scale;
}
