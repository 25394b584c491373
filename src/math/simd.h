/* Short vectors of cot_real: AVX-512 or AVX2 with FMA where the compiler may use them, else two or
 * four numbers that it maps to what there is. The double build always takes the latter. */
#ifndef COTERIE_MATH_SIMD_H
#define COTERIE_MATH_SIMD_H

#include <coterie/real.h>

#include <stdbool.h>
#include <stddef.h>

#define COT_INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define COT_UNROLL _Pragma("unroll")
#else
#define COT_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__AVX512F__) && !defined(COT_DOUBLE)

#include <immintrin.h>

typedef __m512 cot_vec;
enum { COT_VEC = 16, COT_VEC_REGISTERS = 32, COT_VEC_MASKS = 1 };

/* The first n of 16 lanes. */
typedef __mmask16 cot_vec_part;
COT_INLINE cot_vec_part cot_vec_first(size_t n)
{
    return (cot_vec_part)((1u << n) - 1);
}
COT_INLINE cot_vec cot_vec_zero(void)
{
    return _mm512_setzero_ps();
}
COT_INLINE cot_vec cot_vec_all(float x)
{
    return _mm512_set1_ps(x);
}
COT_INLINE cot_vec cot_vec_load(const float *x)
{
    return _mm512_loadu_ps(x);
}
COT_INLINE cot_vec cot_vec_load_part(const float *x, cot_vec_part part)
{
    return _mm512_maskz_loadu_ps(part, x);
}
COT_INLINE void cot_vec_store(float *y, cot_vec x)
{
    _mm512_storeu_ps(y, x);
}
COT_INLINE void cot_vec_store_part(float *y, cot_vec_part part, cot_vec x)
{
    _mm512_mask_storeu_ps(y, part, x);
}
/* The lanes of `part` from x, the others from y. */
COT_INLINE cot_vec cot_vec_blend(cot_vec_part part, cot_vec x, cot_vec y)
{
    return _mm512_mask_blend_ps(part, y, x);
}
/* a b + c, rounded once. */
COT_INLINE cot_vec cot_vec_multiply_add(cot_vec a, cot_vec b, cot_vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* In each quarter of lanes, the four vectors' sums over that quarter. */
COT_INLINE __m512 cot_vec_sum_quarters(const cot_vec x[4])
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
}
/* Of two rows, the sums over quarters 0 and 2, and those over 1 and 3. */
COT_INLINE __m512 cot_vec_sum_halves(const cot_vec x[2][4])
{
    __m512 a = cot_vec_sum_quarters(x[0]);
    __m512 b = cot_vec_sum_quarters(x[1]);
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
/* sums[r][i] = the sum of x[r][i]'s lanes, i < 4 and r < 4 or r < 2, each in the same order. */
COT_INLINE void cot_vec_sum16(const cot_vec x[4][4], float sums[4][4])
{
    __m512 a = cot_vec_sum_halves(x);
    __m512 b = cot_vec_sum_halves(x + 2);
    _mm512_storeu_ps(
        sums[0], _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd)));
}
COT_INLINE void cot_vec_sum8(const cot_vec x[2][4], float sums[2][4])
{
    __m512 a = cot_vec_sum_halves(x);
    __m512 all = _mm512_add_ps(_mm512_shuffle_f32x4(a, a, 0x88), _mm512_shuffle_f32x4(a, a, 0xdd));
    _mm256_storeu_ps(sums[0], _mm512_castps512_ps256(all));
}
/* Lane j of vector i to lane i of vector j. */
COT_INLINE void cot_vec_transpose(cot_vec x[16])
{
    __m512 y[16];
    COT_UNROLL
    for (int i = 0; i < 16; i += 4) {
        __m512 a = _mm512_unpacklo_ps(x[i], x[i + 1]);
        __m512 b = _mm512_unpackhi_ps(x[i], x[i + 1]);
        __m512 c = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
        __m512 d = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm512_shuffle_ps(a, c, 0x44);
        y[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        y[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        y[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    COT_UNROLL
    for (int i = 0; i < 4; i++) { /* quarters of lanes, as in a matrix of 4 x 4 */
        __m512 a = _mm512_shuffle_f32x4(y[i], y[i + 4], 0x88);
        __m512 b = _mm512_shuffle_f32x4(y[i], y[i + 4], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(y[i + 8], y[i + 12], 0x88);
        __m512 d = _mm512_shuffle_f32x4(y[i + 8], y[i + 12], 0xdd);
        x[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        x[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        x[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        x[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#elif defined(__AVX2__) && defined(__FMA__) && !defined(COT_DOUBLE)

#include <immintrin.h>

typedef __m256 cot_vec;
enum { COT_VEC = 8, COT_VEC_REGISTERS = 16, COT_VEC_MASKS = 0 };

/* All bits of the first n of 8 lanes. */
typedef __m256i cot_vec_part;
COT_INLINE cot_vec_part cot_vec_first(size_t n)
{
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lanes);
}
COT_INLINE cot_vec cot_vec_zero(void)
{
    return _mm256_setzero_ps();
}
COT_INLINE cot_vec cot_vec_all(float x)
{
    return _mm256_set1_ps(x);
}
COT_INLINE cot_vec cot_vec_load(const float *x)
{
    return _mm256_loadu_ps(x);
}
COT_INLINE cot_vec cot_vec_load_part(const float *x, cot_vec_part part)
{
    return _mm256_maskload_ps(x, part);
}
COT_INLINE void cot_vec_store(float *y, cot_vec x)
{
    _mm256_storeu_ps(y, x);
}
COT_INLINE void cot_vec_store_part(float *y, cot_vec_part part, cot_vec x)
{
    _mm256_maskstore_ps(y, part, x);
}
COT_INLINE cot_vec cot_vec_blend(cot_vec_part part, cot_vec x, cot_vec y)
{
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(part));
}
COT_INLINE cot_vec cot_vec_multiply_add(cot_vec a, cot_vec b, cot_vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
/* sums[i] = the sum of x[i]'s lanes, i < 4, each in the same order. */
COT_INLINE void cot_vec_sum4(const cot_vec x[4], float sums[4])
{
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(x[0], x[1]), _mm256_unpackhi_ps(x[0], x[1]));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(x[2], x[3]), _mm256_unpackhi_ps(x[2], x[3]));
    __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}
COT_INLINE void cot_vec_transpose(cot_vec x[8])
{
    __m256 y[8];
    COT_UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256 a = _mm256_unpacklo_ps(x[i], x[i + 1]);
        __m256 b = _mm256_unpackhi_ps(x[i], x[i + 1]);
        __m256 c = _mm256_unpacklo_ps(x[i + 2], x[i + 3]);
        __m256 d = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm256_shuffle_ps(a, c, 0x44);
        y[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        y[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        y[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    COT_UNROLL
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(y[i], y[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(y[i], y[i + 4], 0x31);
    }
}

#else

typedef cot_real cot_vec __attribute__((vector_size(16)));
enum { COT_VEC = 16 / sizeof(cot_real), COT_VEC_REGISTERS = 16, COT_VEC_MASKS = 0 };

typedef size_t cot_vec_part;
COT_INLINE cot_vec_part cot_vec_first(size_t n)
{
    return n;
}
COT_INLINE cot_vec cot_vec_all(cot_real x)
{
    return (cot_vec){0} + x;
}
COT_INLINE cot_vec cot_vec_zero(void)
{
    return (cot_vec){0};
}
COT_INLINE cot_vec cot_vec_load_part(const cot_real *x, cot_vec_part part)
{
    cot_vec y = {0};
    for (size_t i = 0; i < COT_VEC; i++)
        if (i < part) y[i] = x[i];
    return y;
}
COT_INLINE cot_vec cot_vec_load(const cot_real *x)
{
    cot_vec y;
    __builtin_memcpy(&y, x, sizeof y);
    return y;
}
COT_INLINE void cot_vec_store(cot_real *y, cot_vec x)
{
    __builtin_memcpy(y, &x, sizeof x);
}
COT_INLINE void cot_vec_store_part(cot_real *y, cot_vec_part part, cot_vec x)
{
    for (size_t i = 0; i < COT_VEC; i++)
        if (i < part) y[i] = x[i];
}
COT_INLINE cot_vec cot_vec_blend(cot_vec_part part, cot_vec x, cot_vec y)
{
    for (size_t i = 0; i < COT_VEC; i++)
        if (i < part) y[i] = x[i];
    return y;
}
/* a b + c, rounded twice. */
COT_INLINE cot_vec cot_vec_multiply_add(cot_vec a, cot_vec b, cot_vec c)
{
    return a * b + c;
}
COT_INLINE void cot_vec_sum4(const cot_vec x[4], cot_real sums[4])
{
    for (size_t i = 0; i < 4; i++) {
        sums[i] = x[i][0];
        for (size_t lane = 1; lane < COT_VEC; lane++) sums[i] += x[i][lane];
    }
}
#ifdef COT_DOUBLE
COT_INLINE void cot_vec_transpose(cot_vec x[2])
{
    cot_vec a = x[0];
    x[0] = __builtin_shufflevector(a, x[1], 0, 2);
    x[1] = __builtin_shufflevector(a, x[1], 1, 3);
}
#else
COT_INLINE void cot_vec_transpose(cot_vec x[4])
{
    cot_vec a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    cot_vec b = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    cot_vec c = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    cot_vec d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    x[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    x[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    x[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    x[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
#endif

#endif

#if !defined(__AVX512F__) || defined(COT_DOUBLE)
COT_INLINE void cot_vec_sum8(const cot_vec x[2][4], cot_real sums[2][4])
{
    cot_vec_sum4(x[0], sums[0]);
    cot_vec_sum4(x[1], sums[1]);
}
COT_INLINE void cot_vec_sum16(const cot_vec x[4][4], cot_real sums[4][4])
{
    cot_vec_sum8(x, sums);
    cot_vec_sum8(x + 2, sums + 2);
}
#endif

/* ---- the last vector of a row, which the row's length may cut ---- */

/* Where masks cost little (COT_VEC_MASKS), and in rows shorter than a vector, only its first lanes
 * are loaded and stored. Elsewhere (on Zen a masked store takes the time of more than ten
 * multiply-adds) it is a whole one that begins `back` numbers early, on lanes of the vector before
 * it. */
typedef struct cot_vec_end {
    bool is_masked;
    cot_vec_part part; /* its lanes if it is masked, else those that it shares */
    size_t back;
} cot_vec_end;

/* Behind its row's end are its last `cut` lanes. */
COT_INLINE cot_vec_end cot_vec_end_masked(size_t cut)
{
    return (cot_vec_end){true, cot_vec_first(COT_VEC - cut), 0};
}

/* The same, with a whole vector before it in the row, or nothing cut: never masked; and masked
 * where that costs little. */
COT_INLINE cot_vec_end cot_vec_end_back(size_t cut)
{
    return (cot_vec_end){false, cot_vec_first(cut), cut};
}
COT_INLINE cot_vec_end cot_vec_end_of(size_t cut)
{
    return COT_VEC_MASKS ? cot_vec_end_masked(cut) : cot_vec_end_back(cut);
}

COT_INLINE cot_vec cot_vec_load_end(const cot_real *x, cot_vec_end end)
{
    return end.is_masked ? cot_vec_load_part(x, end.part) : cot_vec_load(x - end.back);
}

COT_INLINE void cot_vec_store_end(cot_real *y, cot_vec_end end, cot_vec x)
{
    if (end.is_masked)
        cot_vec_store_part(y, end.part, x);
    else
        cot_vec_store(y - end.back, x);
}

/* With 0 in the lanes that it shares. */
COT_INLINE cot_vec cot_vec_load_end_alone(const cot_real *x, cot_vec_end end)
{
    cot_vec y = cot_vec_load_end(x, end);
    return end.is_masked ? y : cot_vec_blend(end.part, cot_vec_zero(), y);
}

/* The lanes that it shares stay what they are in memory. */
COT_INLINE void cot_vec_store_end_alone(cot_real *y, cot_vec_end end, cot_vec x)
{
    if (!end.is_masked) x = cot_vec_blend(end.part, cot_vec_load(y - end.back), x);
    cot_vec_store_end(y, end, x);
}

#endif
