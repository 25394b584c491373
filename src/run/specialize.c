#include "run/specializer.h"
#include "run/trainer.h"

#include <coterie/clock.h>
#include <coterie/memory.h>

#include <string.h>

cot_specialize_options cot_specialize_defaults(void)
{
    static const double masses[] = {0.5, 0.75, 0.9, 0.95, 0.99};
    enum { SUBSETS = 100000, SEEDS = 10, TIMED_BATCHES = 5 };
    return (cot_specialize_options){
        .split = COT_SPLIT_TEST,
        .orders =
            {[COT_ORDER_COMBINE] = true, [COT_ORDER_RANDOM] = true, [COT_ORDER_COMMON] = true},
        .subset_limit = SUBSETS,
        .seeds = SEEDS,
        .mass_count = sizeof masses / sizeof masses[0],
        .masses = masses,
        .timed_batches = TIMED_BATCHES};
}

/* ---- batches and progress ---- */

size_t specialize_samples(const specializer *s)
{
    return cot_dataset_info_of(s->ex->dataset)->samples[s->options->split];
}

size_t specialize_batch_count(const specializer *s)
{
    const size_t most = s->ex->batching.max_batch;
    return (specialize_samples(s) + most - 1) / most;
}

cot_batch specialize_batch(const specializer *s, size_t index)
{
    const size_t most = s->ex->batching.max_batch;
    size_t left = specialize_samples(s) - index * most;
    return (cot_batch){
        .split = s->options->split, .samples = left < most ? left : most, .first = index * most};
}

const double *specialize_mass(const specializer *s)
{
    return cot_catalog_variable(&s->catalog, "combine_mass")->data;
}

cot_status specialize_advance(specializer *s, const char *part)
{
    s->work_done++;
    if (s->display != NULL) cot_display_work(s->display, part, s->work_done);
    return trainer_shall_stop(s->ex->comm) ? COT_E_STOPPED : COT_OK;
}

static uint64_t all_work(const specializer *s)
{
    size_t passes = 1 + specialize_has_common_pass(s);
    if (specialize_is_deep(s)) passes += specialize_deep_passes(s);
    return passes * specialize_batch_count(s) + specialize_timed_batches(s) * s->plan.keeps.count;
}

/* ---- what is made for a study ---- */

/* The most samples of a batch, and all samples of the split, on this rank. */
static void count_samples(const specializer *s, size_t *batch_out, size_t *split_out)
{
    *batch_out = 0;
    *split_out = 0;
    for (size_t b = 0; b < specialize_batch_count(s); b++) {
        cot_grains grains = cot_model_grains(s->ex->model, specialize_batch(s, b).samples);
        size_t size = cot_grains_size(&grains);
        if (size > *batch_out) *batch_out = size;
        *split_out += size;
    }
}

static cot_study *create_study(const specializer *s, size_t samples)
{
    const cot_experiment *ex = s->ex;
    cot_study_options options = {
        .layers = cot_model_layers(ex->model),
        .experts = cot_model_shape(ex->model)->E,
        .outputs = ex->outputs,
        .classes = cot_dataset_info_of(ex->dataset)->classes,
        .loss = &s->trained->recipe->loss,
        .keeps = &s->plan.keeps,
        .seeds = s->options->seeds,
        .first_seed = s->options->first_seed,
        .mass_count = s->options->mass_count,
        .masses = s->options->masses,
        .exhaustive = s->plan.exhaustive,
        .subset_limit = s->options->subset_limit,
        .grains =
            cot_shard_size(ex->batching.grains, (size_t)ex->comm->size, (size_t)ex->comm->rank),
        .samples = samples};
    memcpy(options.orders, s->plan.orders, sizeof options.orders);
    return cot_study_create(&options);
}

