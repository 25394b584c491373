/** Optimizers: SGD with momentum, Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019).
 * Elementwise, so a shard is updated as the whole would be. Not collective. */
#ifndef COTERIE_OPTIMIZER_H
#define COTERIE_OPTIMIZER_H

#include <coterie/param.h>

typedef enum cot_optimizer_kind { COT_SGD, COT_ADAM, COT_ADAMW } cot_optimizer_kind;

/** What the recipe says under `optimizer:`. */
typedef struct cot_optimizer_options {
    cot_optimizer_kind kind;
    double learning_rate;
    double momentum;     /**< sgd */
    double beta1, beta2; /**< adam, adamw */
    double epsilon;      /**< adam, adamw */
    /** sgd and adam: added to the gradient; adamw: decoupled. Weights only, never biases or
     * scales. */
    double weight_decay;
    double clip_norm; /**< clip the global gradient norm to this; 0: off */
} cot_optimizer_options;

typedef struct cot_optimizer cot_optimizer;

/** `params` (allocated) outlive it. Moments start at 0. */
cot_optimizer *cot_optimizer_create(const cot_optimizer_options *options, cot_params *params);
void cot_optimizer_destroy(cot_optimizer **optimizer);

/** Step number `step` (1, 2, ...) with this learning rate, on the gradients times `gradient_scale`
 * (clipping). Frozen parameters stay. */
void cot_optimizer_step(cot_optimizer *optimizer, uint64_t step, double learning_rate,
                        double gradient_scale);

/** Moments for the checkpoint: their number (sgd 1, adam 2), names ("m", "v") and arrays laid out
 * as cot_params_values. */
size_t cot_optimizer_moments(const cot_optimizer *optimizer);
const char *cot_optimizer_moment_name(const cot_optimizer *optimizer, size_t i);
cot_real *cot_optimizer_moment(const cot_optimizer *optimizer, size_t i);

#endif
