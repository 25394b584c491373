/* The kernels of small_gemm.h, compiled once for each instruction set: by small_gemm_*.c, which
 * define KERNELS. */
#include "math/simd.h"
#include "math/small_gemm.h"

typedef cot_small_product product;

/* ---- wide: vectors along n ---- */

/* How many vectors wide a strip of columns can be, and how many rows of it the registers hold
 * beside one row of B and one number of A. */
enum {
    STRIP = COT_VEC_REGISTERS == 32 ? 5 : 3,
    ROWS = 8 /* at most */
};
static const int rows_of_strip[] = {
    0, 8, COT_VEC_REGISTERS == 32 ? 8 : 6, COT_VEC_REGISTERS == 32 ? 8 : 4, 6, 5};

/* Whether fetching ahead pays at all: with AVX-512 it does; on the AVX2 processor where it was
 * tried (Zen) prefetches took the loads' place, and x^T y a tenth to a quarter longer. */
enum { FETCHES = COT_VEC_REGISTERS == 32 };

/* Sums so long that it does, and how many numbers of a sum it is then ahead. */
enum { LONG = 12, AHEAD = 12 };

/* What else suits one kind of processor alone, which the file that is compiled may say. */
#ifndef WIDE_FETCHES
#define WIDE_FETCHES FETCHES
#endif
#ifndef WIDE_MASKS
#define WIDE_MASKS COT_VEC_MASKS
#endif

/* Fetch ahead, for column p of A: of the rows below this tile, one line for several columns; where
 * A's columns are continuous instead, both operands' next lines. */
COT_INLINE void fetch(const product *x, int rows, int cols, const cot_real *a, const cot_real *b,
                      bool has_below, size_t p)
{
    const size_t line = 64 / sizeof(cot_real);
    if (x->a_col != 1) {
        __builtin_prefetch(a + AHEAD * x->a_col);
        COT_UNROLL
        for (int v = 0; v < cols; v++) __builtin_prefetch(b + AHEAD * x->ldb + v * COT_VEC);
    } else if (has_below && p % line == 0) {
        COT_UNROLL
        for (int r = 0; r < rows; r++) __builtin_prefetch(a + (size_t)(rows + r) * x->a_row);
    }
}

/* Fetch the part of C that the rows below will write. */
COT_INLINE void fetch_result(const product *x, int rows, int cols, const cot_real *c)
{
    COT_UNROLL
    for (int r = 0; r < rows; r++) {
        COT_UNROLL
        for (int v = 0; v < cols; v++)
            __builtin_prefetch(c + (size_t)(rows + r) * x->ldc + v * COT_VEC, 1);
    }
}

/* One column of A times one row of B, as the sums or added to them. */
COT_INLINE void wide_step(const product *x, int rows, int cols, const cot_real *a,
                          const cot_real *b, cot_vec_end last, bool begins,
                          cot_vec sum[ROWS][STRIP])
{
    cot_vec bs[STRIP];
    COT_UNROLL
    for (int v = 0; v < cols; v++)
        bs[v] =
            v == cols - 1 ? cot_vec_load_end(b + v * COT_VEC, last) : cot_vec_load(b + v * COT_VEC);
    COT_UNROLL
    for (int r = 0; r < rows; r++) {
        cot_vec as = cot_vec_all(a[(size_t)r * x->a_row]);
        COT_UNROLL
        for (int v = 0; v < cols; v++)
            if (begins)
                sum[r][v] = as * bs[v];
            else
                sum[r][v] = cot_vec_multiply_add(as, bs[v], sum[r][v]);
    }
}

/* The tile's sums, where they belong. Copies of the fields: what is stored could change them, for
 * all that the compiler knows. One question for all of the sums, not one for each. All of C is
 * loaded before any is stored, because vectors may share columns (wide). */
COT_INLINE void put(const product *x, int rows, int cols, size_t i, size_t j, cot_vec_end last,
                    cot_vec sum[ROWS][STRIP])
{
    const cot_vec alpha = cot_vec_all(x->alpha);
    const bool scales = x->alpha != 1;
    const bool adds = x->adds;
    const size_t ldc = x->ldc;
    cot_real *c = x->c + i * ldc + j;
    if (scales) {
        COT_UNROLL
        for (int r = 0; r < rows; r++) {
            COT_UNROLL
            for (int v = 0; v < cols; v++) sum[r][v] *= alpha;
        }
    }
    if (adds) {
        cot_real *at = c;
        COT_UNROLL
        for (int r = 0; r < rows; r++, at += ldc) {
            COT_UNROLL
            for (int v = 0; v < cols - 1; v++) sum[r][v] += cot_vec_load(at + v * COT_VEC);
            sum[r][cols - 1] += cot_vec_load_end(at + (cols - 1) * COT_VEC, last);
        }
    }
    COT_UNROLL
    for (int r = 0; r < rows; r++, c += ldc) {
        COT_UNROLL
        for (int v = 0; v < cols - 1; v++) cot_vec_store(c + v * COT_VEC, sum[r][v]);
        cot_vec_store_end(c + (cols - 1) * COT_VEC, last, sum[r][cols - 1]);
    }
}

