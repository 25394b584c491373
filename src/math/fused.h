/* The products of a Soft MoE layer with small experts, without slots in memory: kernels of our own.
 *
 * By slots, a sample's tokens are mixed into slots, which the experts read; what they give is mixed
 * into tokens again. With few tokens and hidden units each of these products has only T or H
 * multiply-adds for a number of a slot, so that its time goes into loads, stores and sums across a
 * vector. Here a slot's number, sum_t w[t] x[t,d], lives in a register from the one product to the
 * next. For that, sixteen samples lie side by side in the lanes of vectors ("lanes" below), and one
 * weight of an expert meets all of them.
 *
 * The weights that mix a sample's tokens into a slot sum to 1 over the tokens (those of combine
 * once they are divided by their sum). So tokens are held apart, as differences to the last one,
 *
 *     z[t] = x[t] - x[T-1] for t < T - 1,  z[T-1] = x[T-1],
 *     sum_t w[t] x[t] = z[T-1] + sum_{t<T-1} w[t] z[t],
 *
 * which saves a multiply-add of each number of a slot. A slot's number is off by some epsilons of
 * the largest token, whatever that one's weight.
 *
 * A batch's numbers are in lanes as [blocks of samples][...][COT_FUSED_LANES], with 0 for samples
 * that there are not. Every sum of a sample is its own, in an order that no other sample, slot or
 * expert has a part in, so it has the same bits in any company. */
#ifndef COTERIE_MATH_FUSED_H
#define COTERIE_MATH_FUSED_H

#include <coterie/real.h>

#include <stdbool.h>
#include <stddef.h>

enum {
    COT_FUSED_LANES = 16,
    COT_FUSED_TOKENS = 4, /* T: four it is */
    COT_FUSED_HIDDEN = 12 /* H: at the most */
};

/* Consecutive slots, of whole experts with P each, on one block of samples. Weights w of dispatch
 * or combine [slots,T,lanes], hidden rows [slots,H,lanes]; an expert's W1 and W2^T [D,H], and its
 * biases [H] and [D], or NULL without them. No result overlaps an argument. */
typedef struct cot_fused_slots {
    size_t D, H, P, slots;
} cot_fused_slots;

typedef struct cot_fused_kernels {
    /* hidden = W1^T mixed + b1, where mixed = z[T-1] + sum_{t<T-1} w[t] z[t], with z [D,T,lanes].
     */
    void (*hidden)(const cot_fused_slots *s, const cot_real *z, const cot_real *w,
                   const cot_real *w1, const cot_real *b1, cot_real *hidden);
    /* y[t] += the sum over slots of w[t] (W2^T hidden + b2), y [D,T,lanes]; from 0 unless `adds`.
     */
    void (*outputs)(const cot_fused_slots *s, const cot_real *w, const cot_real *w2_t,
                    const cot_real *b2, const cot_real *hidden, bool adds, cot_real *y);
    /* dw[t] = dy[t] . (W2^T hidden + b2),  dhidden = W2 mixed, with dz [D,T,lanes] of dy. */
    void (*outputs_backward)(const cot_fused_slots *s, const cot_real *dz, const cot_real *w,
                             const cot_real *w2_t, const cot_real *b2, const cot_real *hidden,
                             cot_real *dw, cot_real *dhidden);
    /* dw[t] = (x[t] - x[T-1]) . W1 dhidden, all that a softmax over tokens asks for, and, unless dx
     * is NULL, dx[t] += the sum over slots of w[t] W1 dhidden, from 0 unless `adds`. */
    void (*inputs_backward)(const cot_fused_slots *s, const cot_real *z, const cot_real *w,
                            const cot_real *w1, const cot_real *dhidden, bool adds, cot_real *dw,
                            cot_real *dx);
    /* dweights [experts,H,D] += the sum over the expert's slots, and for each over n samples, of
     * hidden mixed^T: z [n,T,D] is in rows, of tokens `row` numbers apart, where D rounded up to
     * lanes are at least; w and hidden have a block of samples after the other. */
    void (*weights)(const cot_fused_slots *s, size_t n, const cot_real *z, size_t row,
                    const cot_real *w, const cot_real *hidden, cot_real *dweights);
    /* Numbers x[i,c] at x[i * row + c] of n samples into lanes [cols] that lie `col` apart, and
     * back. */
    void (*to_lanes)(size_t n, size_t cols, const cot_real *x, size_t row, cot_real *lanes,
                     size_t col);
    void (*from_lanes)(size_t n, size_t cols, const cot_real *lanes, size_t col, cot_real *x,
                       size_t row);
} cot_fused_kernels;

extern const cot_fused_kernels cot_fused_kernels_plain;
#ifdef __x86_64__
extern const cot_fused_kernels cot_fused_kernels_avx2, cot_fused_kernels_avx512;
#endif

/* Those that this processor takes. */
const cot_fused_kernels *cot_fused_kernels_chosen(void);

#endif
