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

void cot_gemm(cot_transpose ta, cot_transpose tb, size_t m, size_t n, size_t k, cot_real alpha,
              const cot_real *a, size_t lda, const cot_real *b, size_t ldb, cot_real beta,
              cot_real *c, size_t ldc)
{
    if (m == 0 || n == 0) return;
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
