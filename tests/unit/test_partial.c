#include "math/fused.h"
#include "moe/partial.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/softmax.h>
#include <coterie/vector.h>

#include <math.h>
#include <string.h>

/* Five tokens of seven numbers; up to nine blocks of three slots. */
enum { TOKENS = 5, D = 7, MOST = 9, SLOTS = 3, S = MOST * SLOTS };

typedef struct fixture {
    cot_real numerators[TOKENS * D], max[TOKENS], sum[TOKENS];
    cot_partial root;
    cot_real logits[TOKENS * S], values[S * D];
} fixture;

static void create(fixture *f, cot_real spread)
{
    f->root = (cot_partial){.numerators = f->numerators, .max = f->max, .sum = f->sum};
    draw_normal(1, TOKENS * S, f->logits);
    draw_normal(2, S * D, f->values);
    for (size_t i = 0; i < (size_t)TOKENS * S; i++) f->logits[i] *= spread;
}

/* What the slots of one block make. */
static void fill_leaf(const fixture *f, size_t b, const cot_partial *leaf)
{
    for (size_t t = 0; t < TOKENS; t++) {
        cot_real weights[SLOTS];
        memcpy(weights, f->logits + t * S + b * SLOTS, sizeof weights);
        cot_softmax_parts(1, 1, (size_t[]){0, SLOTS}, weights, leaf->max + t, leaf->sum + t);
        for (size_t d = 0; d < D; d++) {
            cot_real sum = 0;
            for (size_t j = 0; j < SLOTS; j++)
                sum += weights[j] * f->values[(b * SLOTS + j) * D + d];
            leaf->numerators[t * D + d] = sum;
        }
    }
}

/* The softmax over all slots of the first `blocks` blocks, in double. */
static void check_softmax(const fixture *f, size_t blocks)
{
    /* Sums of at most 27 terms of size 3, and the rounding of exp's argument, up to 200. */
    const double tolerance = 400 * (double)COT_REAL_EPSILON;
    for (size_t t = 0; t < TOKENS; t++) {
        double max = -INFINITY;
        double z = 0;
        for (size_t j = 0; j < blocks * SLOTS; j++) max = fmax(max, (double)f->logits[t * S + j]);
        for (size_t j = 0; j < blocks * SLOTS; j++) z += exp((double)f->logits[t * S + j] - max);
        assert_close_double((double)f->max[t], max, 0, 0);
        for (size_t d = 0; d < D; d++) {
            double want = 0;
            for (size_t j = 0; j < blocks * SLOTS; j++)
                want += exp((double)f->logits[t * S + j] - max) / z * (double)f->values[j * D + d];
            assert_close_double((double)f->numerators[t * D + d] / (double)f->sum[t], want, 0,
                                tolerance);
        }
    }
}

static void parts_make_the_whole_softmax(void **state)
{
    (void)state;
    const cot_real spreads[] = {0, 1, 40}; /* the last: most blocks count for nothing */
    for (size_t i = 0; i < sizeof spreads / sizeof spreads[0]; i++)
        for (size_t blocks = 1; blocks <= MOST; blocks++) {
            fixture f;
            create(&f, spreads[i]);
            cot_partial_tree *tree = cot_partial_tree_create(blocks, TOKENS, D, &f.root);
            for (size_t b = 0; b < blocks; b++) {
                cot_partial leaf = cot_partial_tree_leaf(tree);
                fill_leaf(&f, b, &leaf);
                cot_partial_tree_push(tree, TOKENS);
            }
            cot_partial_tree_finish(tree, TOKENS);
            check_softmax(&f, blocks);
            cot_partial_tree_destroy(&tree);
            assert_null(tree);
        }
}

/* A block without experts changes nothing, on either side. */
static void nothing_adds_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture empty;
    create(&f, 1);
    create(&empty, 1);
    fill_leaf(&f, 0, &f.root);
    cot_real numerators[TOKENS * D];
    memcpy(numerators, f.numerators, sizeof numerators);
    cot_partial_clear(&empty.root, TOKENS, D);
    cot_partial_merge(&f.root, &empty.root, TOKENS, D);
    assert_same_bits(f.numerators, numerators, TOKENS * D);
    cot_partial_merge(&empty.root, &f.root, TOKENS, D);
    assert_same_bits(empty.numerators, numerators, TOKENS * D);
    assert_same_bits(empty.max, f.max, TOKENS);
    assert_same_bits(empty.sum, f.sum, TOKENS);
    /* Two that are empty stay so, and a tree without leaves is. */
    cot_partial_tree *tree = cot_partial_tree_create(0, TOKENS, D, &f.root);
    cot_partial_tree_finish(tree, TOKENS);
    cot_partial_tree_destroy(&tree);
    cot_partial_clear(&empty.root, TOKENS, D);
    cot_partial_merge(&f.root, &empty.root, TOKENS, D);
    for (size_t i = 0; i < (size_t)TOKENS * D; i++) assert_true(f.numerators[i] == 0);
    for (size_t t = 0; t < TOKENS; t++) assert_true(f.sum[t] == 0);
}