static void take_memory(specializer *s)
{
    const cot_experiment *ex = s->ex;
    const size_t E = cot_model_shape(ex->model)->E;
    const size_t layers = cot_model_layers(ex->model);
    size_t batch = 0;
    size_t split = 0;
    count_samples(s, &batch, &split);
    s->pass = cot_statistics_pass_create(ex, &s->plan.keeps, false, true);
    s->study = create_study(s, split);
    if (layers == 1) s->effects = cot_effects_create(ex->model);
    s->base = cot_alloc(ex->outputs, sizeof *s->base);
    s->by_expert = cot_alloc(E * ex->outputs, sizeof *s->by_expert);
    s->sample_mass = cot_alloc(s->options->samples ? batch * layers * E : 0, sizeof(float));
    s->sample_numbers = cot_alloc(batch, sizeof *s->sample_numbers);
    s->mass_scratch = cot_alloc(E, sizeof *s->mass_scratch);
    s->kept = cot_alloc(layers, sizeof *s->kept);
    s->all_kept = cot_alloc(E, 1);
    memset(s->all_kept, 1, E);
    for (size_t i = 0; i < SPECIALIZE_TIMES; i++)
        s->seconds[i] = cot_alloc(s->plan.keeps.count, sizeof(double));
    s->norms = cot_norms_create(ex->comm, ex->params);
    s->model_stats = cot_model_stats_create(ex->model, ex->params, s->norms, ex->comm, false);
    if (!s->options->quiet) s->display = cot_display_create(ex->comm, 0, all_work(s), 0);
}

static void release(specializer *s)
{
    cot_display_destroy(&s->display);
    cot_model_stats_destroy(&s->model_stats);
    cot_norms_destroy(&s->norms);
    for (size_t i = 0; i < SPECIALIZE_TIMES; i++) cot_free(s->seconds[i]);
    cot_free(s->all_kept);
    cot_free(s->kept);
    cot_free(s->mass_scratch);
    cot_free(s->sample_numbers);
    cot_free(s->sample_mass);
    cot_free(s->by_expert);
    cot_free(s->base);
    cot_effects_destroy(&s->effects);
    cot_study_destroy(&s->study);
    cot_statistics_pass_destroy(&s->pass);
    specialize_plan_free(&s->plan);
    cot_trained_destroy(&s->trained);
    cot_free(s);
}

/* ---- the study ---- */

static cot_status compute(specializer *s)
{
    const cot_comm *comm = s->ex->comm;
    cot_evaluation evaluation = {0};
    COT_TRY(specialize_observe(s, &evaluation));
    cot_statistics_pass_finish(s->pass, s->trained->step, s->trained->epoch, &evaluation,
                               &s->catalog);
    cot_evaluation_free(&evaluation);
    cot_model_stats_measure(s->model_stats);
    cot_model_stats_list(s->model_stats, &s->catalog);
    if (specialize_has_common_pass(s)) COT_TRY(specialize_common(s));
    if (specialize_is_deep(s)) COT_TRY(specialize_deep(s));
    cot_study_finish(s->study, comm, s->ex->sums);
    cot_study_list(s->study, &s->catalog);
    if (s->options->timed_batches > 0) {
        COT_TRY(specialize_time(s));
        specialize_list_times(s);
    }
    return COT_OK;
}

static cot_status study(specializer *s, const char *output, const char *started)
{
    COT_TRY(specialize_begin_file(s, output));
    take_memory(s);
    cot_status status = compute(s);
    cot_display_destroy(&s->display);
    if (status == COT_OK) {
        status = specialize_finish_file(s, started);
    } else {
        cot_status removed = cot_statistics_finish(&s->file, NULL, NULL);
        (void)removed; /* the first failure counts */
    }
    if (status == COT_OK && s->options->report != NULL)
        s->options->report(s->options->context, s->ex, &s->catalog);
    return status;
}

cot_status cot_specialize(const cot_comm *world, const char *checkpoint, const char *output,
                          const cot_specialize_options *options)
{
    char mine[COT_TIMESTAMP_SIZE];
    cot_timestamp(mine);
    char *started = cot_comm_broadcast_text(world, mine);
    specializer *s = cot_alloc(1, sizeof *s);
    s->options = options;
    cot_status status = cot_trained_load(world, checkpoint, options->override_count,
                                         options->overrides, &s->trained);
    if (status == COT_OK) {
        s->ex = s->trained->experiment;
        status = cot_dataset_check_split(cot_dataset_info_of(s->ex->dataset), options->split);
    }
    if (status == COT_OK)
        status = specialize_plan_create(options, cot_model_shape(s->ex->model)->E,
                                        cot_model_layers(s->ex->model), &s->plan);
    status = cot_comm_agree(world, status);
    if (status == COT_OK) status = study(s, output, started);
    release(s);
    cot_free(started);
    return status;
}
