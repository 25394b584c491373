/* Products of small matrices, whose operands stay in the cache: kernels of our own.
 *
 * A library pays for checks, for a choice of kernel and for packing; and it cannot know what comes
 * next. With AVX-512 these kernels fetch the next rows into the cache while they work on these
 * (`wide` not on Intel's), which is worth most where operands come from the third-level cache or
 * from another core. Every element is one sum over k in an order that depends on k alone, so it has
 * the same bits at any place in a matrix of any size. */
#ifndef COTERIE_MATH_SMALL_GEMM_H
#define COTERIE_MATH_SMALL_GEMM_H

#include <coterie/real.h>

#include <stdbool.h>
#include <stddef.h>

/* C [m,n] = alpha A B, or added to C. Element (i,p) of A stands at a[i * a_row + p * a_col]. */
typedef struct cot_small_product {
    size_t m, n, k;
    cot_real alpha;
    bool adds;
    const cot_real *a;
    size_t a_row, a_col;
    const cot_real *b;
    size_t ldb;
    cot_real *c;
    size_t ldc;
} cot_small_product;

typedef void cot_small_gemm(const cot_small_product *product);

/* Two kernels for each kind of processor, with the same bits on all that have the same
 * instructions: `wide` takes B [k,n] and works on vectors along n; `dots` takes B [n,k] and A with
 * a_col = 1, and works on vectors along k. */
typedef struct cot_small_kernels {
    cot_small_gemm *wide, *dots;
    size_t lanes; /* of a vector */
} cot_small_kernels;

extern const cot_small_kernels cot_small_kernels_plain;
#ifdef __x86_64__
extern const cot_small_kernels cot_small_kernels_avx2, cot_small_kernels_avx512,
    cot_small_kernels_avx512_intel;
#endif

#endif
