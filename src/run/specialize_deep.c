/* A model of several Soft MoE layers: a subset in one layer changes what the next layers see, so
 * the model runs once for each order, seed and K, and for each share of the combine mass. */
#include "run/specializer.h"

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

/* ---- a run for each subset ---- */

/* One run over the split: what chooses, and to which point of which curve it belongs. */
typedef struct subset_run {
    cot_selector *selector;
    bool by_mass;    /* else by order */
    cot_order order; /* with its seed, the first being 0 */
    size_t seed;
    size_t index; /* of K, or of M */
} subset_run;

static void add_sample(specializer *s, const subset_run *run, size_t i, const cot_real *outputs)
{
    const cot_target *target = s->ex->targets + i;
    size_t grain = cot_model_grain_of(s->ex->model, i);
    point_to_kept(s, i);
    if (run->by_mass)
        cot_study_add_mass_outputs(s->study, grain, run->index, outputs, target, s->kept);
    else
        cot_study_add_outputs(s->study, grain, run->order, run->seed, run->index, outputs, target,
                              s->kept);
}

static cot_status run_split(specializer *s, const subset_run *run)
{
    for (size_t b = 0; b < specialize_batch_count(s); b++) {
        cot_batch batch = specialize_batch(s, b);
        const cot_real *outputs = cot_experiment_forward(s->ex, &batch, NULL, run->selector);
        cot_grains grains = cot_model_grains(s->ex->model, batch.samples);
        for (size_t i = 0; i < cot_grains_size(&grains); i++)
            add_sample(s, run, i, outputs + i * s->ex->outputs);
        COT_TRY(specialize_advance(s, "studying"));
    }
    return COT_OK;
}

static cot_status run_order(specializer *s, cot_order order, size_t seed, size_t keep_index)
{
    subset_run run = {.order = order, .seed = seed, .index = keep_index};
    const size_t E = cot_model_shape(s->ex->model)->E;
    const size_t keep = s->plan.keeps.sizes[keep_index];
    run.selector = order == COT_ORDER_COMMON
                       ? cot_selector_common(specialize_mass(s), E, keep)
                       : cot_selector_order(order, s->options->first_seed + seed, E, keep);
    cot_status status = run_split(s, &run);
    cot_selector_destroy(&run.selector);
    return status;
}

static cot_status run_mass(specializer *s, size_t mass_index)
{
    subset_run run = {.by_mass = true, .index = mass_index};
    run.selector =
        cot_selector_mass(cot_model_shape(s->ex->model)->E, s->options->masses[mass_index]);
    cot_status status = run_split(s, &run);
    cot_selector_destroy(&run.selector);
    return status;
}

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
                COT_TRY(run_order(s, (cot_order)order, seed, k));
    for (size_t m = 0; m < s->options->mass_count; m++) COT_TRY(run_mass(s, m));
    return COT_OK;
}
