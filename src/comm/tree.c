#include <coterie/memory.h>
#include <coterie/status.h>
#include <coterie/tree.h>

#include <string.h>

/* The sums of this layer stand by themselves: comm knows nothing of math. */
static void add(size_t n, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void add_double(size_t n, const double *x, double *y)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

/* A binary counter of partial sums: level l holds the sum of 2^l leaves, as a counter's bit l. Sums
 * wait on a stack, the widest at the bottom. */
struct cot_tree {
    size_t size;
    size_t depth;  /* sums on the stack */
    size_t pushed; /* leaves so far */
    size_t room;   /* arrays on the stack at the most */
    cot_real *stack;
};

cot_tree *cot_tree_create(size_t leaves, size_t size)
{
    cot_tree *tree = cot_alloc(1, sizeof *tree);
    tree->size = size;
    tree->room = 1;
    while (leaves > 1) {
        tree->room++;
        leaves = (leaves + 1) / 2;
    }
    tree->stack = cot_alloc(tree->room * size, sizeof *tree->stack);
    return tree;
}

void cot_tree_destroy(cot_tree **tree)
{
    if (*tree == NULL) return;
    cot_free((*tree)->stack);
    cot_free(*tree);
    *tree = NULL;
}

cot_real *cot_tree_leaf(cot_tree *tree)
{
    COT_ASSERT(tree->depth < tree->room);
    return tree->stack + tree->depth * tree->size;
}

/* The two sums on top become one. */
static void merge_top(cot_tree *tree)
{
    cot_real *upper = tree->stack + (tree->depth - 1) * tree->size;
    add(tree->size, upper, upper - tree->size);
    tree->depth--;
}

void cot_tree_push(cot_tree *tree)
{
    tree->depth++;
    tree->pushed++;
    for (size_t carry = tree->pushed; carry % 2 == 0; carry /= 2) merge_top(tree);
}

void cot_tree_finish(cot_tree *tree, cot_real *sum)
{
    while (tree->depth > 1) merge_top(tree);
    if (tree->depth == 1)
        memcpy(sum, tree->stack, tree->size * sizeof *sum);
    else
        memset(sum, 0, tree->size * sizeof *sum);
    tree->depth = 0;
    tree->pushed = 0;
}

void cot_tree_reduce(size_t parts, size_t size, cot_real *arrays)
{
    for (size_t step = 1; step < parts; step *= 2)
        for (size_t i = 0; i + step < parts; i += 2 * step)
            add(size, arrays + (i + step) * size, arrays + i * size);
}

void cot_tree_reduce_double(size_t parts, size_t size, double *arrays)
{
    for (size_t step = 1; step < parts; step *= 2)
        for (size_t i = 0; i + step < parts; i += 2 * step)
            add_double(size, arrays + (i + step) * size, arrays + i * size);
}
