#include "moe/projected.h"

#include "base/vector_clones.h"

#include <coterie/blas.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

/* Columns of the wide matrices are in the order [hidden unit][expert], so that what differs from
 * expert to expert, the weights of a token, lies side by side. */
struct cot_projected {
    cot_expert_params params;
    cot_activation activation;
    size_t T, D, H, E;
    size_t first_expert;
    cot_real *w1, *dw1; /* [D,HE] */
    cot_real *w2, *dw2; /* [HE,D] */
    cot_real *b1, *db1; /* [HE]; NULL without bias */
    cot_real *db2;      /* [E,D]; NULL without bias */
    cot_hidden_rows hidden;
    cot_real *u;              /* [samples,T,HE], or of one grain where it is computed again */
    cot_real *pre;            /* [samples,HE], likewise */
    cot_real *mixed;          /* [grain,T,HE]: Cmb h, or gradients of it */
    cot_real *du;             /* [grain,T,HE] */
    cot_real *post, *dhidden; /* [HE] of one sample */
};

cot_projected *cot_projected_create(const cot_expert_bank *bank, cot_activation activation,
                                    const cot_moe_shape *shape, size_t first_expert, size_t experts,
                                    size_t samples, size_t grain, cot_hidden_rows hidden)
{
    cot_projected *p = cot_alloc(1, sizeof *p);
    *p = (cot_projected){.params = cot_expert_bank_params(bank),
                         .activation = activation,
                         .T = shape->T,
                         .D = shape->D,
                         .H = shape->H,
                         .E = experts,
                         .first_expert = first_expert,
                         .hidden = hidden};
    const size_t K = p->H * p->E;
    p->w1 = cot_alloc(p->D * K, sizeof(cot_real));
    p->dw1 = cot_alloc(p->D * K, sizeof(cot_real));
    p->w2 = cot_alloc(K * p->D, sizeof(cot_real));
    p->dw2 = cot_alloc(K * p->D, sizeof(cot_real));
    if (p->params.b1 != NULL) {
        p->b1 = cot_alloc(K, sizeof(cot_real));
        p->db1 = cot_alloc(K, sizeof(cot_real));
        p->db2 = cot_alloc(p->E * p->D, sizeof(cot_real));
    }
    size_t kept = hidden == COT_HIDDEN_KEPT ? samples : grain;
    p->u = cot_alloc(kept * p->T * K, sizeof(cot_real));
    p->pre = cot_alloc(kept * K, sizeof(cot_real));
    p->mixed = cot_alloc(grain * p->T * K, sizeof(cot_real));
    p->du = cot_alloc(grain * p->T * K, sizeof(cot_real));
    p->post = cot_alloc(K, sizeof(cot_real));
    p->dhidden = cot_alloc(K, sizeof(cot_real));
    return p;
}

void cot_projected_destroy(cot_projected **projected)
{
    cot_projected *p = *projected;
    if (p == NULL) return;
    cot_free(p->dhidden);
    cot_free(p->post);
    cot_free(p->du);
    cot_free(p->mixed);
    cot_free(p->pre);
    cot_free(p->u);
    cot_free(p->db2);
    cot_free(p->db1);
    cot_free(p->b1);
    cot_free(p->dw2);
    cot_free(p->w2);
    cot_free(p->dw1);
    cot_free(p->w1);
    cot_free(p);
    *projected = NULL;
}

/* One expert's numbers of a parameter. */
static cot_real *of_expert(const cot_projected *p, const cot_param *param, cot_real *array,
                           size_t e)
{
    return array + (p->first_expert + e) * param->row_size;
}

void cot_projected_load(cot_projected *p)
{
    const size_t D = p->D;
    const size_t H = p->H;
    const size_t E = p->E;
    for (size_t e = 0; e < E; e++) {
        const cot_real *w1 = of_expert(p, p->params.w1, p->params.w1->value, e);
        const cot_real *w2 = of_expert(p, p->params.w2, p->params.w2->value, e);
        for (size_t d = 0; d < D; d++)
            for (size_t h = 0; h < H; h++) p->w1[(d * H + h) * E + e] = w1[d * H + h];
        for (size_t h = 0; h < H; h++) cot_scale(D, 1, w2 + h * D, p->w2 + (h * E + e) * D);
        for (size_t h = 0; p->b1 != NULL && h < H; h++)
            p->b1[h * E + e] = of_expert(p, p->params.b1, p->params.b1->value, e)[h];
    }
}

