#include "base/vector_clones.h"

#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef COT_DOUBLE

static inline cot_real exponential(cot_real x)
{
    return exp(x);
}

#else

/* e^x = 2^k e^r with k = round(x / ln 2) and |r| <= ln 2 / 2; e^r by its Taylor polynomial of
 * degree 7, whose remainder there is below 2^-27. Branch-free, so that the compiler makes vectors
 * of it, and every element rounds alike. */
static inline cot_real exponential(cot_real x)
{
    const float log2e = 1.44269504f;
    const float round_to_integer = 0x1.8p23f; /* adding it leaves no bits behind the point */
    const float ln2_high = 0x1.62ep-1f;       /* ln 2 in two parts: k * ln2_high is exact */
    const float ln2_low = 0x1.0bfbe8p-15f;
    const float smallest = -87.0f;                /* e^-87 is the smallest normal result, nearly */
    float clamped = x >= smallest ? x : smallest; /* NaN too; it comes back at the end */
    float k = clamped * log2e + round_to_integer - round_to_integer;
    float r = (clamped - k * ln2_high) - k * ln2_low;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* Scale by 2^k through the exponent's bits. */
    int32_t bits = ((int32_t)k + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    float below = x < smallest ? 0.0f : x;
    return x >= smallest ? p * power : below;
}

#endif

COT_VECTOR_CLONES
void cot_exp(size_t n, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = exponential(x[i]);
}

COT_VECTOR_CLONES
static void exp_minus(size_t n, const cot_real *x, cot_real max, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = exponential(x[i] - max);
}

void cot_softmax_rows(size_t rows, size_t cols, const cot_real *x, cot_real *y)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * cols;
        exp_minus(cols, x + at, cot_max(cols, x + at), y + at);
        cot_scale(cols, 1 / cot_sum(cols, y + at), y + at, y + at);
    }
}

/* Most of a part: lane by lane where it is long. A NaN does not count; its exponential keeps it. */
static inline cot_real largest(size_t n, const cot_real *x)
{
    cot_real lanes[COT_LANES];
    const size_t width = n < COT_LANES ? 1 : COT_LANES;
    for (size_t lane = 0; lane < width; lane++) lanes[lane] = -(cot_real)INFINITY;
    size_t i = 0;
    for (; width == COT_LANES && i + COT_LANES <= n; i += COT_LANES)
        for (size_t lane = 0; lane < COT_LANES; lane++)
            lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
    for (; i < n; i++) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (size_t half = width / 2; half > 0; half /= 2)
        for (size_t lane = 0; lane < half; lane++)
            lanes[lane] = lanes[lane] > lanes[lane + half] ? lanes[lane] : lanes[lane + half];
    return lanes[0];
}

static inline cot_real total(size_t n, const cot_real *x)
{
    cot_real lanes[COT_LANES] = {0};
    const size_t width = n < COT_LANES ? 1 : COT_LANES;
    size_t i = 0;
    for (; width == COT_LANES && i + COT_LANES <= n; i += COT_LANES)
        for (size_t lane = 0; lane < COT_LANES; lane++) lanes[lane] += x[i + lane];
    for (; i < n; i++) lanes[0] += x[i];
    for (size_t half = width / 2; half > 0; half /= 2)
        for (size_t lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    return lanes[0];
}

/* Exponentials of whole rows at once, because parts can be short. */
COT_VECTOR_CLONES
void cot_softmax_parts(size_t rows, size_t parts, const size_t *begin, cot_real *x, cot_real *max,
                       cot_real *sum)
{
    const size_t cols = begin[parts];
    for (size_t row = 0; row < rows; row++) {
        cot_real *at = x + row * cols;
        for (size_t p = 0; p < parts; p++) {
            if (begin[p] == begin[p + 1]) continue;
            const cot_real most = largest(begin[p + 1] - begin[p], at + begin[p]);
            for (size_t j = begin[p]; j < begin[p + 1]; j++) at[j] -= most;
            max[p * rows + row] = most;
        }
        for (size_t j = 0; j < cols; j++) at[j] = exponential(at[j]);
        for (size_t p = 0; p < parts; p++)
            if (begin[p] < begin[p + 1])
                sum[p * rows + row] = total(begin[p + 1] - begin[p], at + begin[p]);
    }
}

COT_VECTOR_CLONES
void cot_softmax_cols(size_t rows, size_t cols, const cot_real *x, cot_real *y, cot_real *scratch)
{
    cot_real *restrict max = scratch;
    cot_real *restrict sum = scratch + cols;
    for (size_t j = 0; j < cols; j++) max[j] = x[j];
    for (size_t row = 1; row < rows; row++)
        for (size_t j = 0; j < cols; j++)
            max[j] = x[row * cols + j] > max[j] ? x[row * cols + j] : max[j];
    for (size_t j = 0; j < cols; j++) sum[j] = 0;
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) {
            cot_real e = exponential(x[row * cols + j] - max[j]);
            y[row * cols + j] = e;
            sum[j] += e;
        }
    for (size_t j = 0; j < cols; j++) sum[j] = 1 / sum[j];
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) y[row * cols + j] *= sum[j];
}

COT_VECTOR_CLONES
static void softmax_row_backward(size_t n, const cot_real *y, const cot_real *dy, cot_real inner,
                                 cot_real *dx)
{
    for (size_t i = 0; i < n; i++) dx[i] += y[i] * (dy[i] - inner);
}

void cot_softmax_rows_backward(size_t rows, size_t cols, const cot_real *y, const cot_real *dy,
                               cot_real *dx)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * cols;
        softmax_row_backward(cols, y + at, dy + at, cot_dot(cols, y + at, dy + at), dx + at);
    }
}

COT_VECTOR_CLONES
void cot_softmax_cols_backward(size_t rows, size_t cols, const cot_real *y, const cot_real *dy,
                               cot_real *dx, cot_real *scratch)
{
    cot_real *restrict inner = scratch;
    for (size_t j = 0; j < cols; j++) inner[j] = 0;
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) inner[j] += y[row * cols + j] * dy[row * cols + j];
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++)
            dx[row * cols + j] += y[row * cols + j] * (dy[row * cols + j] - inner[j]);
}
