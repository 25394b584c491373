/** Activations of the experts, elementwise: an element gets the same bits at any position and
 * length. Not collective. */
#ifndef COTERIE_ACTIVATION_H
#define COTERIE_ACTIVATION_H

#include <coterie/real.h>

#include <stddef.h>

typedef enum cot_activation {
    COT_RELU, /**< max(x, 0) */
    COT_GELU  /**< x Phi(x), exact, by erf (Hendrycks and Gimpel 2016) */
} cot_activation;

/** y[i] = f(x[i]). y may alias x. */
void cot_activate(cot_activation kind, size_t n, const cot_real *x, cot_real *y);

/** dx[i] = dy[i] f'(x[i]), where x is what went into f. dx may alias dy. The derivative of ReLU at
 * 0 is 0. */
void cot_activate_backward(cot_activation kind, size_t n, const cot_real *x, const cot_real *dy,
                           cot_real *dx);

#endif
