#include "math/small_gemm.h"

#include <coterie/blas.h>
#include <coterie/status.h>

#include <cblas.h>
#include <limits.h>

static blasint dimension(size_t n)
{
    COT_ASSERT(n <= INT_MAX);
    return (blasint)n;
}

/* BLAS wants a leading dimension of at least 1, also for an empty matrix. */
static blasint leading(size_t n)
{
    return dimension(n > 0 ? n : 1);
}

/* The widest vectors that the processor has; valgrind hides those that it cannot follow. */
static const cot_small_kernels *small_kernels(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) return &cot_small_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &cot_small_kernels_avx2;
#endif
    return &cot_small_kernels_plain;
}

/* ---- small products: what decides are the sizes that all rows of the result share, so that a row
 * has the same bits in a product of any number of rows ---- */

enum {
    LEAST = 16,               /* numbers along which vectors work */
    MOST_OF_B = 64 << 10,     /* a quarter of a second-level cache */
    MOST_FOR_DOTS = 12 << 10, /* beyond, copying B into another order pays, as OpenBLAS does */
    MOST_TO_TURN = 8 << 10,   /* what is turned on the stack */
    TURNED_ROWS = 32,
    TURNED = 64
};

/* turned [cols,rows] = x [rows,cols] */
static void turn(size_t rows, size_t cols, const cot_real *x, size_t ldx, cot_real *turned)
{
    for (size_t j = 0; j < cols; j++)
        for (size_t i = 0; i < rows; i++) turned[j * rows + i] = x[i * ldx + j];
}

/* C^T = B^T A by strips of A's columns, so that vectors run along them: for few columns of B. */
static void multiply_turned(const cot_small_product *x)
{
    cot_real part[TURNED_ROWS * TURNED];
    for (size_t i = 0; i < x->m; i += TURNED) {
        size_t rows = x->m - i < TURNED ? x->m - i : TURNED;
        small_kernels()->wide(&(cot_small_product){x->n, rows, x->k, x->alpha, false, x->b, 1,
                                                   x->ldb, x->a + i, x->a_col, part, rows});
        for (size_t r = 0; r < rows; r++) {
            cot_real *c = x->c + (i + r) * x->ldc;
            for (size_t j = 0; j < x->n; j++)
                c[j] = x->adds ? c[j] + part[j * rows + r] : part[j * rows + r];
        }
    }
}

/* With B [n,k], and k short: turned, vectors can run along n. */
static void multiply_by_turned(const cot_small_product *x)
{
    cot_real b[MOST_TO_TURN];
    cot_small_product turned = *x;
    turn(x->n, x->k, x->b, x->ldb, b);
    turned.b = b;
    turned.ldb = x->n;
    small_kernels()->wide(&turned);
}

/* Whether one of the ways above is for this product; then it is done. */
static bool multiply_small(cot_transpose ta, cot_transpose tb, const cot_small_product *x)
{
    if (x->n * x->k > MOST_OF_B) return false;
    if (tb == COT_N) {
        if (ta == COT_T && x->n <= TURNED_ROWS)
            multiply_turned(x);
        else if (x->n >= LEAST)
            small_kernels()->wide(x);
        else
            return false;
        return true;
    }
    if (ta == COT_T) return false;
    if (x->k < 2 * LEAST && x->n >= LEAST && x->n * x->k <= MOST_TO_TURN)
        multiply_by_turned(x);
    else if (x->k >= 2 * LEAST && x->n * x->k <= MOST_FOR_DOTS)
        small_kernels()->dots(x);
    else
        return false;
    return true;
}

void cot_gemm(cot_transpose ta, cot_transpose tb, size_t m, size_t n, size_t k, cot_real alpha,
              const cot_real *a, size_t lda, const cot_real *b, size_t ldb, cot_real beta,
              cot_real *c, size_t ldc)
{
    if (m == 0 || n == 0) return;
    const cot_small_product small = {
        m, n, k, alpha, beta == 1, a, ta == COT_N ? lda : 1, ta == COT_N ? 1 : lda, b, ldb, c, ldc};
    if ((beta == 0 || beta == 1) && multiply_small(ta, tb, &small)) return;
    CBLAS_TRANSPOSE op_a = ta == COT_N ? CblasNoTrans : CblasTrans;
    CBLAS_TRANSPOSE op_b = tb == COT_N ? CblasNoTrans : CblasTrans;
#ifdef COT_DOUBLE
    cblas_dgemm(
#else
    cblas_sgemm(
#endif
        CblasRowMajor, op_a, op_b, dimension(m), dimension(n), dimension(k), alpha, a, leading(lda),
        b, leading(ldb), beta, c, leading(ldc));
}

void cot_blas_set_threads(size_t threads)
{
    openblas_set_num_threads((int)dimension(threads));
}

const char *cot_blas_core(void)
{
    return openblas_get_corename();
}
