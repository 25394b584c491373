/** Optimizers. */
#ifndef COTERIE_OPTIMIZER_H
#define COTERIE_OPTIMIZER_H

#include <coterie/param.h>

typedef enum cot_optimizer_kind { COT_SGD, COT_ADAM, COT_ADAMW } cot_optimizer_kind;

/** What the recipe says under `optimizer:`. */
typedef struct cot_optimizer_options {
    cot_optimizer_kind kind;
    double learning_rate;
    double momentum;      /**< sgd */
    double beta1, beta2;  /**< adam, adamw */
    double epsilon;       /**< adam, adamw */
    double weight_decay;  /**< sgd and adam: added to the gradient; adamw: decoupled */
    double clip_norm;     /**< clip the global gradient norm to this; 0: off */
} cot_optimizer_options;

#endif
