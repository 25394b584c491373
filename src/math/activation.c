#include "base/vector_clones.h"

#include <coterie/activation.h>

#include <math.h>

static const double root_half = 0.70710678118654752440;        /* 1/sqrt(2) */
static const double root_inverse_2pi = 0.39894228040143267794; /* 1/sqrt(2 pi) */

/* Both ReLU loops are written so that a NaN stays one. */
COT_VECTOR_CLONES
static void relu(size_t n, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : x[i];
}

COT_VECTOR_CLONES
static void relu_backward(size_t n, const cot_real *x, const cot_real *dy, cot_real *dx)
{
    for (size_t i = 0; i < n; i++) dx[i] = x[i] <= 0 ? 0 : dy[i];
}

#ifdef COT_DOUBLE
#define REAL_ERF erf
#define REAL_EXP exp
#else
#define REAL_ERF erff
#define REAL_EXP expf
#endif

static cot_real normal_cdf(cot_real x)
{
    return (cot_real)0.5 * (1 + REAL_ERF(x * (cot_real)root_half));
}

static void gelu(size_t n, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] * normal_cdf(x[i]);
}

/* (x Phi(x))' = Phi(x) + x phi(x) */
static void gelu_backward(size_t n, const cot_real *x, const cot_real *dy, cot_real *dx)
{
    for (size_t i = 0; i < n; i++) {
        cot_real density = (cot_real)root_inverse_2pi * REAL_EXP((cot_real)-0.5 * x[i] * x[i]);
        dx[i] = dy[i] * (normal_cdf(x[i]) + x[i] * density);
    }
}

void cot_activate(cot_activation kind, size_t n, const cot_real *x, cot_real *y)
{
    if (kind == COT_RELU)
        relu(n, x, y);
    else
        gelu(n, x, y);
}

void cot_activate_backward(cot_activation kind, size_t n, const cot_real *x, const cot_real *dy,
                           cot_real *dx)
{
    if (kind == COT_RELU)
        relu_backward(n, x, dy, dx);
    else
        gelu_backward(n, x, dy, dx);
}
