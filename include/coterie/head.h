/** The head: one linear layer on a sample's flattened tokens or on their mean. Not collective. */
#ifndef COTERIE_HEAD_H
#define COTERIE_HEAD_H

#include <coterie/linear.h>

typedef enum cot_pool {
    COT_POOL_FLATTEN, /**< x [T,D] as one row of T D numbers */
    COT_POOL_MEAN     /**< the mean over the tokens */
} cot_pool;

typedef struct cot_head cot_head;

/** Register head.w [in,out] and, with `bias`, head.b [out], with in = T D or D, for at most
 * `capacity` samples here. */
cot_head *cot_head_create(cot_pool pool, size_t tokens, size_t width, size_t outputs, bool bias,
                          size_t capacity, size_t grains, cot_params *params);
void cot_head_destroy(cot_head **head);

/** y [b,out] from x [b,T,D], which is needed by the backward pass. */
void cot_head_forward(cot_head *head, const cot_grains *grains, const cot_real *x, cot_real *y);

/** From x and dy [b,out]: the parameters' grad is overwritten (cot_linear_backward), dx [b,T,D]
 * too. */
void cot_head_backward(cot_head *head, const cot_grains *grains, const cot_real *x,
                       const cot_real *dy, cot_real *dx);

/** The part of the head that is linear in the tokens: y [n,outputs] = head(x [n,T,D]) without the
 * bias. */
void cot_head_project(const cot_head *head, size_t n, const cot_real *x, cot_real *y);

/** The bias [outputs], or NULL where there is none. */
const cot_real *cot_head_bias(const cot_head *head);

#endif