void cot_projected_finish(cot_projected *p)
{
    const size_t D = p->D;
    const size_t H = p->H;
    const size_t E = p->E;
    for (size_t e = 0; e < E; e++) {
        cot_real *w1 = of_expert(p, p->params.w1, p->params.w1->grad, e);
        cot_real *w2 = of_expert(p, p->params.w2, p->params.w2->grad, e);
        for (size_t d = 0; d < D; d++)
            for (size_t h = 0; h < H; h++) w1[d * H + h] += p->dw1[(d * H + h) * E + e];
        for (size_t h = 0; h < H; h++) cot_add(D, p->dw2 + (h * E + e) * D, w2 + h * D);
        if (p->b1 == NULL) continue;
        for (size_t h = 0; h < H; h++)
            of_expert(p, p->params.b1, p->params.b1->grad, e)[h] += p->db1[h * E + e];
        cot_add(D, p->db2 + e * D, of_expert(p, p->params.b2, p->params.b2->grad, e));
    }
}

/* ---- elementwise, for one sample: arrays [H,E] or [T,H,E], weights [T,E] ---- */

/* sum [H,E] (+)= sum_t w[t,e] x[t,h,e] */
COT_VECTOR_CLONES
static void sum_tokens(const cot_projected *p, const cot_real *w, const cot_real *x, cot_real *sum)
{
    const size_t E = p->E;
    const size_t K = p->H * E;
    for (size_t h = 0; h < p->H; h++) {
        cot_real *restrict to = sum + h * E;
        for (size_t t = 0; t < p->T; t++) {
            const cot_real *restrict weight = w + t * E;
            const cot_real *restrict from = x + t * K + h * E;
            if (t == 0)
                for (size_t e = 0; e < E; e++) to[e] = weight[e] * from[e];
            else
                for (size_t e = 0; e < E; e++) to[e] += weight[e] * from[e];
        }
    }
}

/* y[t,h,e] = w[t,e] x[h,e] */
COT_VECTOR_CLONES
static void spread_tokens(const cot_projected *p, const cot_real *w, const cot_real *x, cot_real *y)
{
    const size_t E = p->E;
    const size_t K = p->H * E;
    for (size_t t = 0; t < p->T; t++)
        for (size_t h = 0; h < p->H; h++) {
            const cot_real *restrict weight = w + t * E;
            const cot_real *restrict from = x + h * E;
            cot_real *restrict to = y + t * K + h * E;
            for (size_t e = 0; e < E; e++) to[e] = weight[e] * from[e];
        }
}

/* w[t,e] += sum_h x[t,h,e] y[h,e] */
COT_VECTOR_CLONES
static void sum_hidden(const cot_projected *p, const cot_real *x, const cot_real *y, cot_real *w)
{
    const size_t E = p->E;
    const size_t K = p->H * E;
    for (size_t t = 0; t < p->T; t++)
        for (size_t h = 0; h < p->H; h++) {
            const cot_real *restrict left = x + t * K + h * E;
            const cot_real *restrict right = y + h * E;
            cot_real *restrict to = w + t * E;
            for (size_t e = 0; e < E; e++) to[e] += left[e] * right[e];
        }
}

/* ---- passes ---- */

/* Where what is kept of the unit's samples begins. */
static cot_real *u_of(const cot_projected *p, const cot_projected_unit *unit)
{
    size_t first = p->hidden == COT_HIDDEN_KEPT ? unit->first : 0;
    return p->u + first * p->T * p->H * p->E;
}

static cot_real *pre_of(const cot_projected *p, const cot_projected_unit *unit)
{
    size_t first = p->hidden == COT_HIDDEN_KEPT ? unit->first : 0;
    return p->pre + first * p->H * p->E;
}

/* U = X W1, and the hidden values before the activation. */
static void hidden(cot_projected *p, const cot_projected_unit *unit)
{
    const size_t T = p->T;
    const size_t D = p->D;
    const size_t K = p->H * p->E;
    cot_real *u = u_of(p, unit);
    cot_gemm(COT_N, COT_N, unit->n * T, K, D, 1, unit->tokens, D, p->w1, K, 0, u, K);
    for (size_t i = 0; i < unit->n; i++) {
        cot_real *pre = pre_of(p, unit) + i * K;
        sum_tokens(p, unit->dispatch + i * T * p->E, u + i * T * K, pre);
        if (p->b1 != NULL) cot_add(K, p->b1, pre);
    }
}

