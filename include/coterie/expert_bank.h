/** The experts of one rank: two-layer MLPs D -> H -> D, forward and backward.
 *
 *     f_e(x) = W2^T act(W1^T x + b1) + b2
 *
 * Knows nothing of MPI. An expert's product takes all its rows: those of the batch at hand, or of
 * the expert group's part of it, whatever the number of ranks. So its shape, and with it the bits,
 * do not depend on the ranks. */
#ifndef COTERIE_EXPERT_BANK_H
#define COTERIE_EXPERT_BANK_H

#include <coterie/activation.h>
#include <coterie/param.h>
#include <coterie/router.h>
#include <coterie/slots.h>

typedef struct cot_expert_bank cot_expert_bank;

/** What becomes of the experts' hidden rows between the passes. */
typedef enum cot_hidden_rows {
    COT_HIDDEN_KEPT,      /**< all of them are kept */
    COT_HIDDEN_RECOMPUTED /**< one expert's at a time; the backward pass makes them again */
} cot_hidden_rows;

/** Register w1 [E,D,H], b1 [E,H], w2 [E,H,D], b2 [E,D] (biases when `bias`) under
 * "<prefix>.experts", and take workspace for buffers of at most `rows` rows, of which one expert
 * has at most `expert_rows`. Initial values are uniform in +-1/sqrt(fan_in). */
cot_expert_bank *cot_expert_bank_create(const cot_moe_shape *shape, cot_activation activation,
                                        bool bias, size_t rows, size_t expert_rows,
                                        cot_hidden_rows hidden, cot_params *params,
                                        const char *prefix);
void cot_expert_bank_destroy(cot_expert_bank **bank);

/** Its parameters; biases are NULL where there are none. */
typedef struct cot_expert_params {
    const cot_param *w1, *b1, *w2, *b2;
} cot_expert_params;
cot_expert_params cot_expert_bank_params(const cot_expert_bank *bank);

/** Which rows are at work: consecutive experts of this rank, and where their hidden rows are kept
 * between the passes. */
typedef struct cot_bank_rows {
    const cot_slots *slots;       /**< of these experts alone */
    size_t first_expert;          /**< the first of them, among this rank's */
    size_t first_hidden;          /**< row of the bank's memory for their first row */
    void (*pause)(void *context); /**< called between two products; NULL: nobody wants to be */
    void *context;
} cot_bank_rows;

/** Whether experts of this shape are small, by the shape alone. */
bool cot_expert_bank_is_small(const cot_moe_shape *shape);

/** Take the weights as they are now, before forward passes whenever they may have changed; and add
 * to the gradients of so many experts what is left of backward passes, behind the last of them.
 * Small experts are kept transposed too, see expert_bank.c. */
void cot_expert_bank_load(cot_expert_bank *bank);
void cot_expert_bank_finish(cot_expert_bank *bank, size_t first, size_t experts);

/** Of this rank's expert number `expert`, what a forward pass alone needs to have taken. */
void cot_expert_bank_load_forward(cot_expert_bank *bank, size_t expert);

/** What cot_expert_bank_finish adds to the gradient of W1, of small experts: [H,D] of this rank's
 * expert number `expert`, and of the next behind it. */
cot_real *cot_expert_bank_dw1_transposed(cot_expert_bank *bank, size_t expert);

/** out [rows,D] = f_e(in [rows,D]) row by row. out may not alias in. */
void cot_expert_bank_forward(cot_expert_bank *bank, const cot_bank_rows *rows, const cot_real *in,
                             cot_real *out);

/** What the forward pass of the same rows gave, again: from the hidden rows, or from `in` where
 * they are computed again. */
void cot_expert_bank_outputs(cot_expert_bank *bank, const cot_bank_rows *rows, const cot_real *in,
                             cot_real *out);

/** From in and dout [rows,D], after the forward pass of the same rows: adds to the gradients of the
 * parameters, and the gradient with respect to `in` overwrites dout. */
void cot_expert_bank_backward(cot_expert_bank *bank, const cot_bank_rows *rows, const cot_real *in,
                              cot_real *dout);

/** The same in two halves, so that the second can be at work while what the first gave travels. The
 * gradient with respect to `in` overwrites `in`, and those of w1 and b1 are added to; then, from
 * dout and the hidden rows, those of w2 and b2. The same bits. Where hidden rows are computed
 * again, the second half must follow the first at once, expert by expert. */
void cot_expert_bank_backward_inputs(cot_expert_bank *bank, const cot_bank_rows *rows, cot_real *in,
                                     const cot_real *dout);
void cot_expert_bank_backward_outputs(cot_expert_bank *bank, const cot_bank_rows *rows,
                                      const cot_real *dout);

#endif
