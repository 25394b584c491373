/** Ordered sums of arrays over grains: leaves add in one fixed binary tree, whoever holds them.
 *
 * A tree over n leaves pairs neighbours, then pairs of pairs, and so on. Where the leaves are cut
 * into blocks of a power of two, the tree over all the leaves is the tree over the blocks' sums: so
 * ranks that own whole grains sum their own first (cot_tree) and then each other's
 * (cot_ordered_sum), and get the same bits on every such number of ranks. Nothing here is
 * collective. */
#ifndef COTERIE_TREE_H
#define COTERIE_TREE_H

#include <coterie/real.h>

#include <stddef.h>

typedef struct cot_tree cot_tree;

/** A tree for at most `leaves` leaves of `size` elements; holds log2(leaves) + 1 of them at a
 * time. */
cot_tree *cot_tree_create(size_t leaves, size_t size);
void cot_tree_destroy(cot_tree **tree);

/** Memory for the next leaf, [size], to be overwritten by the caller. */
cot_real *cot_tree_leaf(cot_tree *tree);

/** The leaf is complete: add up what pairs with it. */
void cot_tree_push(cot_tree *tree);

/** sum [size] = the sum of the leaves pushed (0 for none); the tree is empty again. */
void cot_tree_finish(cot_tree *tree, cot_real *sum);

/** Sum `parts` arrays of `size` elements, one after the other in `arrays`, by the same tree; the
 * result overwrites the first of them, and the others are spoilt. */
void cot_tree_reduce(size_t parts, size_t size, cot_real *arrays);
void cot_tree_reduce_double(size_t parts, size_t size, double *arrays);

#endif
