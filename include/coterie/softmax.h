/** Softmax along either axis of a matrix of logits, forward and backward. Not collective.
 *
 * All work on `rows` rows of `cols` elements, row-major and dense. Elementwise arithmetic only: an
 * element gets the same bits wherever the matrix lies. Sums along a row are cot_sum and cot_dot;
 * sums down a column add the rows in their order. */
#ifndef COTERIE_SOFTMAX_H
#define COTERIE_SOFTMAX_H

#include <coterie/real.h>

#include <stddef.h>

/** y[i,:] = softmax of x[i,:]. y may alias x. */
void cot_softmax_rows(size_t rows, size_t cols, const cot_real *x, cot_real *y);

/** Softmax of rows that are only parts of longer ones, and themselves of `parts` parts, in place:
 * part p is columns begin[p] to begin[p+1] - 1 of x [rows,begin[parts]]. Of row i of a
 * part, max[p,i] = the largest, x = exp(x - max[p,i]) and sum[p,i] = their sum, whatever the other
 * parts are; max and sum [parts,rows]. Of a part without columns they are not written. A NaN is one
 * in x and in sum again. */
void cot_softmax_parts(size_t rows, size_t parts, const size_t *begin, cot_real *x, cot_real *max,
                       cot_real *sum);

/** y[:,j] = softmax of x[:,j]. y may alias x. `scratch` holds 2 * cols elements. */
void cot_softmax_cols(size_t rows, size_t cols, const cot_real *x, cot_real *y, cot_real *scratch);

/** dx += y * (dy - sum over the row of y * dy), with y from cot_softmax_rows. dx may not alias y or
 * dy. */
void cot_softmax_rows_backward(size_t rows, size_t cols, const cot_real *y, const cot_real *dy,
                               cot_real *dx);

/** dx += y * (dy - sum over the column of y * dy), with y from cot_softmax_cols. `scratch` holds
 * cols elements. */
void cot_softmax_cols_backward(size_t rows, size_t cols, const cot_real *y, const cot_real *dy,
                               cot_real *dx, cot_real *scratch);

/** y[i] = e^x[i] for x <= 0 (a softmax's arguments), in float within 2 units in the last place, and
 * 0 below x = -87, where results are hardly normal numbers any more. y may alias x. */
void cot_exp(size_t n, const cot_real *x, cot_real *y);

#endif
