/** Sums over the experts inside a sample, by one binary tree over blocks of experts.
 *
 * A partial output of the combine softmax, whose sum runs over all slots, is for each token the
 * largest logit m of the slots at hand, the sum z of exp(L - m) over them, and the numerators N
 * [D], the same sum of exp(L - m) times the slots' outputs. Two of them make one:
 *
 *     m = max(m1, m2),  z = z1 exp(m1 - m) + z2 exp(m2 - m),  N likewise;  at the end Y = N / z
 *
 * Partial gradients with respect to the tokens simply add. Not collective. */
#ifndef COTERIE_MOE_PARTIAL_H
#define COTERIE_MOE_PARTIAL_H

#include "math/fused.h"

#include <coterie/real.h>

#include <stdbool.h>
#include <stddef.h>

/** Tokens of a block in lanes, and those that are merged at once. */
enum { COT_PARTIAL_BLOCK = COT_FUSED_TOKENS * COT_FUSED_LANES };

/** Of some tokens; max and sum are NULL for plain sums. */
typedef struct cot_partial {
    cot_real *numerators; /**< [tokens,D] */
    cot_real *max, *sum;  /**< [tokens] */
    bool in_lanes; /**< numerators are [blocks of samples,D,T,lanes], as of math/fused.h; not of
                      plain sums */
} cot_partial;

/** A plain sum. */
static inline cot_partial cot_partial_plain(cot_real *numerators)
{
    return (cot_partial){.numerators = numerators};
}

/** What no slot at all would give. */
void cot_partial_clear(const cot_partial *partial, size_t tokens, size_t width);

/** a = a and b, which lie alike. */
void cot_partial_merge(const cot_partial *a, const cot_partial *b, size_t tokens, size_t width);

/** Of at most COT_PARTIAL_BLOCK tokens from `first` on, which is a multiple of it, and in lanes
 * just as many: y [tokens,D] = N / z of a and b together, or of a alone where b is NULL, and lse
 * [tokens] = m + log z. Neither changes. */
void cot_partial_outputs(const cot_partial *a, const cot_partial *b, size_t first, size_t tokens,
                         size_t width, cot_real *y, cot_real *lse);

typedef struct cot_partial_tree cot_partial_tree;

/** For at most `leaves` leaves of at most `tokens` tokens of `width` numbers; the result will be in
 * `root`, which outlives it and whose kind the leaves are of. */
cot_partial_tree *cot_partial_tree_create(size_t leaves, size_t tokens, size_t width,
                                          const cot_partial *root);

/** Before the first leaf: the result will be there instead. */
void cot_partial_tree_set_root(cot_partial_tree *tree, const cot_partial *root);
void cot_partial_tree_destroy(cot_partial_tree **tree);

/** The next leaf, to be overwritten; then it is complete; and the sum of all of them is made, in
 * the root. */
cot_partial cot_partial_tree_leaf(cot_partial_tree *tree);
void cot_partial_tree_push(cot_partial_tree *tree, size_t tokens);
void cot_partial_tree_finish(cot_partial_tree *tree, size_t tokens);

#endif
