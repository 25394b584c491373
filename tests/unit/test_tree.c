#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/tree.h>

#include <string.h>

enum { SIZE = 33, MOST_LEAVES = 32 };

/* Leaves of very different sizes, so that another order rounds to other bits. */
static void draw_leaf(size_t leaf, cot_real *out)
{
    draw_normal(leaf, SIZE, out);
    for (size_t i = 0; i < SIZE; i++) out[i] *= (cot_real)(1 + 1000 * ((leaf * 7) % 5));
}

/* The sum of leaves [first, first + count) by one tree. */
static void sum_by_tree(size_t first, size_t count, cot_real *sum)
{
    cot_tree *tree = cot_tree_create(count, SIZE);
    for (size_t leaf = first; leaf < first + count; leaf++) {
        draw_leaf(leaf, cot_tree_leaf(tree));
        cot_tree_push(tree);
    }
    cot_tree_finish(tree, sum);
    cot_tree_destroy(&tree);
    assert_null(tree);
}

/* The tree's definition: the larger power of two of leaves, and what is left of them. */
static void sum_by_halves(size_t first, size_t count, cot_real *sum)
{
    if (count == 1) {
        draw_leaf(first, sum);
        return;
    }
    size_t half = 1;
    while (2 * half < count) half *= 2;
    cot_real right[SIZE];
    sum_by_halves(first, half, sum);
    sum_by_halves(first + half, count - half, right);
    for (size_t i = 0; i < SIZE; i++) sum[i] += right[i];
}

static void sum_left_to_right(size_t count, cot_real *sum)
{
    cot_real leaf[SIZE];
    draw_leaf(0, sum);
    for (size_t l = 1; l < count; l++) {
        draw_leaf(l, leaf);
        for (size_t i = 0; i < SIZE; i++) sum[i] += leaf[i];
    }
}

/* Parts of `block` leaves each, every one summed by a tree, then added up by cot_tree_reduce. */
static void sum_by_blocks(size_t count, size_t block, cot_real *sum)
{
    size_t parts = (count + block - 1) / block;
    cot_real *arrays = cot_alloc(parts * SIZE, sizeof *arrays);
    for (size_t part = 0; part < parts; part++) {
        size_t end = (part + 1) * block < count ? (part + 1) * block : count;
        sum_by_tree(part * block, end - part * block, arrays + part * SIZE);
    }
    cot_tree_reduce(parts, SIZE, arrays);
    memcpy(sum, arrays, SIZE * sizeof *sum);
    cot_free(arrays);
}

static void is_the_binary_tree(void **state)
{
    (void)state;
    for (size_t count = 1; count <= MOST_LEAVES; count++) {
        cot_real sum[SIZE];
        cot_real want[SIZE];
        sum_by_tree(0, count, sum);
        sum_by_halves(0, count, want);
        assert_same_bits(sum, want, SIZE);
    }
}

/* What makes sums independent of the ranks: any power of two of leaves in a block, any number of
 * leaves. */
static void blocks_of_a_power_of_two_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t count = 1; count <= MOST_LEAVES; count++)
        for (size_t block = 1; block <= MOST_LEAVES; block *= 2) {
            cot_real sum[SIZE];
            cot_real want[SIZE];
            sum_by_tree(0, count, want);
            sum_by_blocks(count, block, sum);
            assert_same_bits(sum, want, SIZE);
        }
}

/* Partial sums stay below `sizes` (a normal number below 5 times at most 4001, a leaf at a time, so
 * loosely), and an addition rounds by half an epsilon of one; a leaf passes through at most `count`
 * additions. */
static void other_blocks_agree_to_rounding(void **state)
{
    (void)state;
    const double sizes = 5 * 4001.0 * MOST_LEAVES;
    for (size_t count = 2; count <= MOST_LEAVES; count++) {
        cot_real want[SIZE];
        cot_real sum[SIZE];
        const double tolerance = (double)COT_REAL_EPSILON * sizes * (double)count;
        sum_by_tree(0, count, want);
        for (size_t block = 3; block <= MOST_LEAVES; block += 2) {
            sum_by_blocks(count, block, sum);
            assert_close(sum, want, SIZE, 0, tolerance);
        }
        sum_left_to_right(count, sum);
        assert_close(sum, want, SIZE, 0, tolerance);
    }
}

/* Or the tests above would show nothing. */
static void another_order_gives_other_bits(void **state)
{
    (void)state;
    cot_real tree[SIZE];
    cot_real other[SIZE];
    for (size_t count = 4; count <= MOST_LEAVES; count *= 2) {
        sum_by_tree(0, count, tree);
        sum_left_to_right(count, other);
        assert_false(same_bits(tree, other, SIZE));
    }
    sum_by_tree(0, 8, tree);
    sum_by_blocks(8, 3, other);
    assert_false(same_bits(tree, other, SIZE));
}

static void doubles_add_by_the_same_tree(void **state)
{
    (void)state;
    for (size_t parts = 1; parts <= MOST_LEAVES; parts++) {
        double arrays[2 * MOST_LEAVES];
        double want[MOST_LEAVES];
        for (size_t i = 0; i < parts; i++) {
            arrays[2 * i] = 1.0 / (double)(3 * i + 1);
            arrays[2 * i + 1] = (double)i;
            want[i] = arrays[2 * i];
        }
        /* Pair neighbours until one is left. */
        for (size_t left = parts; left > 1; left = (left + 1) / 2)
            for (size_t i = 0; i < (left + 1) / 2; i++)
                want[i] = 2 * i + 1 < left ? want[2 * i] + want[2 * i + 1] : want[2 * i];
        cot_tree_reduce_double(parts, 2, arrays);
        assert_true(arrays[0] == want[0]);
        assert_true(arrays[1] == (double)(parts * (parts - 1)) / 2);
    }
}

static void no_leaves_give_zeros(void **state)
{
    (void)state;
    const cot_real zeros[SIZE] = {0};
    cot_tree *tree = cot_tree_create(0, SIZE);
    cot_real sum[SIZE];
    draw_leaf(1, sum);
    cot_tree_finish(tree, sum);
    assert_same_bits(sum, zeros, SIZE);
    cot_tree_destroy(&tree);
    cot_tree_destroy(&tree);
}

static void is_empty_again_after_finishing(void **state)
{
    (void)state;
    const cot_real zeros[SIZE] = {0};
    cot_tree *tree = cot_tree_create(8, SIZE);
    cot_real sum[SIZE];
    cot_real want[SIZE];
    const size_t counts[] = {8, 5, 1, 7, 3};
    for (size_t round = 0; round < sizeof counts / sizeof counts[0]; round++) {
        for (size_t leaf = 0; leaf < counts[round]; leaf++) {
            draw_leaf(leaf, cot_tree_leaf(tree));
            cot_tree_push(tree);
        }
        cot_tree_finish(tree, sum);
        sum_by_halves(0, counts[round], want);
        assert_same_bits(sum, want, SIZE);
        cot_tree_finish(tree, sum);
        assert_same_bits(sum, zeros, SIZE);
    }
    cot_tree_destroy(&tree);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(is_the_binary_tree),
    cmocka_unit_test(blocks_of_a_power_of_two_give_the_same_bits),
    cmocka_unit_test(other_blocks_agree_to_rounding),
    cmocka_unit_test(another_order_gives_other_bits),
    cmocka_unit_test(doubles_add_by_the_same_tree),
    cmocka_unit_test(no_leaves_give_zeros),
    cmocka_unit_test(is_empty_again_after_finishing),
};

RUN_UNIT_TESTS(tests)
