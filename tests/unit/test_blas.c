#include "support/numbers.h"
#include "support/test.h"

#include <coterie/blas.h>
#include <coterie/memory.h>

#include <math.h>
#include <string.h>

/* One product; the stored A is [m,k], or [k,m] when transposed, and B likewise. */
typedef struct product {
    cot_transpose ta, tb;
    size_t m, n, k;
    cot_real alpha, beta;
} product;

/* An operand in memory: `rows` rows of `cols` numbers, `ld` apart, `offset` behind an aligned
 * address. */
typedef struct matrix {
    size_t rows, cols, ld;
    cot_real *memory, *at;
} matrix;

static matrix place(uint64_t draw, size_t rows, size_t cols, size_t padding, size_t offset)
{
    size_t ld = cols + padding;
    matrix a = {.rows = rows, .cols = cols, .ld = ld};
    a.memory = cot_alloc(rows * ld + offset + 1, sizeof *a.memory);
    a.at = a.memory + offset;
    cot_real *values = cot_alloc(rows * cols, sizeof *values);
    draw_normal(draw, rows * cols, values);
    for (size_t i = 0; i < rows * ld + offset + 1; i++) a.memory[i] = (cot_real)NAN;
    for (size_t i = 0; i < rows; i++)
        memcpy(a.at + i * ld, values + i * cols, cols * sizeof *values);
    cot_free(values);
    return a;
}

static cot_real entry(const matrix *a, cot_transpose transpose, size_t i, size_t j)
{
    return transpose == COT_N ? a->at[i * a->ld + j] : a->at[j * a->ld + i];
}

typedef struct operands {
    matrix a, b, c;
} operands;

static operands lay_out(const product *p, size_t padding, size_t offset)
{
    return (operands){
        place(1, p->ta == COT_N ? p->m : p->k, p->ta == COT_N ? p->k : p->m, padding, offset),
        place(2, p->tb == COT_N ? p->k : p->n, p->tb == COT_N ? p->n : p->k, (padding * 3) % 16,
              (offset * 5) % 16),
        place(3, p->m, p->n, (padding * 5) % 16, (offset * 11) % 16)};
}

static void multiply(const product *p, const operands *o)
{
    cot_gemm(p->ta, p->tb, p->m, p->n, p->k, p->alpha, o->a.at, o->a.ld, o->b.at, o->b.ld, p->beta,
             o->c.at, o->c.ld);
}

static void clear(operands *o)
{
    cot_free(o->a.memory);
    cot_free(o->b.memory);
    cot_free(o->c.memory);
}

/* A sum of k products in any order is off by at most k half epsilons of the products' sizes (Higham
 * 2002, section 3.1), alpha, beta and the last addition by three more. */
static void check_values(const product *p)
{
    operands o = lay_out(p, 3, 1);
    operands before = lay_out(p, 3, 1);
    multiply(p, &o);
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            double old = p->beta == 0 ? 0 : (double)(p->beta * entry(&before.c, COT_N, i, j));
            double sum = old;
            double sizes = fabs(old);
            for (size_t l = 0; l < p->k; l++) {
                double term = (double)p->alpha * (double)entry(&o.a, p->ta, i, l) *
                              (double)entry(&o.b, p->tb, l, j);
                sum += term;
                sizes += fabs(term);
            }
            assert_close_double((double)entry(&o.c, COT_N, i, j), sum, 0,
                                (double)(p->k + 3) * COT_REAL_EPSILON / 2 * sizes);
        }
    /* Between the rows nothing is written. */
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = p->n; j < o.c.ld && i * o.c.ld + j < (p->m - 1) * o.c.ld + p->n; j++)
            assert_true(isnan(o.c.at[i * o.c.ld + j]));
    clear(&before);
    clear(&o);
}

static void is_the_product(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 2, 4, 7, 16, 33};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    for (int t = 0; t < 4; t++)
        for (size_t i = 0; i < SIZES * SIZES * SIZES; i++) {
            product p = {.ta = t % 2 == 0 ? COT_N : COT_T,
                         .tb = t / 2 == 0 ? COT_N : COT_T,
                         .m = sizes[i % SIZES],
                         .n = sizes[i / SIZES % SIZES],
                         .k = sizes[i / SIZES / SIZES],
                         .alpha = i % 3 == 0 ? (cot_real)1.5 : 1,
                         .beta = (cot_real)(i % 2)};
            check_values(&p);
        }
}

static void beta_zero_overwrites_anything(void **state)
{
    (void)state;
    for (size_t k = 0; k < 20; k++) {
        product p = {COT_N, COT_N, 5, 9, k, 1, 0};
        operands o = lay_out(&p, 0, 0);
        for (size_t i = 0; i < 5 * 9; i++) o.c.memory[i] = (cot_real)NAN;
        o.c.ld = 9;
        multiply(&p, &o);
        for (size_t i = 0; i < 5 * 9; i++) {
            assert_true(isfinite(o.c.memory[i]));
            if (k == 0) assert_true(o.c.memory[i] == 0);
        }
        clear(&o);
    }
}

