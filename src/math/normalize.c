#include "base/vector_clones.h"

#include <coterie/normalize.h>
#include <coterie/vector.h>

#include <math.h>

static const cot_real max_epsilon = (cot_real)1e-12;
static const cot_real sum_epsilon = (cot_real)1e-6;

#ifdef COT_DOUBLE
#define REAL_SQRT sqrt
#else
#define REAL_SQRT sqrtf
#endif

/* The factor on a vector whose squares sum to `squares`; 0 for the zero vector, whose gradient then
 * is 0 too; NaN where the sum overflowed, so that a run that diverges stops. */
static cot_real inverse_norm(cot_l2 form, cot_real squares)
{
    if (squares == 0) return 0;
    if (isinf(squares)) return (cot_real)NAN;
    if (form == COT_L2_SUM) return 1 / REAL_SQRT(squares + sum_epsilon);
    cot_real norm = REAL_SQRT(squares);
    return 1 / (norm < max_epsilon ? max_epsilon : norm);
}

/* Whether |v| < 1e-12, where v / 1e-12 is linear in v: its factor is the largest there is. */
static int is_linear(cot_l2 form, cot_real inverse)
{
    return form == COT_L2_MAX && inverse == 1 / max_epsilon;
}

void cot_normalize_rows(cot_l2 form, size_t rows, size_t cols, const cot_real *x, cot_real *y,
                        cot_real *inverse)
{
    for (size_t row = 0; row < rows; row++) {
        const cot_real *v = x + row * cols;
        inverse[row] = inverse_norm(form, cot_dot(cols, v, v));
        cot_scale(cols, inverse[row], v, y + row * cols);
    }
}

/* With y = v r and r = 1/n, n the norm: dv = r (dy - y (y . dy)); the second term falls away where
 * r is constant. */
void cot_normalize_rows_backward(cot_l2 form, size_t rows, size_t cols, const cot_real *y,
                                 const cot_real *inverse, const cot_real *dy, cot_real *dx)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * cols;
        cot_real along = is_linear(form, inverse[row]) ? 0 : cot_dot(cols, y + at, dy + at);
        cot_add_scaled(cols, inverse[row], dy + at, dx + at);
        cot_add_scaled(cols, -inverse[row] * along, y + at, dx + at);
    }
}

COT_VECTOR_CLONES
void cot_normalize_cols(cot_l2 form, size_t rows, size_t cols, const cot_real *x, cot_real *y,
                        cot_real *inverse)
{
    cot_fill(cols, 0, inverse);
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) inverse[j] += x[row * cols + j] * x[row * cols + j];
    for (size_t j = 0; j < cols; j++) inverse[j] = inverse_norm(form, inverse[j]);
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) y[row * cols + j] = x[row * cols + j] * inverse[j];
}

COT_VECTOR_CLONES
void cot_normalize_cols_backward(cot_l2 form, size_t rows, size_t cols, const cot_real *y,
                                 const cot_real *inverse, const cot_real *dy, cot_real *dx,
                                 cot_real *scratch)
{
    cot_real *along = scratch;
    cot_fill(cols, 0, along);
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) along[j] += y[row * cols + j] * dy[row * cols + j];
    for (size_t j = 0; j < cols; j++)
        if (is_linear(form, inverse[j])) along[j] = 0;
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < cols; j++) {
            size_t at = row * cols + j;
            dx[at] += inverse[j] * (dy[at] - y[at] * along[j]);
        }
}