/* The tile of `rows` rows from i on and `cols` vectors from column j on, of which the last may be
 * cut. */
COT_INLINE void tile(const product *x, int rows, int cols, size_t i, size_t j, cot_vec_end last)
{
    cot_vec sum[ROWS][STRIP];
    const cot_real *a = x->a + i * x->a_row;
    const cot_real *b = x->b + j;
    const bool has_below = i + (size_t)rows < x->m;
    const bool is_long = WIDE_FETCHES && x->k >= LONG;
    if (is_long && has_below) fetch_result(x, rows, cols, x->c + i * x->ldc + j);
    wide_step(x, rows, cols, a, b, last, true, sum);
    /* Two loops: a short sum has no time for questions. */
    for (size_t p = 1; is_long && p < x->k; p++) {
        a += x->a_col;
        b += x->ldb;
        fetch(x, rows, cols, a, b, has_below, p);
        wide_step(x, rows, cols, a, b, last, false, sum);
    }
    for (size_t p = 1; !is_long && p < x->k; p++) {
        a += x->a_col;
        b += x->ldb;
        wide_step(x, rows, cols, a, b, last, false, sum);
    }
    put(x, rows, cols, i, j, last, sum);
}

COT_INLINE void strip(const product *x, int cols, size_t j, cot_vec_end last)
{
    const int rows = rows_of_strip[cols];
    size_t i = 0;
    for (; i + (size_t)rows <= x->m; i += (size_t)rows) tile(x, rows, cols, i, j, last);
    switch (x->m - i) {
    case 7:
        if (rows > 7) tile(x, 7, cols, i, j, last);
        break;
    case 6:
        if (rows > 6) tile(x, 6, cols, i, j, last);
        break;
    case 5:
        if (rows > 5) tile(x, 5, cols, i, j, last);
        break;
    case 4:
        if (rows > 4) tile(x, 4, cols, i, j, last);
        break;
    case 3:
        tile(x, 3, cols, i, j, last);
        break;
    case 2:
        tile(x, 2, cols, i, j, last);
        break;
    case 1:
        tile(x, 1, cols, i, j, last);
        break;
    default:
        break;
    }
}

COT_INLINE cot_vec_end wide_end(size_t cut)
{
    return WIDE_MASKS ? cot_vec_end_masked(cut) : cot_vec_end_back(cut);
}

/* Behind the row's end are the last `cut` lanes. */
static void strip_of(const product *x, size_t cols, size_t j, size_t cut)
{
    switch (cols) {
    case 1:
        if (!WIDE_MASKS && x->n < COT_VEC)
            strip(x, 1, j, cot_vec_end_masked(cut));
        else
            strip(x, 1, j, wide_end(cut));
        break;
    case 2:
        strip(x, 2, j, wide_end(cut));
        break;
    case 3:
        strip(x, 3, j, wide_end(cut));
        break;
    case 4:
        if (STRIP > 4) strip(x, 4, j, wide_end(cut));
        break;
    case 5:
        if (STRIP > 4) strip(x, 5, j, wide_end(cut));
        break;
    default:
        break;
    }
}

/* Strips of nearly the same width: where there are several, none is a single vector, so a cut one
 * has a whole one before it. Columns that the two share are computed twice, and added to once. */
static void wide(const product *x)
{
    const size_t most = STRIP == 5 && x->n <= 5 * COT_VEC ? 5 : STRIP == 5 ? 4 : 3;
    size_t vectors = (x->n + COT_VEC - 1) / COT_VEC;
    size_t strips = (vectors + most - 1) / most;
    for (size_t s = 0; s < strips; s++) {
        size_t begin = vectors * s / strips;
        size_t cols = vectors * (s + 1) / strips - begin;
        size_t end = (begin + cols) * COT_VEC;
        strip_of(x, cols, begin * COT_VEC, end > x->n ? end - x->n : 0);
    }
}

/* ---- dots: vectors along k ---- */

enum { DOTS_ROWS = COT_VEC_REGISTERS == 32 ? 4 : 3, DOTS_COLS = COT_VEC_REGISTERS == 32 ? 6 : 4 };

/* A tile's sums, in fours, whose lanes are summed together: of each row four columns, then of two
 * rows the other two. */
