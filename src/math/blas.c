#include "math/small_gemm.h"
#include "math/vectors.h"

#include <coterie/blas.h>
#include <coterie/status.h>
#include <coterie/vector.h>

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

static const cot_small_kernels *choose_small_kernels(void)
{
#ifdef __x86_64__
    switch (cot_vectors_allowed()) {
    case COT_VECTORS_AVX512:
        return __builtin_cpu_is("intel") ? &cot_small_kernels_avx512_intel
                                         : &cot_small_kernels_avx512;
    case COT_VECTORS_AVX2:
        return &cot_small_kernels_avx2;
    case COT_VECTORS_PLAIN:
        break;
    }
#endif
    return &cot_small_kernels_plain;
}

/* Chosen once. */
static const cot_small_kernels *small_kernels(void)
{
    static const cot_small_kernels *chosen;
    if (chosen == NULL) chosen = choose_small_kernels();
    return chosen;
}

/* ---- small products: what decides are the sizes that all rows of the result share, so that a row
 * has the same bits in a product of any number of rows; each way adds up an element in the same
 * order wherever it stands ---- */

enum {
    LEAST = 16,                  /* numbers along which vectors work */
    MOST_OF_B = 64 << 10,        /* a quarter of a second-level cache */
    MOST_FOR_DOTS = 12 << 10,    /* beyond, copying B into another order pays, as OpenBLAS does */
    MOST_TO_TRANSPOSE = 8 << 10, /* what is transposed on the stack */
    MOST_COLUMNS = 32,           /* where C transposed is worth its way back */
    AT_ONCE = 64                 /* rows of it that come back together */
};

/* C^T = B^T A by strips of A's columns, so that vectors run along them: for few columns of B. */
static void multiply_transposed(const cot_small_product *x)
{
    cot_real part[MOST_COLUMNS * AT_ONCE];
    for (size_t i = 0; i < x->m; i += AT_ONCE) {
        size_t rows = x->m - i < AT_ONCE ? x->m - i : AT_ONCE;
        small_kernels()->wide(&(cot_small_product){x->n, rows, x->k, x->alpha, false, x->b, 1,
                                                   x->ldb, x->a + i, x->a_col, part, rows});
        cot_real *c = x->c + i * x->ldc;
        if (!x->adds) /* -0 + y is y, also for y = -0 */
            for (size_t r = 0; r < rows; r++) cot_fill(x->n, -(cot_real)0, c + r * x->ldc);
        cot_add_transposed(x->n, rows, part, c, x->ldc);
    }
}

/* With B [n,k], and k short: transposed, vectors can run along n. */
static void multiply_by_transposed(const cot_small_product *x)
{
    cot_real b[MOST_TO_TRANSPOSE];
    cot_small_product other = *x;
    cot_copy_transposed(x->n, x->k, x->b, x->ldb, b);
    other.b = b;
    other.ldb = x->n;
    small_kernels()->wide(&other);
}

static void multiply_wide(const cot_small_product *x)
{
    small_kernels()->wide(x);
}

static void multiply_dots(const cot_small_product *x)
{
    small_kernels()->dots(x);
}

/* The way of a product, whatever its rows; NULL: the library's. */
static cot_small_gemm *small_way(cot_transpose ta, cot_transpose tb, size_t n, size_t k)
{
    if (k == 0 || n * k > MOST_OF_B) return NULL;
    if (tb == COT_N) return ta == COT_T && n <= MOST_COLUMNS ? multiply_transposed : multiply_wide;
    if (ta == COT_T) return NULL;
    if (k >= 2 * LEAST) return n * k <= MOST_FOR_DOTS ? multiply_dots : NULL;
    return n >= LEAST && n * k <= MOST_TO_TRANSPOSE ? multiply_by_transposed : NULL;
}

bool cot_gemm_is_small(cot_transpose ta, cot_transpose tb, size_t n, size_t k)
{
    return small_way(ta, tb, n, k) != NULL;
}

/* Filled by less than four fifths; products of few columns, where no kernel of ours takes B [n,k],
 * are still faster by the library's. */
bool cot_gemm_prefers_transposed(size_t n, size_t k)
{
    const size_t lanes = small_kernels()->lanes;
    const size_t vectors = (n + lanes - 1) / lanes;
    return 5 * n < 4 * lanes * vectors && k >= 2 * LEAST && (n < LEAST || n * k <= MOST_FOR_DOTS);
}

void cot_gemm(cot_transpose ta, cot_transpose tb, size_t m, size_t n, size_t k, cot_real alpha,
              const cot_real *a, size_t lda, const cot_real *b, size_t ldb, cot_real beta,
              cot_real *c, size_t ldc)
{
    if (m == 0 || n == 0) return;
    const cot_small_product small = {
        m, n, k, alpha, beta == 1, a, ta == COT_N ? lda : 1, ta == COT_N ? 1 : lda, b, ldb, c, ldc};
    cot_small_gemm *way = beta == 0 || beta == 1 ? small_way(ta, tb, n, k) : NULL;
    if (way != NULL) {
        way(&small);
        return;
    }
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
