#include "math/small_gemm.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>

#include <math.h>
#include <string.h>

enum { MOST = 110, PADDING = 3, COUNT = MOST * (MOST + PADDING) };

typedef struct set {
    const char *name;
    const cot_small_kernels *kernels;
    bool here; /* this processor has the instructions */
} set;

enum { SETS = 4 };

static size_t sets(set list[SETS])
{
    list[0] = (set){"plain", &cot_small_kernels_plain, true};
#ifdef __x86_64__
    list[1] = (set){"avx2", &cot_small_kernels_avx2,
                    __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")};
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    list[2] = (set){"avx512", &cot_small_kernels_avx512, avx512};
    list[3] = (set){"avx512", &cot_small_kernels_avx512_intel, avx512};
    return SETS;
#else
    return 1;
#endif
}

typedef struct arrays {
    cot_real *a, *b, *c, *before;
} arrays;

static arrays draw(void)
{
    arrays x;
    cot_real **all[] = {&x.a, &x.b, &x.c, &x.before};
    for (size_t i = 0; i < 4; i++) {
        *all[i] = cot_alloc(COUNT, sizeof(cot_real));
        draw_normal(i == 3 ? 2 : i, COUNT, *all[i]);
    }
    return x;
}

static void release(arrays *x)
{
    cot_free(x->before);
    cot_free(x->c);
    cot_free(x->b);
    cot_free(x->a);
}

/* Every number of C is the sum it should be, and what lies between its rows is as it was. A sum of
 * k products in any order is off by at most k half epsilons of their sizes (Higham 2002, section
 * 3.1); alpha and the last addition add two. */
static void check(const cot_small_product *p, const arrays *x, bool dots)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->ldc; j++) {
            double old = (double)x->before[i * p->ldc + j];
            double sum = 0;
            double size = fabs(old);
            for (size_t k = 0; k < p->k && j < p->n; k++) {
                double term = (double)p->a[i * p->a_row + k * p->a_col] *
                              (double)(dots ? p->b[j * p->ldb + k] : p->b[k * p->ldb + j]);
                sum += (double)p->alpha * term;
                size += fabs((double)p->alpha * term);
            }
            double want = j >= p->n || p->adds ? old + sum : sum;
            double most = j < p->n ? (double)(p->k + 2) * COT_REAL_EPSILON * size : 0;
            assert_true(fabs((double)p->c[i * p->ldc + j] - want) <= most);
        }
}

static void run(const set *s, cot_small_product *p, const arrays *x, bool dots)
{
    memcpy(x->c, x->before, COUNT * sizeof(cot_real));
    (dots ? s->kernels->dots : s->kernels->wide)(p);
    check(p, x, dots);
}

static const size_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 33, 48, 63, 81, 98};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* All tails of the tiles, with A as it is and transposed, C overwritten and added to. */
static void right_sums(void **state)
{
    (void)state;
    set list[SETS];
    arrays x = draw();
    for (size_t s = sets(list); s-- > 0;) {
        if (!list[s].here) {
            print_message("skipped: this processor has no %s\n", list[s].name);
            continue;
        }
        for (size_t i = 0; i < SIZES; i++)
            for (size_t j = 0; j < SIZES; j++)
                for (size_t l = 0; l < SIZES; l += 6) {
                    const size_t m = sizes[i];
                    const size_t n = sizes[j];
                    const size_t k = sizes[(l + i) % SIZES];
                    const bool adds = (i + j) % 2;
                    const cot_real alpha = j % 3 == 0 ? (cot_real)0.75 : 1;
                    cot_small_product p = {m,           n, k,   alpha, adds, x.a,
                                           k + PADDING, 1, x.b, n + 1, x.c,  n + 2};
                    run(&list[s], &p, &x, false);
                    p.a_row = 1;
                    p.a_col = m + PADDING;
                    run(&list[s], &p, &x, false);
                    p.a_row = k + PADDING;
                    p.a_col = 1;
                    p.ldb = k + 2;
                    run(&list[s], &p, &x, true);
                }
    }
    release(&x);
}

