/** The kernels of math/fused.h all called alike, on numbers drawn, for their tests. */
#ifndef COTERIE_TEST_FUSED_H
#define COTERIE_TEST_FUSED_H

#include "math/fused.h"

/* ---- instruction sets ---- */

enum { FUSED_SETS = 3 };

typedef struct fused_set {
    const char *name;
    const cot_fused_kernels *kernels;
} fused_set;

/** Those that this processor has; returns how many. */
size_t fused_sets(fused_set list[FUSED_SETS]);

/* ---- what kernels work on ---- */

enum { FUSED_MOST_D = 67, FUSED_MOST_P = 3, FUSED_MOST_EXPERTS = 3, FUSED_MOST_SAMPLES = 40 };
enum { FUSED_MOST_ROW = FUSED_MOST_D + 2 * COT_FUSED_LANES };

/** Numbers in an array: samples [n,T,row] are the most; padding is wider than any vector. */
enum {
    FUSED_PADDING = 19,
    FUSED_COUNT = FUSED_MOST_SAMPLES * COT_FUSED_TOKENS * FUSED_MOST_ROW + 2 * FUSED_PADDING
};

/** Arrays [FUSED_COUNT]: what goes in, what results are before, and room for them, twice. */
typedef struct fused_arrays {
    cot_real *z, *w, *matrix, *bias, *hidden, *before;
    cot_real *results[2], *others[2];
} fused_arrays;

/** All of them drawn. */
fused_arrays fused_draw(void);
void fused_release(fused_arrays *arrays);

/** W1 and W2^T are the same numbers here, and so are z and dz, hidden rows and their gradients. */
typedef struct fused_problem {
    cot_fused_slots s;
    size_t n;   /**< samples, for `weights` alone: the others have one full block */
    size_t row; /**< from a token to the next, for `weights` alone */
    bool adds;
    const cot_real *z, *w, *matrix, *b1, *b2, *hidden;
    const cot_real *before; /**< what results are, with the padding on both sides */
} fused_problem;

fused_problem fused_problem_of(const fused_arrays *arrays, cot_fused_slots s, size_t n, bool biased,
                               bool adds);

/* ---- the kernels ---- */

/** What a result has a number for; nothing, where a kernel has one result alone. */
typedef enum fused_shape {
    FUSED_NOTHING,
    FUSED_WEIGHTS, /**< [slots,T,lanes] */
    FUSED_ROWS,    /**< [slots,H,lanes] */
    FUSED_TOKENS,  /**< [D,T,lanes], a sum over slots */
    FUSED_MATRICES /**< [experts,H,D] */
} fused_shape;

size_t fused_size(fused_shape shape, const cot_fused_slots *s);

enum { FUSED_IN_LANES = 5, FUSED_KERNELS = 6 }; /* `weights`, whose result is not, is the last */

typedef struct fused_kernel {
    const char *name;
    fused_shape results[2];
    void (*run)(const cot_fused_kernels *kernels, const fused_problem *p, cot_real *first,
                cot_real *second);
} fused_kernel;

extern const fused_kernel fused_kernels[FUSED_KERNELS];

/** Lay `before` into both results. */
void fused_begin(const fused_problem *p, cot_real *const results[2]);

/** Run a kernel on results that begin `offsets` after the padding. */
void fused_run(const fused_kernel *k, const fused_set *set, const fused_problem *p,
               const size_t offsets[2], cot_real *const results[2]);

#endif