void cot_projected_forward(cot_projected *p, const cot_projected_unit *unit, cot_real *numerators)
{
    const size_t T = p->T;
    const size_t D = p->D;
    const size_t E = p->E;
    const size_t K = p->H * E;
    const size_t tokens = unit->n * T;
    hidden(p, unit);
    for (size_t i = 0; i < unit->n; i++) {
        cot_activate(p->activation, K, pre_of(p, unit) + i * K, p->post);
        spread_tokens(p, unit->combine + i * T * E, p->post, p->mixed + i * T * K);
    }
    cot_gemm(COT_N, COT_N, tokens, D, K, 1, p->mixed, K, p->w2, D, 0, numerators, D);
    if (p->b1 != NULL)
        cot_gemm(COT_N, COT_N, tokens, D, E, 1, unit->combine, E,
                 of_expert(p, p->params.b2, p->params.b2->value, 0), D, 1, numerators, D);
}

/* One sample, with dA = dY W2^T in p->mixed:
 *     dCmb += sum_h dA h,  dh = sum_t Cmb dA, through the activation,  A = Cmb h over dA
 *     dU = Dsp dh,  dDsp = sum_h dh U */
static void backward_sample(cot_projected *p, const cot_projected_unit *unit, size_t i,
                            cot_real *dcombine, cot_real *ddispatch)
{
    const size_t T = p->T;
    const size_t E = p->E;
    const size_t K = p->H * E;
    const cot_real *pre = pre_of(p, unit) + i * K;
    const cot_real *combine = unit->combine + i * T * E;
    cot_real *mixed = p->mixed + i * T * K;
    cot_activate(p->activation, K, pre, p->post);
    sum_hidden(p, mixed, p->post, dcombine + i * T * E);
    sum_tokens(p, combine, mixed, p->dhidden);
    cot_activate_backward(p->activation, K, pre, p->dhidden, p->dhidden);
    if (p->db1 != NULL) cot_add(K, p->dhidden, p->db1);
    spread_tokens(p, combine, p->post, mixed);
    spread_tokens(p, unit->dispatch + i * T * E, p->dhidden, p->du + i * T * K);
    cot_fill(T * E, 0, ddispatch + i * T * E);
    sum_hidden(p, u_of(p, unit) + i * T * K, p->dhidden, ddispatch + i * T * E);
}

void cot_projected_backward(cot_projected *p, const cot_projected_unit *unit, bool anew,
                            const cot_real *dy, cot_real *dcombine, cot_real *ddispatch,
                            cot_real *dtokens)
{
    const size_t D = p->D;
    const size_t E = p->E;
    const size_t K = p->H * E;
    const size_t tokens = unit->n * p->T;
    const cot_real keep = anew ? 0 : 1;
    if (p->hidden == COT_HIDDEN_RECOMPUTED) hidden(p, unit);
    if (anew && p->db1 != NULL) cot_fill(K, 0, p->db1);
    cot_gemm(COT_N, COT_T, tokens, K, D, 1, dy, D, p->w2, D, 0, p->mixed, K);
    cot_fill(tokens * E, 0, dcombine);
    if (p->b1 != NULL) {
        const cot_real *b2 = of_expert(p, p->params.b2, p->params.b2->value, 0);
        cot_gemm(COT_N, COT_T, tokens, E, D, 1, dy, D, b2, D, 0, dcombine, E);
        cot_gemm(COT_T, COT_N, E, D, tokens, 1, unit->combine, E, dy, D, keep, p->db2, D);
    }
    for (size_t i = 0; i < unit->n; i++) backward_sample(p, unit, i, dcombine, ddispatch);
    cot_gemm(COT_T, COT_N, K, D, tokens, 1, p->mixed, K, dy, D, keep, p->dw2, D);
    cot_gemm(COT_T, COT_N, D, K, tokens, 1, unit->tokens, D, p->du, K, keep, p->dw1, K);
    if (dtokens != NULL) cot_gemm(COT_N, COT_T, tokens, D, K, 1, p->du, K, p->w1, K, 0, dtokens, D);
}
