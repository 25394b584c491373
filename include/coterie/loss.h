/** Losses of one batch of outputs, with their gradients. Not collective. */
#ifndef COTERIE_LOSS_H
#define COTERIE_LOSS_H

#include <coterie/real.h>

#include <stddef.h>

typedef enum cot_loss_kind { COT_CROSS_ENTROPY, COT_MEAN_SQUARED_ERROR } cot_loss_kind;

/** What the recipe says under `loss:`. */
typedef struct cot_loss_options {
    cot_loss_kind kind;
    /** Cross-entropy: this share of the target is spread evenly over the classes. */
    double label_smoothing;
} cot_loss_options;

/** Cross-entropy of one sample, with its label smoothed:
 *
 *     q = (1 - smoothing) onehot(label) + smoothing / classes
 *     loss = -sum q log softmax(logits)
 *     dlogits [classes] = scale (softmax(logits) - q), overwritten unless NULL
 *
 * Returns the loss. */
double cot_cross_entropy(size_t classes, const cot_real *logits, size_t label, double smoothing,
                         double scale, cot_real *dlogits);

/** Squared error of one sample, one output:
 *
 *     loss = (output - value)^2
 *     *doutput = 2 scale (output - value), unless doutput is NULL
 *
 * Returns the loss. */
double cot_squared_error(cot_real output, cot_real value, double scale, cot_real *doutput);

/** Index of the largest logit; the lowest of equal ones; n, no index, where one is NaN. */
size_t cot_argmax(size_t n, const cot_real *x);

#endif
