/** The model `patch`: image -> non-overlapping patches -> optional linear embedding -> Soft MoE layers -> head. */
#ifndef COTERIE_MODEL_H
#define COTERIE_MODEL_H

#include <coterie/expert_bank.h>
#include <coterie/router.h>

typedef enum cot_model_kind { COT_MODEL_PATCH } cot_model_kind;
typedef enum cot_pool { COT_POOL_FLATTEN, COT_POOL_MEAN } cot_pool;

/** What the recipe says under `model:` and `router:`. */
typedef struct cot_model_options {
    cot_model_kind kind;
    size_t patch_height, patch_width;
    size_t embed; /**< token width D of the linear embedding; 0: the tokens are the patches */
    bool embed_bias;
    size_t layers;
    bool residual;
    size_t experts, slots;                    /**< E, and P slots per expert */
    size_t expert_hidden, expert_hidden_total; /**< one of them is not 0 */
    cot_activation activation;
    bool expert_bias;
    cot_pool pool;
    bool head_bias;
    cot_router_options router;
} cot_model_options;

#endif