static void nan_is_not_lost(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        fixture a;
        fixture b;
        create(&a, 1);
        create(&b, 1);
        (side == 0 ? &a : &b)->logits[1] = NAN;
        fill_leaf(&a, 0, &a.root);
        fill_leaf(&b, 0, &b.root);
        cot_partial_merge(&a.root, &b.root, TOKENS, D);
        assert_true(isnan(a.sum[0]) && isnan(a.numerators[0]) && !isnan(a.sum[1]));
    }
}

/* Plain sums: two halves of a tree are a tree. */
static void plain_sums_nest(void **state)
{
    (void)state;
    enum { LEAVES = 8, N = TOKENS * D };
    cot_real leaves[LEAVES * N];
    cot_real whole[N];
    cot_real halves[2][N];
    draw_normal(3, LEAVES * N, leaves);
    for (int part = -1; part < 2; part++) {
        cot_partial root = cot_partial_plain(part < 0 ? whole : halves[part]);
        size_t count = part < 0 ? LEAVES : LEAVES / 2;
        cot_partial_tree *tree = cot_partial_tree_create(count, TOKENS, D, &root);
        for (size_t i = 0; i < count; i++) {
            size_t leaf = part == 1 ? i + LEAVES / 2 : i;
            memcpy(cot_partial_tree_leaf(tree).numerators, leaves + leaf * N, N * sizeof *leaves);
            cot_partial_tree_push(tree, TOKENS);
        }
        cot_partial_tree_finish(tree, TOKENS);
        cot_partial_tree_destroy(&tree);
    }
    cot_partial a = cot_partial_plain(halves[0]);
    cot_partial b = cot_partial_plain(halves[1]);
    cot_partial_merge(&a, &b, TOKENS, D);
    assert_same_bits(halves[0], whole, N);
}

/* A block of samples and a part of one, whose other lanes are 0. */
enum { LANES = COT_FUSED_LANES, IN_LANES = (LANES + 3) * COT_FUSED_TOKENS };
enum { LEAVES_IN_LANES = 5, NUMBERS = IN_LANES * D, ROOM = 2 * COT_FUSED_TOKENS * LANES * D };

/* Where number d of a token is in lanes. */
static size_t place(size_t token, size_t d)
{
    size_t i = token / COT_FUSED_TOKENS;
    size_t t = token % COT_FUSED_TOKENS;
    return ((i / LANES * D + d) * COT_FUSED_TOKENS + t) * LANES + i % LANES;
}

/* A tree whose second leaf is empty, over drawn ones, in rows or in lanes. */
static void sum_leaves(const cot_partial *root)
{
    cot_real drawn[NUMBERS];
    cot_partial_tree *tree = cot_partial_tree_create(LEAVES_IN_LANES, IN_LANES, D, root);
    for (size_t b = 0; b < LEAVES_IN_LANES; b++) {
        cot_partial leaf = cot_partial_tree_leaf(tree);
        draw_normal(3 * b, NUMBERS, drawn);
        draw_normal(3 * b + 1, IN_LANES, leaf.max);
        draw_normal(3 * b + 2, IN_LANES, leaf.sum);
        cot_fill(root->in_lanes ? ROOM : NUMBERS, b == 1 ? NAN : 0, leaf.numerators);
        for (size_t i = 0; i < NUMBERS; i++)
            leaf.numerators[root->in_lanes ? place(i / D, i % D) : i] = drawn[i];
        if (b == 1) cot_partial_clear(&leaf, IN_LANES, D);
        cot_partial_tree_push(tree, IN_LANES);
    }
    cot_partial_tree_finish(tree, IN_LANES);
    cot_partial_tree_destroy(&tree);
}

static void lanes_are_as_rows(void **state)
{
    (void)state;
    cot_real rows[NUMBERS];
    cot_real lanes[ROOM];
    cot_real back[NUMBERS];
    cot_real marks[4][IN_LANES];
    const cot_partial in_rows = {.numerators = rows, .max = marks[0], .sum = marks[1]};
    const cot_partial in_lanes = {
        .numerators = lanes, .max = marks[2], .sum = marks[3], .in_lanes = true};
    sum_leaves(&in_rows);
    sum_leaves(&in_lanes);
    for (size_t i = 0; i < NUMBERS; i++) back[i] = lanes[place(i / D, i % D)];
    assert_same_bits(back, rows, NUMBERS);
    assert_same_bits(marks[2], marks[0], IN_LANES);
    assert_same_bits(marks[3], marks[1], IN_LANES);
    for (size_t t = IN_LANES; t < 2 * COT_FUSED_TOKENS * LANES; t++)
        for (size_t d = 0; d < D; d++) assert_true(lanes[place(t, d)] == 0);
}

