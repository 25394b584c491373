/** The model `patch`: image -> non-overlapping patches -> optional linear embedding -> Soft MoE
 * layers -> head. */
#ifndef COTERIE_MODEL_H
#define COTERIE_MODEL_H

#include <coterie/head.h>
#include <coterie/patch.h>
#include <coterie/soft_moe.h>

typedef enum cot_model_kind { COT_MODEL_PATCH } cot_model_kind;

/** What the recipe says under `model:` and `router:`. */
typedef struct cot_model_options {
    cot_model_kind kind;
    size_t patch_height, patch_width;
    size_t embed; /**< token width D of the linear embedding; 0: the tokens are the patches */
    bool embed_bias;
    size_t layers;
    bool residual;
    size_t experts, slots;                     /**< E, and P slots per expert */
    size_t expert_hidden, expert_hidden_total; /**< one of them is not 0 */
    cot_activation activation;
    bool expert_bias;
    cot_pool pool;
    bool head_bias;
    cot_router_options router;
} cot_model_options;

/** The shape of the samples that come in and of what comes out. */
typedef struct cot_model_io {
    size_t channels, height, width;
    size_t outputs; /**< classes, or 1 */
} cot_model_io;

typedef struct cot_model cot_model;

/** Whether there can be such a model.
 * Errors: COT_E_CONFIG when patches do not divide the image. */
COT_MUST_CHECK cot_status cot_model_check(const cot_model_options *options, const cot_model_io *io);

/** T, D, E, P, H of the Soft MoE layers of such a model. */
cot_moe_shape cot_model_shape_of(const cot_model_options *options, const cot_model_io *io);

/** Register all parameters and take all memory. `comm` and `params` outlive the model. Collective
 * over the world.
 * Errors, on every rank alike: those of cot_model_check. */
COT_MUST_CHECK cot_status cot_model_create(const cot_model_options *options, const cot_model_io *io,
                                           const cot_batching *batching, const cot_comm *comm,
                                           cot_params *params, cot_model **model_out);
void cot_model_destroy(cot_model **model);

/** The grains of this rank in a batch of `samples` samples. */
cot_grains cot_model_grains(const cot_model *model, size_t samples);

/** Which of this rank's grains, from 0, its sample i was in in the last forward pass. */
size_t cot_model_grain_of(const cot_model *model, size_t i);

/** Room for this rank's samples, [b,C,H,W], to be filled before the forward pass. */
cot_real *cot_model_images(const cot_model *model);

/** Outputs [b,outputs] of the samples in cot_model_images. Collective over the expert group. */
const cot_real *cot_model_forward(cot_model *model, const cot_pass *pass);

/** From the gradient with respect to the outputs [b,outputs]: replicated gradients are overwritten
 * with the sum over this rank's samples, gathered ones (param.h) with that over all samples, expert
 * gradients are added to. Collective over the world. */
void cot_model_backward(cot_model *model, const cot_real *doutputs);

/** T, D, E, P, H of the Soft MoE layers, and how many there are. */
const cot_moe_shape *cot_model_shape(const cot_model *model);
size_t cot_model_layers(const cot_model *model);

/** Layer `index` of them. */
const cot_soft_moe *cot_model_layer(const cot_model *model, size_t index);

/** cot_soft_moe_set_chunks for every layer. Not collective. */
void cot_model_set_chunks(cot_model *model, size_t chunks);

/** Outputs of one sample: classes, or 1. */
size_t cot_model_outputs(const cot_model *model);

const cot_head *cot_model_head(const cot_model *model);

/** What the last layer's residual connection adds to the output [T,D] of this rank's sample i in
 * the last forward pass; NULL where there is none. */
const cot_real *cot_model_residual(const cot_model *model, size_t i);

#endif
