/** Matrix products: small ones by kernels of our own, all others by OpenBLAS. The one front through
 * which the program multiplies.
 *
 * A product of one shape gives one element the same bits wherever its operands lie; products of
 * different shapes may not, because kernels are chosen by shape. So a call whose shape
 * depends on the batch works on one grain. Not collective. */
#ifndef COTERIE_BLAS_H
#define COTERIE_BLAS_H

#include <coterie/real.h>

#include <stdbool.h>
#include <stddef.h>

typedef enum cot_transpose { COT_N, COT_T } cot_transpose;

/** C [m,n] = alpha * op(A) [m,k] op(B) [k,n] + beta * C, row-major with leading dimensions lda,
 * ldb, ldc. Any of m, n, k may be 0; beta 0 overwrites C whatever it held. C must not alias A or
 * B. */
void cot_gemm(cot_transpose ta, cot_transpose tb, size_t m, size_t n, size_t k, cot_real alpha,
              const cot_real *a, size_t lda, const cot_real *b, size_t ldb, cot_real beta,
              cot_real *c, size_t ldc);

/** Whether such a product, of any m, with beta 0 or 1, is one for small matrices: then an element
 * depends on its row of op(A) and its column of op(B) alone, to the bit, and is the same in any
 * product of more or fewer columns that is small too. */
bool cot_gemm_is_small(cot_transpose ta, cot_transpose tb, size_t n, size_t k);

/** Whether A B is faster with B stored as [n,k] and COT_T than as [k,n]: where vectors along n
 * would be badly filled, and can run along k. */
bool cot_gemm_prefers_transposed(size_t n, size_t k);

/** Threads that a product may use in this process. */
void cot_blas_set_threads(size_t threads);

/** The kernels that OpenBLAS chose for this processor, e.g. "Cooperlake". */
const char *cot_blas_core(void);

/** Call it first in main, with main's argv. An OpenBLAS that is older than the processor may not
 * know it, and take the oldest kernels it has: with them a step took four to six times as long
 * (0.3.21 on Emerald Rapids). Where a processor with AVX2 or AVX-512 got those, and the environment
 * has no OPENBLAS_CORETYPE, sets this to what fits and starts the program again as the same
 * process. Otherwise, and where that cannot be done, returns. */
void cot_blas_settle_core(char **argv);

#endif