/* Two blocks of tokens, or one and a part of one, of more columns than are taken out of lanes at a
 * time. */
enum { OUTPUTS = 2 * COT_PARTIAL_BLOCK, WIDTH = 19 };

typedef struct output_part {
    cot_real numerators[OUTPUTS * WIDTH], max[OUTPUTS], sum[OUTPUTS];
} output_part;

static void draw_part(uint64_t seed, output_part *part)
{
    draw_normal(seed, OUTPUTS * WIDTH, part->numerators);
    draw_normal(seed + 1, OUTPUTS, part->max);
    draw_normal(seed + 2, OUTPUTS, part->sum);
    for (size_t t = 0; t < OUTPUTS; t++) part->sum[t] = 1 + part->sum[t] * part->sum[t];
}

static cot_partial partial_of(output_part *part, bool in_lanes)
{
    return (cot_partial){part->numerators, part->max, part->sum, in_lanes};
}

static void make_outputs(const cot_partial *a, const cot_partial *b, size_t tokens, cot_real *y,
                         cot_real *lse)
{
    for (size_t t = 0; t < tokens; t += COT_PARTIAL_BLOCK) {
        size_t n = tokens - t < COT_PARTIAL_BLOCK ? tokens - t : COT_PARTIAL_BLOCK;
        cot_partial_outputs(a, b, t, n, WIDTH, y + t * WIDTH, lse + t);
    }
}

/* Number i of the rows [tokens,WIDTH] is where in lanes. */
static size_t output_place(size_t i)
{
    size_t token = i / WIDTH;
    size_t sample = token / COT_FUSED_TOKENS;
    size_t d = sample / LANES * WIDTH + i % WIDTH;
    return (d * COT_FUSED_TOKENS + token % COT_FUSED_TOKENS) * LANES + sample % LANES;
}

static void outputs_are_merged_and_divided(void **state)
{
    (void)state;
    static output_part parts[2], kept[2], lanes[2];
    static cot_real want[OUTPUTS * WIDTH], y[OUTPUTS * WIDTH];
    cot_real lse[OUTPUTS];
    cot_real logs[OUTPUTS];
    const size_t counts[] = {OUTPUTS, COT_PARTIAL_BLOCK + 3};
    for (int two = 0; two < 2; two++)
        for (size_t c = 0; c < 2; c++) {
            for (size_t i = 0; i < 2; i++) draw_part(3 * i, &parts[i]);
            memcpy(kept, parts, sizeof kept);
            cot_partial a = partial_of(&parts[0], false);
            cot_partial b = partial_of(&parts[1], false);
            make_outputs(&a, two != 0 ? &b : NULL, counts[c], y, lse);
            assert_memory_equal(kept, parts, sizeof kept);
            if (two != 0) cot_partial_merge(&a, &b, counts[c], WIDTH);
            for (size_t t = 0; t < counts[c]; t++) {
                cot_scale(WIDTH, 1 / a.sum[t], a.numerators + t * WIDTH, want + t * WIDTH);
                logs[t] = a.max[t] + (cot_real)log((double)a.sum[t]);
            }
            assert_same_bits(y, want, counts[c] * WIDTH);
            assert_same_bits(lse, logs, counts[c]);
        }
    /* The same from lanes, of whole blocks. */
    for (int two = 0; two < 2; two++) {
        cot_real in_rows[OUTPUTS];
        for (size_t i = 0; i < 2; i++) {
            draw_part(3 * i, &parts[i]);
            lanes[i] = parts[i];
            for (size_t j = 0; j < (size_t)OUTPUTS * WIDTH; j++)
                lanes[i].numerators[output_place(j)] = parts[i].numerators[j];
        }
        memcpy(kept, lanes, sizeof kept);
        cot_partial a[] = {partial_of(&parts[0], false), partial_of(&lanes[0], true)};
        cot_partial b[] = {partial_of(&parts[1], false), partial_of(&lanes[1], true)};
        make_outputs(&a[0], two != 0 ? &b[0] : NULL, OUTPUTS, want, in_rows);
        make_outputs(&a[1], two != 0 ? &b[1] : NULL, OUTPUTS, y, lse);
        assert_same_bits(y, want, OUTPUTS * WIDTH);
        assert_same_bits(lse, in_rows, OUTPUTS);
        assert_memory_equal(kept, lanes, sizeof kept);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(parts_make_the_whole_softmax),
    cmocka_unit_test(nothing_adds_nothing),
    cmocka_unit_test(nan_is_not_lost),
    cmocka_unit_test(plain_sums_nest),
    cmocka_unit_test(lanes_are_as_rows),
    cmocka_unit_test(outputs_are_merged_and_divided),
};

RUN_UNIT_TESTS(tests)
