#include "moe/partial.h"

#include "base/vector_clones.h"

#include <coterie/memory.h>
#include <coterie/softmax.h>
#include <coterie/status.h>
#include <coterie/vector.h>

#include <float.h>
#include <math.h>
#include <string.h>

#ifdef COT_DOUBLE
static const cot_real lowest = -DBL_MAX;
#else
static const cot_real lowest = -FLT_MAX;
#endif

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES, BLOCK = COT_PARTIAL_BLOCK };

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

/* What two parts are worth in their sum, or one alone where b is NULL, of at most a block of
 * tokens: of token i at lane_of(i) in lanes, else at i. */
typedef struct worth {
    cot_real a[BLOCK], b[BLOCK];
    cot_real max[BLOCK], sum[BLOCK]; /* of both; by token */
} worth;

static void weigh(const cot_partial *a, const cot_partial *b, size_t first, size_t tokens, worth *w)
{
    *w = (worth){0};
    if (b == NULL) {
        memcpy(w->max, a->max + first, tokens * sizeof *w->max);
        memcpy(w->sum, a->sum + first, tokens * sizeof *w->sum);
        return;
    }
    for (size_t i = 0; i < tokens; i++) {
        size_t at = a->in_lanes ? lane_of(i) : i;
        cot_real max_a = a->max[first + i];
        cot_real max_b = b->max[first + i];
        w->max[i] = max_a > max_b ? max_a : max_b;
        w->a[at] = max_a - w->max[i];
        w->b[at] = max_b - w->max[i];
    }
    cot_exp(places_of(a->in_lanes, tokens), w->a, w->a);
    cot_exp(places_of(a->in_lanes, tokens), w->b, w->b);
    for (size_t i = 0; i < tokens; i++) {
        size_t at = a->in_lanes ? lane_of(i) : i;
        w->sum[i] = w->a[at] * a->sum[first + i] + w->b[at] * b->sum[first + i];
    }
}

/* Some tokens, at most a block, from token `first` on, which begins a block. */
static void merge_tokens(const cot_partial *a, const cot_partial *b, size_t first, size_t tokens,
                         size_t width)
{
    cot_real *to = a->numerators + first * width;
    const cot_real *from = b->numerators + first * width;
    worth w;
    weigh(a, b, first, tokens, &w);
    memcpy(a->max + first, w.max, tokens * sizeof *w.max);
    memcpy(a->sum + first, w.sum, tokens * sizeof *w.sum);
    if (a->in_lanes)
        blend_lanes(width, w.a, w.b, from, to);
    else
        for (size_t i = 0; i < tokens; i++)
            blend(width, w.a[i], w.b[i], from + i * width, to + i * width);
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

/* y = (wa a + wb b) inverse, where b is NULL a inverse. */
COT_VECTOR_CLONES
static void finish_row(size_t n, cot_real wa, cot_real wb, cot_real inverse, const cot_real *a,
                       const cot_real *b, cot_real *restrict y)
{
    if (b == NULL)
        for (size_t i = 0; i < n; i++) y[i] = inverse * a[i];
    else
        for (size_t i = 0; i < n; i++) y[i] = inverse * (wa * a[i] + wb * b[i]);
}

/* Some columns of a block. */
COT_VECTOR_CLONES
static void finish_lanes(size_t cols, const cot_real *wa, const cot_real *wb,
                         const cot_real *inverse, const cot_real *a, const cot_real *b,
                         cot_real *restrict y)
{
    for (size_t d = 0; d < cols; d++)
        if (b == NULL)
            for (size_t i = 0; i < BLOCK; i++) y[d * BLOCK + i] = inverse[i] * a[d * BLOCK + i];
        else
            for (size_t i = 0; i < BLOCK; i++)
                y[d * BLOCK + i] =
                    inverse[i] * (wa[i] * a[d * BLOCK + i] + wb[i] * b[d * BLOCK + i]);
}

/* A whole block's outputs from lanes to rows, some columns at a time. */
static void outputs_from_lanes(size_t width, const worth *w, const cot_real *inverse,
                               const cot_real *a, const cot_real *b, cot_real *y)
{
    enum { COLUMNS = 16 };
    cot_real part[COLUMNS * BLOCK];
    for (size_t d = 0; d < width; d += COLUMNS) {
        const size_t cols = width - d < COLUMNS ? width - d : COLUMNS;
        finish_lanes(cols, w->a, w->b, inverse, a + d * BLOCK, b != NULL ? b + d * BLOCK : NULL,
                     part);
        for (size_t t = 0; t < T; t++)
            cot_fused_kernels_chosen()->from_lanes(L, cols, part + t * L, BLOCK, y + t * width + d,
                                                   T * width);
    }
}

void cot_partial_outputs(const cot_partial *a, const cot_partial *b, size_t first, size_t tokens,
                         size_t width, cot_real *y, cot_real *lse)
{
    const cot_real *from_a = a->numerators + first * width;
    const cot_real *from_b = b != NULL ? b->numerators + first * width : NULL;
    cot_real inverse[BLOCK];
    worth w;
    COT_ASSERT(tokens == BLOCK || (tokens < BLOCK && !a->in_lanes));
    weigh(a, b, first, tokens, &w);
    for (size_t i = 0; i < tokens; i++) {
        inverse[a->in_lanes ? lane_of(i) : i] = 1 / w.sum[i];
        lse[i] = w.max[i] + (cot_real)log((double)w.sum[i]);
    }
    if (a->in_lanes) {
        outputs_from_lanes(width, &w, inverse, from_a, from_b, y);
        return;
    }
    for (size_t i = 0; i < tokens; i++)
        finish_row(width, w.a[i], w.b[i], inverse[i], from_a + i * width,
                   b != NULL ? from_b + i * width : NULL, y + i * width);
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
    tree->levels = 1;
    while (((size_t)1 << tree->levels) <= leaves) tree->levels++;
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
