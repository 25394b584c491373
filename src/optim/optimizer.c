#include "base/vector_clones.h"

#include <coterie/memory.h>
#include <coterie/optimizer.h>

#include <math.h>

enum { MAX_MOMENTS = 2 };

struct cot_optimizer {
    cot_optimizer_options options;
    cot_params *params;
    size_t moment_count;
    cot_real *moments[MAX_MOMENTS];
};

/* One step's coefficients, in the precision of the elementwise loops. */
typedef struct coefficients {
    cot_real rate, gradient_scale, decay, keep; /* keep: what decoupled decay leaves of a weight */
    cot_real beta1, beta2, epsilon, root_correction;
    cot_real rest1, rest2; /* 1 - beta, rounded once */
} coefficients;

cot_optimizer *cot_optimizer_create(const cot_optimizer_options *options, cot_params *params)
{
    cot_optimizer *optimizer = cot_alloc(1, sizeof *optimizer);
    optimizer->options = *options;
    optimizer->params = params;
    optimizer->moment_count = options->kind == COT_SGD ? 1 : 2;
    size_t n = cot_params_replicated_size(params) + cot_params_sharded_size(params);
    for (size_t i = 0; i < optimizer->moment_count; i++)
        optimizer->moments[i] = cot_alloc(n, sizeof(cot_real));
    return optimizer;
}

void cot_optimizer_destroy(cot_optimizer **optimizer)
{
    if (*optimizer == NULL) return;
    for (size_t i = 0; i < MAX_MOMENTS; i++) cot_free((*optimizer)->moments[i]);
    cot_free(*optimizer);
    *optimizer = NULL;
}

/* Where a gradient stays 0, behind a unit that is never active, moments would die away as denormal
 * numbers, with which processors take many times as long, and never quite. */
static inline cot_real normal_or_zero(cot_real x)
{
    return x < COT_REAL_LEAST && x > -COT_REAL_LEAST ? 0 : x;
}

/* m = momentum m + g;  w -= rate m */
COT_VECTOR_CLONES
static void sgd(size_t n, const coefficients *c, const cot_real *grad, cot_real *restrict m,
                cot_real *restrict w)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = normal_or_zero(c->beta1 * m[i] + (c->gradient_scale * grad[i] + c->decay * w[i]));
        w[i] -= c->rate * m[i];
    }
}

/* Adam, and with `keep` below 1 AdamW:
 *     m = beta1 m + (1 - beta1) g
 *     v = beta2 v + (1 - beta2) g^2
 *     w = keep w - rate / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + epsilon) */
COT_VECTOR_CLONES
static void adam(size_t n, const coefficients *c, const cot_real *grad, cot_real *restrict m,
                 cot_real *restrict v, cot_real *restrict w)
{
    for (size_t i = 0; i < n; i++) {
        cot_real g = c->gradient_scale * grad[i] + c->decay * w[i];
        m[i] = normal_or_zero(c->beta1 * m[i] + c->rest1 * g);
        v[i] = normal_or_zero(c->beta2 * v[i] + c->rest2 * (g * g));
#ifdef COT_DOUBLE
        cot_real root = sqrt(v[i]);
#else
        cot_real root = sqrtf(v[i]);
#endif
        w[i] = c->keep * w[i] - c->rate * (m[i] / (root * c->root_correction + c->epsilon));
    }
}

static coefficients coefficients_of(const cot_optimizer_options *options, uint64_t step,
                                    double rate, double gradient_scale, bool decays)
{
    double decay = decays ? options->weight_decay : 0;
    bool adam_like = options->kind != COT_SGD;
    bool decoupled = options->kind == COT_ADAMW;
    double correction1 = adam_like ? 1 - pow(options->beta1, (double)step) : 1;
    double correction2 = adam_like ? 1 - pow(options->beta2, (double)step) : 1;
    return (coefficients){.rate = (cot_real)(rate / correction1),
                          .gradient_scale = (cot_real)gradient_scale,
                          .decay = (cot_real)(decoupled ? 0 : decay),
                          .keep = (cot_real)(decoupled ? 1 - rate * decay : 1),
                          .beta1 = (cot_real)(adam_like ? options->beta1 : options->momentum),
                          .beta2 = (cot_real)options->beta2,
                          .rest1 = (cot_real)(1 - options->beta1),
                          .rest2 = (cot_real)(1 - options->beta2),
                          .epsilon = (cot_real)options->epsilon,
                          .root_correction = (cot_real)(1 / sqrt(correction2))};
}

void cot_optimizer_step(cot_optimizer *optimizer, uint64_t step, double learning_rate,
                        double gradient_scale)
{
    for (size_t i = 0; i < cot_params_count(optimizer->params); i++) {
        const cot_param *param = cot_params_at(optimizer->params, i);
        if (param->frozen) continue;
        coefficients c =
            coefficients_of(&optimizer->options, step, learning_rate, gradient_scale, param->decay);
        cot_real *m = optimizer->moments[0] + param->offset;
        if (optimizer->options.kind == COT_SGD)
            sgd(param->count, &c, param->grad, m, param->value);
        else
            adam(param->count, &c, param->grad, m, optimizer->moments[1] + param->offset,
                 param->value);
    }
}

size_t cot_optimizer_moments(const cot_optimizer *optimizer)
{
    return optimizer->moment_count;
}

const char *cot_optimizer_moment_name(const cot_optimizer *optimizer, size_t i)
{
    static const char *const names[MAX_MOMENTS] = {"m", "v"};
    COT_ASSERT(i < optimizer->moment_count);
    return names[i];
}

cot_real *cot_optimizer_moment(const cot_optimizer *optimizer, size_t i)
{
    COT_ASSERT(i < optimizer->moment_count);
    return optimizer->moments[i];
}
