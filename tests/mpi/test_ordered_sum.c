#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/ordered_sum.h>
#include <coterie/tree.h>

#include <math.h>
#include <string.h>

/* The longest is one that MPI_Allreduce adds up in another order on three ranks (Open MPI 4.1
 * passes arrays of 16 to 64 KiB round a ring). */
enum { MOST = 5000 };
static const size_t sizes[] = {0, 1, 3, 1000, MOST};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* What rank `rank` brings; of very different sizes, so that the order shows. */
static void draw_part(int rank, size_t n, cot_real *out)
{
    draw_normal((uint64_t)rank, n, out);
    for (size_t i = 0; i < n; i++) out[i] *= (cot_real)(1 + (i + (size_t)rank) % 3 * 500);
}

/* The same sum, serially. */
static void sum_serially(int ranks, size_t n, cot_real *total)
{
    cot_real *parts = cot_alloc((size_t)ranks * n, sizeof *parts);
    for (int r = 0; r < ranks; r++) draw_part(r, n, parts + (size_t)r * n);
    cot_tree_reduce((size_t)ranks, n, parts);
    memcpy(total, parts, n * sizeof *total);
    cot_free(parts);
}

static void check_sums(size_t node_ranks)
{
    cot_ordered_sum *sum = cot_ordered_sum_create(MPI_COMM_WORLD, MOST, true, node_ranks);
    for (size_t i = 0; i < SIZES; i++) {
        cot_real part[MOST];
        cot_real before[MOST];
        cot_real total[MOST];
        cot_real want[MOST];
        draw_part(rank_here(), sizes[i], part);
        memcpy(before, part, sizeof part);
        cot_ordered_sum_real(sum, sizes[i], part, total);
        sum_serially(rank_count(), sizes[i], want);
        assert_on_every_rank(same_bits(total, want, sizes[i]));
        assert_on_every_rank(same_bits(part, before, sizes[i]));
    }
    cot_ordered_sum_destroy(&sum);
    assert_null(sum);
}

/* By messages, and in shared memory. */
static void sums_are_the_serial_tree(void **state)
{
    (void)state;
    check_sums(1);
    check_sums(0);
}

/* One sum after the other, and nobody waits between them: what a rank has is not overwritten before
 * the others have read it. */
static void sums_follow_each_other(void **state)
{
    (void)state;
    enum { SUMS = 300, N = 64 };
    cot_ordered_sum *sum = cot_ordered_sum_create(MPI_COMM_WORLD, N, true, 0);
    const size_t ranks = (size_t)rank_count();
    bool right = true;
    for (size_t i = 0; i < SUMS; i++) {
        cot_real values[N];
        for (size_t k = 0; k < N; k++) values[k] = (cot_real)(i + (size_t)rank_here());
        cot_ordered_sum_real(sum, N, values, values);
        for (size_t k = 0; k < N; k++)
            right = right && values[k] == (cot_real)(ranks * i + ranks * (ranks - 1) / 2);
    }
    assert_on_every_rank(right);
    cot_ordered_sum_destroy(&sum);
}

/* On three ranks, (a + b) + c is not what every order gives; the test above must be able to see
 * that. */
static void another_order_gives_other_bits(void **state)
{
    (void)state;
    cot_real want[MOST];
    cot_real other[MOST] = {0};
    if (rank_count() < 3) return;
    sum_serially(rank_count(), MOST, want);
    for (int r = rank_count() - 1; r >= 0; r--) {
        cot_real part[MOST];
        draw_part(r, MOST, part);
        for (size_t i = 0; i < MOST; i++) other[i] += part[i];
    }
    assert_on_every_rank(!same_bits(want, other, MOST));
}

/* An element's sum is the same in an array of another length, where segments are cut elsewhere. */
static void check_segments(size_t node_ranks)
{
    cot_ordered_sum *sum = cot_ordered_sum_create(MPI_COMM_WORLD, MOST, true, node_ranks);
    cot_real part[MOST];
    cot_real whole[MOST];
    cot_real head[MOST];
    draw_part(rank_here(), MOST, part);
    cot_ordered_sum_real(sum, MOST, part, whole);
    for (size_t n = 1; n < 40; n += 5) {
        cot_ordered_sum_real(sum, n, part, head);
        assert_on_every_rank(same_bits(head, whole, n));
    }
    cot_ordered_sum_destroy(&sum);
}

static void segments_do_not_matter(void **state)
{
    (void)state;
    check_segments(1);
    check_segments(0);
}

static double draw_double(int rank, size_t i)
{
    return sin((double)((size_t)rank * 97 + i + 1)) * pow(10, (double)((size_t)rank + i) - 2);
}

static void doubles_too(void **state)
{
    (void)state;
    enum { N = 600 }; /* more than is gathered at a time */
    size_t ranks = (size_t)rank_count();
    cot_ordered_sum *sum = cot_ordered_sum_create(MPI_COMM_WORLD, 1, true, 1);
    for (size_t n = 0; n <= N; n += 8) {
        double values[N];
        double *want = cot_alloc(ranks * N, sizeof *want);
        for (size_t i = 0; i < n; i++) {
            values[i] = draw_double(rank_here(), i % 8);
            for (size_t r = 0; r < ranks; r++) want[r * n + i] = draw_double((int)r, i % 8);
        }
        cot_tree_reduce_double(ranks, n, want);
        cot_ordered_sum_doubles(sum, n, values);
        assert_on_every_rank(n == 0 || memcmp(values, want, n * sizeof *want) == 0);
        cot_free(want);
    }
    cot_ordered_sum_destroy(&sum);
}

/* Any order of `ranks` numbers below 5 * 1001 rounds so often at the most. */
static void without_order_to_rounding(void **state)
{
    (void)state;
    cot_ordered_sum *sum = cot_ordered_sum_create(MPI_COMM_WORLD, MOST, false, 0);
    double tolerance = (double)COT_REAL_EPSILON * 5 * 1001 * rank_count() * rank_count();
    for (size_t i = 0; i < SIZES; i++) {
        cot_real part[MOST];
        cot_real total[MOST];
        cot_real want[MOST];
        bool close = true;
        draw_part(rank_here(), sizes[i], part);
        cot_ordered_sum_real(sum, sizes[i], part, total);
        sum_serially(rank_count(), sizes[i], want);
        for (size_t j = 0; j < sizes[i]; j++)
            close = close && fabs((double)total[j] - (double)want[j]) <= tolerance;
        assert_on_every_rank(close);
    }
    cot_ordered_sum_destroy(&sum);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sums_are_the_serial_tree),
    cmocka_unit_test(sums_follow_each_other),
    cmocka_unit_test(another_order_gives_other_bits),
    cmocka_unit_test(segments_do_not_matter),
    cmocka_unit_test(doubles_too),
    cmocka_unit_test(without_order_to_rounding),
};

RUN_MPI_TESTS(tests)
