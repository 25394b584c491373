#include <coterie/memory.h>
#include <coterie/statistics_pass.h>
#include <coterie/vector.h>

#include <math.h>

struct cot_statistics_pass {
    const cot_experiment *experiment;
    cot_routing_stats *routing;
    cot_real *slot_norms; /* [E,P]; NULL with masses_only */
    struct {
        int64_t step, epoch, samples;
        double loss, metric;
    } result; /* of the last finish */
};

cot_statistics_pass *cot_statistics_pass_create(const cot_experiment *ex, const cot_keeps *keeps,
                                                bool masses_only, bool share_by_class)
{
    const cot_moe_shape *shape = cot_model_shape(ex->model);
    cot_statistics_pass *pass = cot_alloc(1, sizeof *pass);
    pass->experiment = ex;
    pass->routing = cot_routing_stats_create(&(cot_routing_stats_options){
        .layers = cot_model_layers(ex->model),
        .tokens = shape->T,
        .experts = shape->E,
        .slots_per_expert = shape->P,
        .classes = cot_dataset_info_of(ex->dataset)->classes,
        .keeps = keeps,
        .masses_only = masses_only,
        .share_by_class = share_by_class,
        .grains =
            cot_shard_size(ex->batching.grains, (size_t)ex->comm->size, (size_t)ex->comm->rank)});
    if (!masses_only) pass->slot_norms = cot_alloc(shape->E * shape->P, sizeof(cot_real));
    return pass;
}

void cot_statistics_pass_destroy(cot_statistics_pass **pass)
{
    if (*pass == NULL) return;
    cot_free((*pass)->slot_norms);
    cot_routing_stats_destroy(&(*pass)->routing);
    cot_free(*pass);
    *pass = NULL;
}

void cot_statistics_pass_begin(cot_statistics_pass *pass)
{
    cot_routing_stats_clear(pass->routing);
}

static void measure_slots(cot_statistics_pass *pass, const cot_soft_moe *layer, size_t i)
{
    const cot_moe_shape *shape = cot_model_shape(pass->experiment->model);
    for (size_t s = 0; s < shape->E * shape->P; s++) {
        const cot_real *output = cot_soft_moe_slot_output(layer, i, s);
        pass->slot_norms[s] = (cot_real)sqrt(cot_dot(shape->D, output, output));
    }
}

cot_sample_view cot_statistics_pass_view(cot_statistics_pass *pass, size_t layer, size_t i)
{
    const cot_experiment *ex = pass->experiment;
    const cot_soft_moe *moe = cot_model_layer(ex->model, layer);
    if (pass->slot_norms != NULL) measure_slots(pass, moe, i);
    return (cot_sample_view){.routing = cot_soft_moe_routing(moe, i),
                             .slot_norms = pass->slot_norms,
                             .outputs = ex->outputs,
                             .loss = &ex->recipe->loss,
                             .target = ex->targets[i]};
}

/* Layers within a sample: what is summed belongs to one layer each, so any order of them will
 * do. */
static cot_status observe(void *context, const cot_experiment *ex, size_t first, size_t count,
                          const cot_real *outputs)
{
    cot_statistics_pass *pass = context;
    (void)first, (void)outputs;
    for (size_t i = 0; i < count; i++)
        for (size_t layer = 0; layer < cot_model_layers(ex->model); layer++) {
            cot_sample_view view = cot_statistics_pass_view(pass, layer, i);
            cot_routing_stats_add(pass->routing, cot_model_grain_of(ex->model, i), &view);
        }
    return COT_OK;
}

cot_observer cot_statistics_pass_observer(cot_statistics_pass *pass)
{
    return (cot_observer){.batch = observe, .context = pass};
}

/* One number of the record. */
static void list_whole(cot_catalog *catalog, const char *name, const char *meaning,
                       const int64_t *data)
{
    cot_catalog_add(catalog, &(cot_variable){.name = name,
                                             .axes = "",
                                             .units = "1",
                                             .meaning = meaning,
                                             .type = COT_H5_INT64,
                                             .data = data});
}

static void list_real(cot_catalog *catalog, const char *name, const char *units,
                      const char *meaning, const double *data)
{
    cot_catalog_add(catalog, &(cot_variable){.name = name,
                                             .axes = "",
                                             .units = units,
                                             .meaning = meaning,
                                             .type = COT_H5_FLOAT64,
                                             .data = data});
}

static void list_result(const cot_statistics_pass *pass, bool classifies, cot_catalog *catalog)
{
    list_whole(catalog, "step", "optimizer steps done", &pass->result.step);
    list_whole(catalog, "epoch", "epochs done", &pass->result.epoch);
    list_whole(catalog, "samples", "samples of the split", &pass->result.samples);
    list_real(catalog, "loss", classifies ? "nat" : "1", "mean loss over the samples",
              &pass->result.loss);
    if (classifies)
        list_real(catalog, "accuracy", "1", "share of samples predicted right",
                  &pass->result.metric);
    else
        list_real(catalog, "relative_error", "1",
                  "mean squared error over the variance of the target", &pass->result.metric);
}

void cot_statistics_pass_finish(cot_statistics_pass *pass, uint64_t step, uint64_t epoch,
                                const cot_evaluation *evaluation, cot_catalog *catalog)
{
    const cot_experiment *ex = pass->experiment;
    bool classifies = cot_experiment_classifies(ex);
    pass->result.step = (int64_t)step;
    pass->result.epoch = (int64_t)epoch;
    pass->result.samples = (int64_t)evaluation->samples;
    pass->result.loss = evaluation->loss;
    pass->result.metric = classifies ? evaluation->accuracy : evaluation->relative_error;
    cot_routing_stats_finish(pass->routing, ex->comm, ex->sums);
    list_result(pass, classifies, catalog);
    cot_routing_stats_list(pass->routing, catalog);
}
