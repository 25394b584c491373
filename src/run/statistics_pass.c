#include <coterie/memory.h>
#include <coterie/statistics_pass.h>

struct cot_statistics_pass {
    const cot_experiment *experiment;
    cot_routing_stats *routing;
    size_t layers, slots;
    size_t here;          /* samples of the batch at hand, on this rank */
    cot_real *slot_norms; /* [layers,b,E,P] of the batch at hand; NULL with masses_only */
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
    pass->layers = cot_model_layers(ex->model);
    pass->slots = shape->E * shape->P;
    pass->routing = cot_routing_stats_create(&(cot_routing_stats_options){
        .layers = pass->layers,
        .tokens = shape->T,
        .experts = shape->E,
        .slots_per_expert = shape->P,
        .classes = cot_dataset_info_of(ex->dataset)->classes,
        .keeps = keeps,
        .masses_only = masses_only,
        .share_by_class = share_by_class,
        .grains =
            cot_shard_size(ex->batching.grains, (size_t)ex->comm->size, (size_t)ex->comm->rank)});
    size_t capacity = cot_grains_capacity(ex->batching.max_batch, ex->batching.grains,
                                          (size_t)ex->comm->size, (size_t)ex->comm->rank);
    if (!masses_only)
        pass->slot_norms =
            cot_alloc(pass->layers * capacity * pass->slots, sizeof *pass->slot_norms);
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

static cot_real *norms_of(const cot_statistics_pass *pass, size_t layer, size_t i)
{
    if (pass->slot_norms == NULL) return NULL;
    return pass->slot_norms + (layer * pass->here + i) * pass->slots;
}

cot_sample_view cot_statistics_pass_view(cot_statistics_pass *pass, size_t layer, size_t i)
{
    const cot_experiment *ex = pass->experiment;
    const cot_soft_moe *moe = cot_model_layer(ex->model, layer);
    return (cot_sample_view){.routing = cot_soft_moe_routing(moe, i),
                             .slot_norms = norms_of(pass, layer, i),
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
    pass->here = count;
    for (size_t i = 0; i < count; i++)
        for (size_t layer = 0; layer < pass->layers; layer++) {
            cot_sample_view view = cot_statistics_pass_view(pass, layer, i);
            cot_routing_stats_add(pass->routing, cot_model_grain_of(ex->model, i), &view);
        }
    return COT_OK;
}

cot_observer cot_statistics_pass_observer(cot_statistics_pass *pass)
{
    return (cot_observer){.batch = observe, .context = pass, .slot_norms = pass->slot_norms};
}

static void list_result(const cot_statistics_pass *pass, bool classifies, cot_catalog *catalog)
{
    cot_catalog_add_wholes(catalog, "step", "", "optimizer steps done", &pass->result.step);
    cot_catalog_add_wholes(catalog, "epoch", "", "epochs done", &pass->result.epoch);
    cot_catalog_add_wholes(catalog, "samples", "", "samples of the split", &pass->result.samples);
    cot_catalog_add_reals(catalog, "loss", "", classifies ? "nat" : "1",
                          "mean loss over the samples", &pass->result.loss);
    if (classifies)
        cot_catalog_add_reals(catalog, "accuracy", "", "1", "share of samples predicted right",
                              &pass->result.metric);
    else
        cot_catalog_add_reals(catalog, "relative_error", "", "1",
                              "mean squared error over the variance of the target",
                              &pass->result.metric);
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
