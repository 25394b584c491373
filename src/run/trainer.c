#include "run/trainer.h"

#include <coterie/memory.h>

/* The run ends after train.steps steps, or else after train.epochs epochs. */
static cot_status plan_length(trainer *t)
{
    const cot_recipe *recipe = t->recipe;
    const cot_dataset_info *info = cot_dataset_info_of(t->experiment->dataset);
    t->sampler = cot_sampler_create(info->samples[COT_SPLIT_TRAIN], recipe->train.batch,
                                    recipe->train.shuffle, recipe->train.drop_last, recipe->seed);
    size_t batches = cot_sampler_batches(t->sampler);
    if (batches == 0)
        return cot_fail(
            COT_E_CONFIG,
            "train.batch: %zu is more than the %zu training samples, and train.drop_last is true",
            recipe->train.batch, info->samples[COT_SPLIT_TRAIN]);
    t->total_steps = recipe->train.steps > 0 ? recipe->train.steps : recipe->train.epochs * batches;
    return COT_OK;
}

static void create_optimizer(trainer *t)
{
    cot_params *params = t->experiment->params;
    cot_memory_mark(COT_MEMORY_OTHER);
    t->gradients = cot_gradients_create(
        t->comm, params,
        &(cot_gradients_options){.ordered = t->recipe->parallel.reproducible,
                                 .node_ranks = t->experiment->batching.node_ranks,
                                 .most_batches = t->experiment->parts});
    t->norms = cot_norms_create(t->comm, params);
    cot_memory_mark(COT_MEMORY_GRADIENTS);
    t->optimizer = cot_optimizer_create(&t->recipe->optimizer, params);
    cot_memory_mark(COT_MEMORY_OPTIMIZER);
    t->state.params = params;
    t->state.moment_count = cot_optimizer_moments(t->optimizer);
    for (size_t i = 0; i < t->state.moment_count; i++) {
        t->state.moment_names[i] = cot_optimizer_moment_name(t->optimizer, i);
        t->state.moments[i] = cot_optimizer_moment(t->optimizer, i);
    }
}

cot_status trainer_create(trainer *t, const cot_comm *world)
{
    COT_TRY(cot_experiment_create(world, t->recipe, &t->experiment));
    t->comm = t->experiment->comm;
    t->ledger = cot_ledger_create(cot_model_layers(t->experiment->model));
    t->experiment->ledger = t->ledger;
    t->portable_recipe = cot_recipe_print(t->recipe, true);
    COT_TRY(cot_comm_agree(t->comm, plan_length(t)));
    create_optimizer(t);
    t->tuner = chunk_tuner_create(t->experiment, cot_sampler_batch_size(t->sampler, 0));
    return COT_OK;
}

cot_status trainer_sketch(trainer *t, cot_dataset *dataset, const cot_sketch_place *place)
{
    COT_TRY(cot_experiment_sketch(t->recipe, dataset, place, &t->experiment));
    t->comm = t->experiment->comm;
    COT_TRY(plan_length(t));
    create_optimizer(t);
    trainer_stats_create(t);
    cot_memory_mark(COT_MEMORY_OTHER);
    return COT_OK;
}

void trainer_destroy(trainer *t)
{
    trainer_stats_destroy(t);
    chunk_tuner_destroy(&t->tuner);
    cot_optimizer_destroy(&t->optimizer);
    cot_norms_destroy(&t->norms);
    cot_gradients_destroy(&t->gradients);
    cot_sampler_destroy(&t->sampler);
    cot_free(t->portable_recipe);
    cot_ledger_destroy(&t->ledger);
    cot_experiment_destroy(&t->experiment);
}

void trainer_next_epoch(trainer *t)
{
    cot_progress *progress = &t->state.progress;
    progress->epoch++;
    progress->batch = 0;
    progress->epoch_loss = 0;
    progress->epoch_correct = progress->epoch_samples = 0;
    t->epoch_seconds = 0;
    t->epoch_call_samples = t->epoch_call_steps = 0;
}
