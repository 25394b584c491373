/** L2 normalization of rows or columns, forward and backward, in the two forms of published Soft
 * MoE code.
 *
 * A vector v becomes v * r with r = 1 / max(|v|, 1e-12) (COT_L2_MAX: the code behind arXiv
 * 2409.00879) or r = 1 / sqrt(sum v^2 + 1e-6) (COT_L2_SUM: vmoe, arXiv 2308.00951). The zero vector
 * becomes 0, with gradient 0; a vector whose squares overflow becomes NaN. Not collective. */
#ifndef COTERIE_NORMALIZE_H
#define COTERIE_NORMALIZE_H

#include <coterie/real.h>

#include <stddef.h>

typedef enum cot_l2 { COT_L2_MAX, COT_L2_SUM } cot_l2;

/** y[i,:] = x[i,:] * inverse[i]; x, y [rows,cols], inverse [rows]. y may alias x. */
void cot_normalize_rows(cot_l2 form, size_t rows, size_t cols, const cot_real *x, cot_real *y,
                        cot_real *inverse);

/** dx += the gradient through cot_normalize_rows, from its y and inverse. dx may not alias y or
 * dy. */
void cot_normalize_rows_backward(cot_l2 form, size_t rows, size_t cols, const cot_real *y,
                                 const cot_real *inverse, const cot_real *dy, cot_real *dx);

/** y[:,j] = x[:,j] * inverse[j]; x, y [rows,cols], inverse [cols]. y may alias x. */
void cot_normalize_cols(cot_l2 form, size_t rows, size_t cols, const cot_real *x, cot_real *y,
                        cot_real *inverse);

/** dx += the gradient through cot_normalize_cols. `scratch` holds cols elements. */
void cot_normalize_cols_backward(cot_l2 form, size_t rows, size_t cols, const cot_real *y,
                                 const cot_real *inverse, const cot_real *dy, cot_real *dx,
                                 cot_real *scratch);

#endif
