#include <coterie/blas.h>
#include <coterie/effects.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

#include <string.h>

struct cot_effects {
    const cot_model *model;
    const cot_soft_moe *layer; /* the last one */
    cot_moe_shape shape;
    size_t outputs;
    cot_real *mixed; /* [E,T,D]: what each expert adds to the tokens */
    cot_real *slots; /* [P,D] of one expert */
};

cot_effects *cot_effects_create(const cot_model *model)
{
    cot_effects *effects = cot_alloc(1, sizeof *effects);
    effects->model = model;
    effects->layer = cot_model_layer(model, cot_model_layers(model) - 1);
    effects->shape = *cot_model_shape(model);
    effects->outputs = cot_model_outputs(model);
    const cot_moe_shape *shape = &effects->shape;
    effects->mixed = cot_alloc(shape->E * shape->T * shape->D, sizeof *effects->mixed);
    effects->slots = cot_alloc(shape->P * shape->D, sizeof *effects->slots);
    return effects;
}

void cot_effects_destroy(cot_effects **effects)
{
    if (*effects == NULL) return;
    cot_free((*effects)->slots);
    cot_free((*effects)->mixed);
    cot_free(*effects);
    *effects = NULL;
}

/* mixed_e [T,D] = Cmb_e (slot outputs of e [P,D]), with sample i's combine weights of expert e. */
static void mix_expert(cot_effects *effects, size_t i, const cot_real *combine, size_t e)
{
    const size_t T = effects->shape.T;
    const size_t D = effects->shape.D;
    const size_t P = effects->shape.P;
    for (size_t p = 0; p < P; p++)
        memcpy(effects->slots + p * D, cot_soft_moe_slot_output(effects->layer, i, e * P + p),
               D * sizeof(cot_real));
    cot_gemm(COT_N, COT_N, T, D, P, 1, combine + e * P, effects->shape.E * P, effects->slots, D, 0,
             effects->mixed + e * T * D, D);
}

void cot_effects_of(cot_effects *effects, size_t i, cot_real *base, cot_real *by_expert)
{
    const cot_moe_shape *shape = &effects->shape;
    const cot_head *head = cot_model_head(effects->model);
    cot_routing routing = cot_soft_moe_routing(effects->layer, i);
    for (size_t e = 0; e < shape->E; e++) mix_expert(effects, i, routing.combine, e);
    cot_head_project(head, shape->E, effects->mixed, by_expert);
    /* Without experts the layer's output is its input, where there is a residual, else 0. */
    const cot_real *residual = cot_model_residual(effects->model, i);
    cot_fill(effects->outputs, 0, base);
    if (residual != NULL) cot_head_project(head, 1, residual, base);
    const cot_real *bias = cot_head_bias(head);
    if (bias != NULL) cot_add(effects->outputs, bias, base);
}
