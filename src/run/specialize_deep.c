/* A model of several Soft MoE layers: a subset in one layer changes what the next layers see, so
 * the model runs once for each order, seed and K, and for each share of the combine mass. */
#include "run/specializer.h"

#include <math.h>

/* `kept` points to one sample's masks, layer by layer. */
static void point_to_kept(specializer *s, size_t i)
{
    const size_t E = cot_model_shape(s->ex->model)->E;
    for (size_t layer = 0; layer < cot_model_layers(s->ex->model); layer++) {
        const uint8_t *masks = cot_soft_moe_kept(cot_model_layer(s->ex->model, layer));
        s->kept[layer] = masks != NULL ? masks + i * E : s->all_kept;
    }
}

static size_t seeds_of(const specializer *s, cot_order order)
{
    if (!s->plan.orders[order]) return 0;
    return order == COT_ORDER_RANDOM ? s->options->seeds : 1;
}

void specialize_add_complete(specializer *s, size_t grain, size_t i, const cot_real *outputs)
{
    point_to_kept(s, i);
    for (int order = 0; order < COT_ORDERS; order++)
        for (size_t seed = 0; seed < seeds_of(s, (cot_order)order); seed++)
            cot_study_add_outputs(s->study, grain, (cot_order)order, seed, s->plan.keeps.count - 1,
                                  outputs, s->ex->targets + i, s->kept);
}

/* ---- by order, seed and K ---- */

static void run_subset(specializer *s, cot_order order, size_t seed, size_t keep_index)
{
    cot_selector *selector =
        cot_selector_order(order, s->options->first_seed + seed, cot_model_shape(s->ex->model)->E,
                           s->plan.keeps.sizes[keep_index]);
    for (size_t b = 0; b < specialize_batch_count(s); b++) {
        cot_batch batch = specialize_batch(s, b);
        const cot_real *outputs = cot_experiment_forward(s->ex, &batch, NULL, selector);
        cot_grains grains = cot_model_grains(s->ex->model, batch.samples);
        for (size_t i = 0; i < cot_grains_size(&grains); i++) {
            point_to_kept(s, i);
            cot_study_add_outputs(s->study, cot_model_grain_of(s->ex->model, i), order, seed,
                                  keep_index, outputs + i * s->ex->outputs, s->ex->targets + i,
                                  s->kept);
        }
        specialize_advance(s, "studying");
    }
    cot_selector_destroy(&selector);
}

/* ---- by share of the mass ---- */

static cot_status advance(void *context, const cot_experiment *ex, size_t first, size_t count,
                          const cot_real *outputs)
{
    (void)ex, (void)first, (void)count, (void)outputs;
    specialize_advance(context, "studying");
    return COT_OK;
}

static cot_status run_mass(specializer *s, size_t m)
{
    cot_evaluation evaluation = {0};
    cot_selector *selector =
        cot_selector_mass(cot_model_shape(s->ex->model)->E, s->options->masses[m]);
    cot_observer observer = {advance, s};
    cot_status status = cot_evaluate(s->ex, s->options->split, selector, &observer, &evaluation);
    cot_selector_destroy(&selector);
    if (status != COT_OK) return status;
    s->masses[0][m] = evaluation.classes > 0 ? evaluation.accuracy : evaluation.relative_error;
    s->masses[1][m] = evaluation.loss;
    s->masses[2][m] = evaluation.kept_mean;
    s->masses[3][m] = evaluation.kept_deviation;
    cot_evaluation_free(&evaluation);
    return COT_OK;
}

/* ---- all of them ---- */

size_t specialize_deep_passes(const specializer *s)
{
    size_t passes = s->options->mass_count;
    for (int order = 0; order < COT_ORDERS; order++)
        passes += seeds_of(s, (cot_order)order) * (s->plan.keeps.count - 1);
    return passes;
}

cot_status specialize_deep(specializer *s)
{
    for (int order = 0; order < COT_ORDERS; order++)
        for (size_t seed = 0; seed < seeds_of(s, (cot_order)order); seed++)
            for (size_t k = 0; k + 1 < s->plan.keeps.count; k++)
                run_subset(s, (cot_order)order, seed, k);
    for (size_t m = 0; m < s->options->mass_count; m++) COT_TRY(run_mass(s, m));
    return COT_OK;
}

void specialize_list_masses(specializer *s)
{
    const bool classifies = cot_experiment_classifies(s->ex);
    const cot_dimension mass = {.name = "mass",
                                .size = s->options->mass_count,
                                .type = COT_H5_FLOAT64,
                                .values = s->options->masses,
                                .meaning = "share of the combine mass that is kept"};
    const cot_variable variables[] = {
        {.name = classifies ? "accuracy_mass" : "relative_error_mass",
         .meaning = classifies ? "share of samples predicted right"
                               : "mean squared error over the target's variance"},
        {.name = "loss_mass", .meaning = "mean loss"},
        {.name = "kept_mass_mean", .meaning = "experts kept, mean over samples and layers"},
        {.name = "kept_mass_sd",
         .meaning = "experts kept, standard deviation over samples and layers"}};
    cot_catalog_add_dimension(&s->catalog, &mass);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        cot_variable variable = variables[i];
        variable.axes = "mass";
        variable.units = i == 1 && classifies ? "nat" : "1";
        variable.type = COT_H5_FLOAT64;
        variable.data = s->masses[i];
        cot_catalog_add(&s->catalog, &variable);
    }
}