static void empty_products(void **state)
{
    (void)state;
    cot_real c[6] = {1, 2, 3, 4, 5, 6};
    const cot_real before[6] = {1, 2, 3, 4, 5, 6};
    const cot_real a[6] = {0};
    cot_gemm(COT_N, COT_N, 0, 3, 2, 1, a, 2, a, 3, 0, c, 3);
    cot_gemm(COT_N, COT_T, 2, 0, 2, 1, a, 2, a, 2, 0, c, 0);
    assert_same_bits(c, before, 6);
    cot_gemm(COT_T, COT_N, 2, 3, 0, 1, a, 2, a, 3, 1, c, 3); /* adds nothing */
    assert_same_bits(c, before, 6);
    cot_gemm(COT_T, COT_N, 2, 3, 0, 1, a, 2, a, 3, 0, c, 3);
    assert_same_bits(c, (cot_real[6]){0}, 6);
}

static void assert_same_bits_at_any_address(const product *p)
{
    operands first = lay_out(p, 0, 0);
    multiply(p, &first);
    for (size_t offset = 0; offset < 16; offset++) {
        operands there = lay_out(p, (offset * 7) % 16, offset);
        multiply(p, &there);
        for (size_t i = 0; i < p->m; i++)
            assert_same_bits(there.c.at + i * there.c.ld, first.c.at + i * first.c.ld, p->n);
        clear(&there);
    }
    clear(&first);
}

/* The shapes of the layer's products: a sample's tokens and slots, a grain's tokens, an expert's
 * rows. */
static void same_bits_at_any_address(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{4, 16, 196},   {16, 196, 4},  {4, 196, 16},  {128, 16, 196},
                                       {196, 16, 128}, {32, 49, 196}, {32, 196, 49}, {196, 49, 32},
                                       {1, 7, 5},      {3, 1, 200},   {32, 1, 196},  {1, 196, 6},
                                       {13, 39, 24},   {64, 10, 784}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int t = 0; t < 4; t++) {
            product p = {.ta = t % 2 == 0 ? COT_N : COT_T,
                         .tb = t / 2 == 0 ? COT_N : COT_T,
                         .m = shapes[i][0],
                         .n = shapes[i][1],
                         .k = shapes[i][2],
                         .alpha = 1,
                         .beta = (cot_real)(t % 2)};
            assert_same_bits_at_any_address(&p);
        }
}

/* Columns [first, first + n) of a product, computed alone, into `c`; false: not a small product. */
static bool multiply_columns(const product *p, const operands *o, size_t first, size_t n,
                             cot_real *c)
{
    if (!cot_gemm_is_small(p->ta, p->tb, n, p->k)) return false;
    const cot_real *b = o->b.at + (p->tb == COT_N ? first : first * o->b.ld);
    cot_gemm(p->ta, p->tb, p->m, n, p->k, p->alpha, o->a.at, o->a.ld, b, o->b.ld, 0, c, n);
    return true;
}

/* Whatever columns a small product is made of, an element has the same bits. */
static void columns_of_small_products(void **state)
{
    (void)state;
    static const size_t inner[] = {1, 4, 20, 32, 128, 196};
    enum { M = 9, N = 61 };
    size_t checked = 0;
    for (size_t i = 0; i < 4 * sizeof inner / sizeof inner[0]; i++) {
        product p = {
            i % 2 == 0 ? COT_N : COT_T, i / 2 % 2 == 0 ? COT_N : COT_T, M, N, inner[i / 4], 1, 0};
        cot_real all[M * N];
        cot_real some[M * N];
        operands o = lay_out(&p, 1, 3);
        bool small = multiply_columns(&p, &o, 0, N, all);
        for (size_t n = 1; small && n < N; n += n < 20 ? 1 : 7) {
            size_t first = (n * 5) % (N - n + 1);
            if (!multiply_columns(&p, &o, first, n, some)) continue;
            checked++;
            for (size_t row = 0; row < M; row++)
                assert_same_bits(some + row * n, all + row * N + first, n);
        }
        clear(&o);
    }
    assert_true(checked > 100);
}

/* A sum that is -0 stays so, by few columns as by many. */
static void zeros_keep_their_sign(void **state)
{
    (void)state;
    enum { M = 3, MOST = 40, K = 2 };
    const cot_real a[K * M] = {0};
    cot_real b[K * MOST];
    cot_real c[M * MOST];
    for (size_t i = 0; i < (size_t)K * MOST; i++) b[i] = -1;
    for (size_t n = 1; n <= MOST; n++) {
        cot_gemm(COT_T, COT_N, M, n, K, 1, a, M, b, n, 0, c, n);
        for (size_t i = 0; i < M * n; i++) assert_true(c[i] == 0 && signbit(c[i]));
    }
}

static void names_its_kernels(void **state)
{
    (void)state;
    assert_non_null(cot_blas_core());
    assert_true(strlen(cot_blas_core()) > 0);
    cot_blas_set_threads(1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(names_its_kernels),
    cmocka_unit_test(is_the_product),
    cmocka_unit_test(beta_zero_overwrites_anything),
    cmocka_unit_test(empty_products),
    cmocka_unit_test(same_bits_at_any_address),
    cmocka_unit_test(columns_of_small_products),
    cmocka_unit_test(zeros_keep_their_sign),
};

RUN_UNIT_TESTS(tests)
