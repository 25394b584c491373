#include "base/vector_clones.h"
#include "math/simd.h"

#include <coterie/vector.h>

#include <math.h>

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

void cot_fill(size_t n, cot_real value, cot_real *y)
{
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

/* Numbers of x^T from row i and column j of x on, where squares of vectors do not reach. */
static void transpose_rest(size_t i, size_t rows, size_t j, size_t cols, const cot_real *x,
                           size_t ldx, bool adds, cot_real *y, size_t ldy)
{
    for (size_t col = j; col < cols; col++)
        for (size_t row = i; row < rows; row++) {
            const cot_real number = x[row * ldx + col];
            cot_real *to = y + col * ldy + row;
            *to = adds ? *to + number : number;
        }
}

/* y [cols,rows] = x^T, or added to. */
COT_INLINE void transpose(size_t rows, size_t cols, const cot_real *x, size_t ldx, bool adds,
                          cot_real *y, size_t ldy)
{
    const size_t in_squares = rows - rows % COT_VEC;
    const size_t cols_in_squares = cols - cols % COT_VEC;
    for (size_t i = 0; i < in_squares; i += COT_VEC)
        for (size_t j = 0; j < cols_in_squares; j += COT_VEC) {
            cot_vec square[COT_VEC];
            COT_UNROLL
            for (size_t k = 0; k < COT_VEC; k++) square[k] = cot_vec_load(x + (i + k) * ldx + j);
            cot_vec_transpose(square);
            COT_UNROLL
            for (size_t k = 0; k < COT_VEC; k++) {
                cot_real *to = y + (j + k) * ldy + i;
                cot_vec_store(to, adds ? cot_vec_load(to) + square[k] : square[k]);
            }
        }
    transpose_rest(0, in_squares, cols_in_squares, cols, x, ldx, adds, y, ldy);
    transpose_rest(in_squares, rows, 0, cols, x, ldx, adds, y, ldy);
}

void cot_copy_transposed(size_t rows, size_t cols, const cot_real *x, size_t ldx, cot_real *y)
{
    transpose(rows, cols, x, ldx, false, y, rows);
}

void cot_add_transposed(size_t rows, size_t cols, const cot_real *x, cot_real *y, size_t ldy)
{
    transpose(rows, cols, x, cols, true, y, ldy);
}
