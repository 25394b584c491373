#include "special/entropy.h"

#include "base/vector_clones.h"

#include <coterie/vector.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef COT_DOUBLE

static inline cot_real logarithm(cot_real x)
{
    return x > 0 ? log(x) : 0;
}

#else

/* ln x = k ln 2 + ln m with x = 2^k m and m in [sqrt 1/2, sqrt 2); ln m = 2 artanh s with
 * s = (m - 1) / (m + 1), |s| < 0.172, where the series' remainder is below 2^-30. Branch-free, so
 * that the compiler makes vectors of it, and every element rounds alike. What is no normal number
 * gives some finite value near -88. */
static inline cot_real logarithm(cot_real x)
{
    const int32_t sqrt_half = 0x3f3504f3; /* its bits */
    const float ln2 = 0.693147181f;
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t k = (bits - sqrt_half) >> 23;
    uint32_t mantissa = (uint32_t)bits - ((uint32_t)k << 23);
    float m;
    memcpy(&m, &mantissa, sizeof m);
    float s = (m - 1.0f) / (m + 1.0f);
    float z = s * s;
    float p = 1.0f / 9.0f;
    p = p * z + 1.0f / 7.0f;
    p = p * z + 1.0f / 5.0f;
    p = p * z + 1.0f / 3.0f;
    p = p * z + 1.0f;
    return (float)k * ln2 + 2.0f * s * p;
}

#endif

/* A logarithm is finite everywhere: 0 of 0, and NaN of NaN. */
static inline cot_real x_ln_x(cot_real x)
{
    return x * logarithm(x);
}

COT_VECTOR_CLONES
static void terms_of(size_t n, const cot_real *w, cot_real *terms)
{
    for (size_t i = 0; i < n; i++) terms[i] = x_ln_x(w[i]);
}

double cot_entropy_rows(size_t rows, size_t cols, const cot_real *w, cot_real *scratch)
{
    double sum = 0;
    for (size_t row = 0; row < rows; row++) {
        terms_of(cols, w + row * cols, scratch);
        sum -= (double)cot_sum(cols, scratch);
    }
    return sum;
}

COT_VECTOR_CLONES
void cot_entropy_cols(size_t rows, size_t cols, const cot_real *w, double *entropy)
{
    for (size_t j = 0; j < cols; j++) entropy[j] = 0;
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) entropy[j] -= (double)x_ln_x(w[row * cols + j]);
}
