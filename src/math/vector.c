#include "base/vector_clones.h"
#include "math/simd.h"

#include <coterie/vector.h>

#include <math.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "built with -ffast-math, an element's bits depend on its place: take it out of CFLAGS"
#endif

/* Partial sums to one number, pairwise: the same tree at every vector width. */
static cot_real fold(cot_real lanes[COT_LANES])
{
    for (int half = COT_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

static double fold_double(double lanes[COT_LANES])
{
    for (int half = COT_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

COT_VECTOR_CLONES
cot_real cot_sum(size_t n, const cot_real *x)
{
    cot_real lanes[COT_LANES] = {0};
    size_t whole = n - n % COT_LANES;
    for (size_t i = 0; i < whole; i += COT_LANES)
        for (size_t lane = 0; lane < COT_LANES; lane++) lanes[lane] += x[i + lane];
    for (size_t i = whole; i < n; i++) lanes[i - whole] += x[i];
    return fold(lanes);
}

COT_VECTOR_CLONES
cot_real cot_dot(size_t n, const cot_real *x, const cot_real *y)
{
    cot_real lanes[COT_LANES] = {0};
    size_t whole = n - n % COT_LANES;
    for (size_t i = 0; i < whole; i += COT_LANES)
        for (size_t lane = 0; lane < COT_LANES; lane++) lanes[lane] += x[i + lane] * y[i + lane];
    for (size_t i = whole; i < n; i++) lanes[i - whole] += x[i] * y[i];
    return fold(lanes);
}

COT_VECTOR_CLONES
double cot_dot_double(size_t n, const cot_real *x, const cot_real *y)
{
    double lanes[COT_LANES] = {0};
    size_t whole = n - n % COT_LANES;
    for (size_t i = 0; i < whole; i += COT_LANES)
        for (size_t lane = 0; lane < COT_LANES; lane++)
            lanes[lane] += (double)x[i + lane] * (double)y[i + lane];
    for (size_t i = whole; i < n; i++) lanes[i - whole] += (double)x[i] * (double)y[i];
    return fold_double(lanes);
}

cot_real cot_max(size_t n, const cot_real *x)
{
    cot_real max = x[0];
    /* `x > max` alone would pass over a NaN; once max is one, nothing takes its place but
     * another. */
    for (size_t i = 1; i < n; i++)
        if (x[i] > max || isnan(x[i])) max = x[i];
    return max;
}

COT_VECTOR_CLONES
void cot_add(size_t n, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

COT_VECTOR_CLONES
void cot_add_scaled(size_t n, cot_real alpha, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

COT_VECTOR_CLONES
void cot_scale(size_t n, cot_real alpha, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = alpha * x[i];
}

/* 0 as the C library clears memory: faster where it is not in the cache. */
void cot_fill(size_t n, cot_real value, cot_real *y)
{
    if (value == 0 && !signbit(value))
        memset(y, 0, n * sizeof *y);
    else
        for (size_t i = 0; i < n; i++) y[i] = value;
}

void cot_add_rows(size_t rows, size_t cols, const cot_real *x, cot_real *y)
{
    for (size_t row = 0; row < rows; row++) cot_add(cols, x + row * cols, y);
}

void cot_add_to_rows(size_t rows, size_t cols, const cot_real *x, cot_real *y)
{
    for (size_t row = 0; row < rows; row++) cot_add(cols, x, y + row * cols);
}

/* The first n numbers of a vector, stored or added to what is there; n is known when compiled. */
COT_INLINE void put(size_t n, bool adds, cot_vec x, cot_real *to)
{
    if (n == COT_VEC) {
        cot_vec_store(to, adds ? cot_vec_load(to) + x : x);
        return;
    }
    COT_UNROLL
    for (size_t i = 0; i < n; i++) to[i] = adds ? to[i] + x[i] : x[i];
}

/* n rows of x, at most as many as a vector has numbers, to as many columns of y. */
COT_INLINE void transpose_rows(size_t n, size_t cols, const cot_real *x, size_t ldx, bool adds,
                               cot_real *y, size_t ldy)
{
    size_t j = 0;
    for (; j + COT_VEC <= cols; j += COT_VEC) {
        cot_vec square[COT_VEC];
        COT_UNROLL
        for (size_t k = 0; k < COT_VEC; k++)
            square[k] = k < n ? cot_vec_load(x + k * ldx + j) : cot_vec_zero();
        cot_vec_transpose(square);
        COT_UNROLL
        for (size_t k = 0; k < COT_VEC; k++) put(n, adds, square[k], y + (j + k) * ldy);
    }
    for (; j < cols; j++)
        for (size_t k = 0; k < n; k++) {
            const cot_real number = x[k * ldx + j];
            cot_real *to = y + j * ldy + k;
            *to = adds ? *to + number : number;
        }
}

/* y [cols,rows] = x^T, or added to. */
COT_INLINE void transpose(size_t rows, size_t cols, const cot_real *x, size_t ldx, bool adds,
                          cot_real *y, size_t ldy)
{
    size_t i = 0;
    for (; i + COT_VEC <= rows; i += COT_VEC)
        transpose_rows(COT_VEC, cols, x + i * ldx, ldx, adds, y + i, ldy);
    switch (rows - i) {
    case 3:
        transpose_rows(3, cols, x + i * ldx, ldx, adds, y + i, ldy);
        break;
    case 2:
        transpose_rows(2, cols, x + i * ldx, ldx, adds, y + i, ldy);
        break;
    case 1:
        transpose_rows(1, cols, x + i * ldx, ldx, adds, y + i, ldy);
        break;
    default:
        break;
    }
}

void cot_copy_transposed(size_t rows, size_t cols, const cot_real *x, size_t ldx, cot_real *y)
{
    transpose(rows, cols, x, ldx, false, y, rows);
}

void cot_add_transposed(size_t rows, size_t cols, const cot_real *x, cot_real *y, size_t ldy)
{
    transpose(rows, cols, x, cols, true, y, ldy);
}