enum { FOURS = 6 };

COT_INLINE int four_of(int row, int col)
{
    return col < 4 ? row : 4 + row / 2;
}

COT_INLINE int place_of(int row, int col)
{
    return col < 4 ? col : row % 2 * 2 + col - 4;
}

COT_INLINE void dots_step(const product *x, int rows, int cols, const cot_real *a,
                          const cot_real *b, bool is_last, cot_vec_end last, cot_vec sum[FOURS][4])
{
    cot_vec bs[DOTS_COLS];
    COT_UNROLL
    for (int v = 0; v < cols; v++) {
        const cot_real *at = b + (size_t)v * x->ldb;
        bs[v] = is_last ? cot_vec_load_end_alone(at, last) : cot_vec_load(at);
    }
    COT_UNROLL
    for (int r = 0; r < rows; r++) {
        const cot_real *at = a + (size_t)r * x->a_row;
        cot_vec as = is_last ? cot_vec_load_end_alone(at, last) : cot_vec_load(at);
        COT_UNROLL
        for (int v = 0; v < cols; v++) {
            cot_vec *to = &sum[four_of(r, v)][place_of(r, v)];
            *to = cot_vec_multiply_add(as, bs[v], *to);
        }
    }
}

/* The tile of `rows` rows from i on and `cols` columns from j on. */
COT_INLINE void dots_tile(const product *x, int rows, int cols, size_t i, size_t j)
{
    cot_vec sum[FOURS][4];
    cot_real sums[FOURS][4];
    const cot_real *a = x->a + i * x->a_row;
    const cot_real *b = x->b + j * x->ldb;
    const bool has_below = FETCHES && i + (size_t)rows < x->m;
    size_t p = 0;
    const cot_real alpha = x->alpha;
    const bool adds = x->adds;
    COT_UNROLL
    for (int r = 0; r < FOURS; r++) {
        COT_UNROLL
        for (int v = 0; v < 4; v++) sum[r][v] = cot_vec_zero();
    }
    for (; p + COT_VEC <= x->k; p += COT_VEC) {
        if (has_below) COT_UNROLL
        for (int r = 0; r < rows; r++) __builtin_prefetch(a + (size_t)(rows + r) * x->a_row + p);
        dots_step(x, rows, cols, a + p, b + p, false, cot_vec_end_of(0), sum);
    }
    const size_t left = x->k - p;
    if (left > 0 && !COT_VEC_MASKS && p == 0) /* there is no vector before it */
        dots_step(x, rows, cols, a, b, true, cot_vec_end_masked(COT_VEC - left), sum);
    else if (left > 0)
        dots_step(x, rows, cols, a + p, b + p, true, cot_vec_end_of(COT_VEC - left), sum);
    cot_vec_sum16(sum, sums);
    if (cols > 4) cot_vec_sum8(sum + 4, sums + 4);
    COT_UNROLL
    for (int r = 0; r < rows; r++) {
        cot_real *c = x->c + (i + (size_t)r) * x->ldc + j;
        COT_UNROLL
        for (int v = 0; v < cols; v++) {
            const cot_real scaled = alpha * sums[four_of(r, v)][place_of(r, v)];
            c[v] = adds ? c[v] + scaled : scaled;
        }
    }
}

COT_INLINE void dots_strip(const product *x, int cols, size_t j)
{
    size_t i = 0;
    for (; i + DOTS_ROWS <= x->m; i += DOTS_ROWS) {
        if (DOTS_ROWS == 3 && x->m - i == 4) break;
        dots_tile(x, DOTS_ROWS, cols, i, j);
    }
    switch (x->m - i) {
    case 4: /* rather than three and one */
        if (DOTS_ROWS > 3) break;
        dots_tile(x, 2, cols, i, j);
        dots_tile(x, 2, cols, i + 2, j);
        break;
    case 3:
        if (DOTS_ROWS > 3) dots_tile(x, 3, cols, i, j);
        break;
    case 2:
        dots_tile(x, 2, cols, i, j);
        break;
    case 1:
        dots_tile(x, 1, cols, i, j);
        break;
    default:
        break;
    }
}

static void dots(const product *x)
{
    for (size_t j = 0; j < x->n;) {
        size_t left = x->n - j;
        if (DOTS_COLS == 6 && (left == 6 || left > 8)) {
            dots_strip(x, DOTS_COLS, j);
            j += DOTS_COLS;
        } else if (left >= 4) {
            dots_strip(x, 4, j);
            j += 4;
        } else {
            dots_strip(x, 1, j);
            j += 1;
        }
    }
}

const cot_small_kernels KERNELS = {wide, dots, COT_VEC};
