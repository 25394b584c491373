/* One pass over the split with all experts: it gives the statistics of the routing, and, in a model
 * of one Soft MoE layer, the results of all subsets. Which experts have the largest mass over the
 * split is known at its end, so subsets of these take a second pass. */
#include "run/specializer.h"

/* One sample of a model of one layer: all subsets follow from its effects. */
static void find_effects(specializer *s, size_t i, cot_sample_view *view)
{
    cot_effects_of(s->effects, i, s->base, s->by_expert);
    view->base = s->base;
    view->effects = s->by_expert;
}

static void add_batch(specializer *s, size_t count, const cot_real *outputs)
{
    for (size_t i = 0; i < count; i++) {
        size_t grain = cot_model_grain_of(s->ex->model, i);
        if (specialize_is_deep(s)) {
            specialize_add_complete(s, grain, i, outputs + i * s->ex->outputs);
            continue;
        }
        cot_sample_view view = cot_statistics_pass_view(s->pass, 0, i);
        find_effects(s, i, &view);
        cot_study_add(s->study, grain, &view);
    }
}

/* ---- a row for every sample ---- */

static void take_masses(specializer *s, size_t count)
{
    const size_t E = cot_model_shape(s->ex->model)->E;
    const size_t layers = cot_model_layers(s->ex->model);
    double *mass = s->mass_scratch;
    for (size_t i = 0; i < count; i++) {
        for (size_t layer = 0; layer < layers; layer++) {
            cot_routing routing = cot_soft_moe_routing(cot_model_layer(s->ex->model, layer), i);
            cot_combine_mass(&routing, mass);
            for (size_t e = 0; e < E; e++)
                s->sample_mass[(i * layers + layer) * E + e] = (float)mass[e];
        }
    }
}

static cot_status write_numbers(specializer *s, const char *name, size_t first, size_t count)
{
    return cot_statistics_write_rows(s->file, name, first, count, s->sample_numbers);
}

/* A failure on one rank keeps it from no collective call: it is agreed on behind the last. */
static cot_status write_samples(specializer *s, size_t first, size_t count, const cot_real *outputs)
{
    const size_t n = s->ex->outputs;
    cot_status status[3] = {COT_OK, COT_OK, COT_OK};
    take_masses(s, count);
    status[0] = cot_statistics_write_rows(s->file, "expert_mass", first, count, s->sample_mass);
    if (cot_experiment_classifies(s->ex)) {
        for (size_t i = 0; i < count; i++) s->sample_numbers[i] = s->ex->targets[i].label;
        status[1] = write_numbers(s, "label", first, count);
        for (size_t i = 0; i < count; i++) {
            const size_t best = cot_argmax(n, outputs + i * n);
            s->sample_numbers[i] = best < n ? (int64_t)best : -1;
        }
        status[2] = write_numbers(s, "prediction", first, count);
    }
    for (size_t i = 0; i < 3; i++)
        if (status[i] != COT_OK) return cot_comm_agree(s->ex->comm, status[i]);
    return cot_comm_agree(s->ex->comm, COT_OK);
}

/* ---- the pass ---- */

typedef struct observation {
    specializer *s;
    cot_observer routing;
} observation;

static cot_status observe(void *context, const cot_experiment *ex, size_t first, size_t count,
                          const cot_real *outputs)
{
    observation *self = context;
    specializer *s = self->s;
    COT_TRY(self->routing.batch(self->routing.context, ex, first, count, outputs));
    add_batch(s, count, outputs);
    if (s->options->samples) COT_TRY(write_samples(s, first, count, outputs));
    return specialize_advance(s, "studying");
}

cot_status specialize_observe(specializer *s, cot_evaluation *evaluation_out)
{
    cot_statistics_pass_begin(s->pass);
    observation self = {.s = s, .routing = cot_statistics_pass_observer(s->pass)};
    cot_observer observer = {observe, &self, self.routing.slot_norms};
    return cot_evaluate(s->ex, s->options->split, NULL, &observer, evaluation_out);
}

/* ---- the second pass ---- */

bool specialize_has_common_pass(const specializer *s)
{
    return s->plan.orders[COT_ORDER_COMMON] && !specialize_is_deep(s);
}

cot_status specialize_common(specializer *s)
{
    cot_experiment *ex = s->ex;
    const cot_soft_moe *layer = cot_model_layer(ex->model, 0);
    const double *mass = specialize_mass(s);
    for (size_t b = 0; b < specialize_batch_count(s); b++) {
        cot_batch batch = specialize_batch(s, b);
        (void)cot_experiment_forward(ex, &batch, NULL, NULL);
        cot_grains grains = cot_model_grains(ex->model, batch.samples);
        for (size_t i = 0; i < cot_grains_size(&grains); i++) {
            cot_sample_view view = {.routing = cot_soft_moe_routing(layer, i),
                                    .target = ex->targets[i]};
            find_effects(s, i, &view);
            cot_study_add_common(s->study, cot_model_grain_of(ex->model, i), &view, mass);
        }
        COT_TRY(specialize_advance(s, "studying"));
    }
    return COT_OK;
}
