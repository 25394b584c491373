#include "moe/partial.h"

#include "base/vector_clones.h"
#include "math/fused.h"

#include <coterie/memory.h>
#include <coterie/softmax.h>
#include <coterie/status.h>
#include <coterie/vector.h>

#include <float.h>

#ifdef COT_DOUBLE
static const cot_real lowest = -DBL_MAX;
#else
static const cot_real lowest = -FLT_MAX;
#endif

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES, BLOCK = T * L }; /* tokens in lanes */

/* Tokens that take up memory: whole blocks in lanes. */
static size_t places_of(bool in_lanes, size_t tokens)
{
    return in_lanes ? (tokens + BLOCK - 1) / BLOCK * BLOCK : tokens;
}

void cot_partial_clear(const cot_partial *partial, size_t tokens, size_t width)
{
    cot_fill(places_of(partial->in_lanes, tokens) * width, 0, partial->numerators);
    if (partial->max == NULL) return;
    cot_fill(tokens, lowest, partial->max);
    cot_fill(tokens, 0, partial->sum);
}

COT_VECTOR_CLONES
static void blend(size_t n, cot_real wa, cot_real wb, const cot_real *b, cot_real *a)
{
    for (size_t i = 0; i < n; i++) a[i] = wa * a[i] + wb * b[i];
}

/* One block, b and a [width,BLOCK]. */
COT_VECTOR_CLONES
static void blend_lanes(size_t width, const cot_real *restrict wa, const cot_real *restrict wb,
                        const cot_real *restrict b, cot_real *restrict a)
{
    for (size_t d = 0; d < width; d++, a += BLOCK, b += BLOCK)
        for (size_t i = 0; i < BLOCK; i++) a[i] = wa[i] * a[i] + wb[i] * b[i];
}

/* Where a token of a block is in its lanes. */
static size_t lane_of(size_t token)
{
    return token % T * L + token / T;
}

/* Some tokens, at most a block, from token `first` on, which begins a block. */
static void merge_tokens(const cot_partial *a, const cot_partial *b, size_t first, size_t tokens,
                         size_t width)
{
    cot_real wa[BLOCK] = {0};
    cot_real wb[BLOCK] = {0};
    cot_real *to = a->numerators + first * width;
    const cot_real *from = b->numerators + first * width;
    for (size_t i = 0; i < tokens; i++) {
        size_t at = a->in_lanes ? lane_of(i) : i;
        cot_real *max = a->max + first + i;
        cot_real largest = *max > b->max[first + i] ? *max : b->max[first + i];
        wa[at] = *max - largest;
        wb[at] = b->max[first + i] - largest;
        *max = largest;
    }
    cot_exp(places_of(a->in_lanes, tokens), wa, wa);
    cot_exp(places_of(a->in_lanes, tokens), wb, wb);
    for (size_t i = 0; i < tokens; i++) {
        size_t at = a->in_lanes ? lane_of(i) : i;
        cot_real *sum = a->sum + first + i;
        *sum = wa[at] * *sum + wb[at] * b->sum[first + i];
    }
    if (a->in_lanes)
        blend_lanes(width, wa, wb, from, to);
    else
        for (size_t i = 0; i < tokens; i++)
            blend(width, wa[i], wb[i], from + i * width, to + i * width);
}

void cot_partial_merge(const cot_partial *a, const cot_partial *b, size_t tokens, size_t width)
{
    if (a->max == NULL) {
        cot_add(tokens * width, b->numerators, a->numerators);
        return;
    }
    for (size_t t = 0; t < tokens; t += BLOCK)
        merge_tokens(a, b, t, tokens - t < BLOCK ? tokens - t : BLOCK, width);
}

struct cot_partial_tree {
    size_t width, levels;
    size_t leaves, top; /* pushed, and on the stack */
    cot_partial *stack; /* [levels]; the first is the root */
};

cot_partial_tree *cot_partial_tree_create(size_t leaves, size_t tokens, size_t width,
                                          const cot_partial *root)
{
    cot_partial_tree *tree = cot_alloc(1, sizeof *tree);
    tree->width = width;
    tree->levels = 2;
    while (((size_t)1 << (tree->levels - 1)) <= leaves) tree->levels++;
    tree->stack = cot_alloc(tree->levels, sizeof *tree->stack);
    tree->stack[0] = *root;
    for (size_t i = 1; i < tree->levels; i++) {
        tree->stack[i].in_lanes = root->in_lanes;
        tree->stack[i].numerators =
            cot_alloc(places_of(root->in_lanes, tokens) * width, sizeof(cot_real));
        if (root->max == NULL) continue;
        tree->stack[i].max = cot_alloc(tokens, sizeof(cot_real));
        tree->stack[i].sum = cot_alloc(tokens, sizeof(cot_real));
    }
    return tree;
}

void cot_partial_tree_destroy(cot_partial_tree **tree_at)
{
    cot_partial_tree *tree = *tree_at;
    if (tree == NULL) return;
    for (size_t i = 1; i < tree->levels; i++) {
        cot_free(tree->stack[i].sum);
        cot_free(tree->stack[i].max);
        cot_free(tree->stack[i].numerators);
    }
    cot_free(tree->stack);
    cot_free(tree);
    *tree_at = NULL;
}

void cot_partial_tree_set_root(cot_partial_tree *tree, const cot_partial *root)
{
    COT_ASSERT(tree->top == 0);
    tree->stack[0] = *root;
}

cot_partial cot_partial_tree_leaf(cot_partial_tree *tree)
{
    COT_ASSERT(tree->top < tree->levels);
    return tree->stack[tree->top];
}

static void merge_top(cot_partial_tree *tree, size_t tokens)
{
    tree->top--;
    cot_partial_merge(&tree->stack[tree->top - 1], &tree->stack[tree->top], tokens, tree->width);
}

void cot_partial_tree_push(cot_partial_tree *tree, size_t tokens)
{
    tree->top++;
    tree->leaves++;
    for (size_t n = tree->leaves; n % 2 == 0; n /= 2) merge_top(tree, tokens);
}

void cot_partial_tree_finish(cot_partial_tree *tree, size_t tokens)
{
    if (tree->top == 0) cot_partial_clear(&tree->stack[0], tokens, tree->width);
    while (tree->top > 1) merge_top(tree, tokens);
    tree->top = tree->leaves = 0;
}