/* The promise of small_gemm.h: a row has the same bits alone as among others. */
static void same_bits_in_any_place(void **state)
{
    (void)state;
    enum { M = 29, N = 53, K = 37 };
    set list[SETS];
    arrays x = draw();
    for (size_t s = sets(list); s-- > 0;)
        for (int dots = 0; dots < 2 && list[s].here; dots++) {
            cot_small_product all = {M, N, K, 1, false, x.a, K, 1, x.b, dots ? K : N, x.c, N};
            cot_small_gemm *kernel = dots ? list[s].kernels->dots : list[s].kernels->wide;
            kernel(&all);
            for (size_t i = 0; i < M; i++) {
                cot_real row[N];
                cot_small_product one = all;
                one.m = 1;
                one.a = x.a + i * K;
                one.c = row;
                kernel(&one);
                assert_memory_equal(row, x.c + i * N, sizeof row);
            }
            for (size_t j = 0; j < N; j++) {
                cot_real column[M];
                cot_small_product one = all;
                one.n = 1;
                one.b = dots ? x.b + j * K : x.b + j;
                one.c = column;
                one.ldc = 1;
                kernel(&one);
                for (size_t i = 0; i < M; i++)
                    assert_memory_equal(column + i, x.c + i * N + j, sizeof *column);
            }
        }
    release(&x);
}

/* A number of a sum counts once, also where the last vector along k begins on numbers of the one
 * before it: infinity times those is infinity, and never times 0. */
static void infinity_counts_once(void **state)
{
    (void)state;
    enum { M = 4, N = 4, K = 37 };
    set list[SETS];
    arrays x = draw();
    cot_real *const operands[] = {x.a, x.b};
    for (size_t s = sets(list); s-- > 0;)
        for (int operand = 0; operand < 2 && list[s].here; operand++)
            for (size_t k = 0; k < K; k++) {
                cot_real *const number = operands[operand] + k; /* of A's first row, or B's */
                const cot_real kept = *number;
                const cot_small_product p = {M, N, K, 1, false, x.a, K, 1, x.b, K, x.c, N};
                *number = (cot_real)INFINITY;
                list[s].kernels->dots(&p);
                *number = kept;
                for (size_t i = 0; i < M; i++)
                    for (size_t j = 0; j < N; j++)
                        assert_true(operand == 0 ? (i == 0) == (bool)isinf(x.c[i * N + j])
                                                 : (j == 0) == (bool)isinf(x.c[i * N + j]));
            }
    release(&x);
}

#ifdef __x86_64__
/* One kind of processor's are as another's, so that one name of kernels stands for both. */
static void same_bits_with_same_instructions(void **state)
{
    (void)state;
    set list[SETS];
    arrays x = draw();
    cot_real *other = cot_alloc(COUNT, sizeof *other);
    (void)sets(list);
    if (list[2].here)
        for (size_t n = 1; n <= MOST; n++)
            for (int dots = 0; dots < 2; dots++) {
                const size_t k = n % 7 * 9 + 3;
                cot_small_product p = {13,           n,   k, 1, n % 2 == 0, x.a, k, 1, x.b,
                                       dots ? k : n, x.c, n};
                memcpy(x.c, x.before, COUNT * sizeof *x.c);
                memcpy(other, x.before, COUNT * sizeof *other);
                (dots ? list[2].kernels->dots : list[2].kernels->wide)(&p);
                p.c = other;
                (dots ? list[3].kernels->dots : list[3].kernels->wide)(&p);
                assert_memory_equal(other, x.c, COUNT * sizeof *other);
            }
    else
        print_message("skipped: this processor has no avx512\n");
    cot_free(other);
    release(&x);
}
#endif

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(right_sums),
    cmocka_unit_test(same_bits_in_any_place),
    cmocka_unit_test(infinity_counts_once),
#ifdef __x86_64__
    cmocka_unit_test(same_bits_with_same_instructions),
#endif
};

RUN_UNIT_TESTS(tests)
