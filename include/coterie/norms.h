/** Squared L2 norms of parameters, gradients, moments: per replicated parameter, and per expert of
 * a sharded one.
 *
 * Every expert counts once, wherever it lives, and sums run in one order (parameters as registered,
 * experts by index), so a norm has the same bits on every number of ranks. */
#ifndef COTERIE_NORMS_H
#define COTERIE_NORMS_H

#include <coterie/comm.h>
#include <coterie/param.h>

typedef struct cot_norms cot_norms;

/** `comm` and `params` (allocated) outlive it. Not collective. */
cot_norms *cot_norms_create(const cot_comm *comm, const cot_params *params);
void cot_norms_destroy(cot_norms **norms);

/** Measure an array laid out as cot_params_values. Returns the bytes that this rank sent.
 * Collective over the expert group. */
size_t cot_norms_measure(cot_norms *norms, const cot_real *array);

/** Of the last array measured, the sum of squares of parameter i (cot_params_at), or of its expert
 * e if it is sharded (else e is 0). */
double cot_norms_squares(const cot_norms *norms, size_t i, size_t e);

/** The L2 norm over all parameters; frozen ones are left out. NaN or Inf when any number is. */
double cot_norms_total(const cot_norms *norms);

/** Where the first number that is not finite was found. */
typedef struct cot_norms_fault {
    const cot_param *param;
    size_t expert; /**< of a sharded parameter */
    int rank;      /**< the lowest that owns the expert; of a replicated parameter, 0 */
} cot_norms_fault;

/** Whether any number is NaN or Inf, and where first: an expert's before a replicated one, because
 * it says more. */
bool cot_norms_find_fault(const cot_norms *norms, cot_norms_fault *fault_out);

#endif
