/** Sums and elementwise operations on vectors, with bits that depend on the values and the length
 * alone. Not collective. */
#ifndef COTERIE_VECTOR_H
#define COTERIE_VECTOR_H

#include <coterie/real.h>

#include <stddef.h>

/** Partial sums in a reduction: element i adds to partial sum i mod COT_LANES, then the partial
 * sums add pairwise. */
enum { COT_LANES = 16 };

/** Sum of x[i]. */
cot_real cot_sum(size_t n, const cot_real *x);

/** Sum of x[i] * y[i]. */
cot_real cot_dot(size_t n, const cot_real *x, const cot_real *y);

/** Sum of x[i] * y[i], products and partial sums in double. */
double cot_dot_double(size_t n, const cot_real *x, const cot_real *y);

/** Largest x[i], n >= 1; NaN when there is one. */
cot_real cot_max(size_t n, const cot_real *x);

/** y += x; y += alpha * x; y = alpha * x. x may alias y in the last. */
void cot_add(size_t n, const cot_real *x, cot_real *y);
void cot_add_scaled(size_t n, cot_real alpha, const cot_real *x, cot_real *y);
void cot_scale(size_t n, cot_real alpha, const cot_real *x, cot_real *y);
void cot_fill(size_t n, cot_real value, cot_real *y);

/** y [cols] += the sum of the rows of x [rows,cols], added in the order of the rows. */
void cot_add_rows(size_t rows, size_t cols, const cot_real *x, cot_real *y);

/** Every row of y [rows,cols] += x [cols]. */
void cot_add_to_rows(size_t rows, size_t cols, const cot_real *x, cot_real *y);

/** y [cols,rows] = x^T, x [rows,cols] with rows `ldx` apart. */
void cot_copy_transposed(size_t rows, size_t cols, const cot_real *x, size_t ldx, cot_real *y);

/** y [cols,rows], with rows `ldy` apart, += x^T, x [rows,cols]. */
void cot_add_transposed(size_t rows, size_t cols, const cot_real *x, cot_real *y, size_t ldy);

#endif
