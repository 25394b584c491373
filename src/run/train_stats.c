/* Statistics while training: a record of stats.h5 with an evaluation. */
#include "run/trainer.h"

#include <coterie/memory.h>
#include <coterie/model_stats.h>
#include <coterie/statistics_file.h>
#include <coterie/statistics_pass.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct trainer_stats {
    char *path;
    cot_keeps keeps;
    cot_statistics_pass *pass;
    cot_model_stats *model; /* NULL with stats.level masses */
    cot_catalog catalog;
    double seconds, samples_per_s;
    bool has_way; /* this call's records fit into the file that is there */
};

static char *path_of(const trainer *t)
{
    return cot_strprintf("%s/stats.h5", t->recipe->output.dir);
}

/* ---- creation ---- */

/* As the recipe lists them, else E/8, E/4 and E/2; ascending, each once. */
static cot_keeps choose_keeps(const cot_recipe *recipe)
{
    enum { PARTS = 3 };
    static const size_t parts[PARTS] = {8, 4, 2};
    const cot_counts *listed = &recipe->stats.keep;
    size_t most = listed->count > 0 ? listed->count : PARTS;
    cot_keeps keeps = {.sizes = cot_alloc(most, sizeof *keeps.sizes)};
    for (size_t i = 0; i < listed->count; i++) cot_keeps_add(&keeps, listed->values[i]);
    for (size_t i = 0; i < PARTS && listed->count == 0; i++) {
        size_t share = recipe->model.experts / parts[i];
        cot_keeps_add(&keeps, share > 0 ? share : 1);
    }
    return keeps;
}

void trainer_stats_create(trainer *t)
{
    const cot_recipe *recipe = t->recipe;
    bool masses_only = recipe->stats.level == COT_STATS_MASSES;
    if (recipe->stats.every == 0) return;
    struct trainer_stats *stats = cot_alloc(1, sizeof *stats);
    stats->path = path_of(t);
    stats->keeps = choose_keeps(recipe);
    stats->pass = cot_statistics_pass_create(t->experiment, &stats->keeps, masses_only, false);
    if (!masses_only)
        stats->model = cot_model_stats_create(t->experiment->model, t->experiment->params, t->norms,
                                              t->comm, true);
    t->stats = stats;
}

void trainer_stats_destroy(trainer *t)
{
    struct trainer_stats *stats = t->stats;
    if (stats == NULL) return;
    cot_model_stats_destroy(&stats->model);
    cot_statistics_pass_destroy(&stats->pass);
    cot_free(stats->keeps.sizes);
    cot_free(stats->path);
    cot_free(stats);
    t->stats = NULL;
}

/* ---- when ---- */

/* Decided by where the run is, so a resumed run makes the records of one that was not
 * interrupted. `step` and `batch` are those behind the step, the epoch is not moved on yet. */
static bool is_due(const trainer *t, uint64_t step, uint64_t batch)
{
    const uint64_t epoch = t->state.progress.epoch + 1;
    const size_t eval_every = t->recipe->train.eval_every;
    if (t->stats == NULL) return false;
    if (step == t->total_steps) return true;
    bool evaluated = batch == cot_sampler_batches(t->sampler) && epoch % eval_every == 0;
    return evaluated && epoch / eval_every % t->recipe->stats.every == 0;
}

void trainer_stats_before_update(trainer *t)
{
    const cot_progress *progress = &t->state.progress;
    if (!is_due(t, progress->step + 1, progress->batch + 1)) return;
    if (t->stats->model != NULL) cot_model_stats_before_update(t->stats->model);
}

void trainer_stats_after_update(trainer *t)
{
    const cot_progress *progress = &t->state.progress;
    if (!is_due(t, progress->step + 1, progress->batch + 1)) return;
    if (t->stats->model != NULL) cot_model_stats_after_update(t->stats->model);
}

/* ---- a record ---- */

bool trainer_stats_observe(trainer *t, cot_observer *observer_out)
{
    if (!is_due(t, t->state.progress.step, t->state.progress.batch)) return false;
    cot_statistics_pass_begin(t->stats->pass);
    *observer_out = cot_statistics_pass_observer(t->stats->pass);
    return true;
}

static void list_costs(const cot_costs *costs, cot_catalog *catalog)
{
    static const struct {
        const char *name, *units, *meaning;
    } kinds[COT_COST_KINDS] = {
        [COT_COST_SECONDS] = {"timing/step_seconds", "s", "time of a training step"},
        [COT_COST_BYTES] = {"timing/step_bytes", "B", "bytes that a rank sends in a step"},
        [COT_COST_EXPOSED] = {"timing/step_exposed", "s", "of the time, that in communication"},
        [COT_COST_HIDDEN] = {"timing/step_hidden", "s", "communication beside other work"}};
    const size_t numbers = (costs->layers + 1) * COT_PHASES * COT_RANGE_SIZE;
    cot_catalog_add_axis(catalog, "place", costs->layers + 1,
                         "Soft MoE layer; the last: outside of layers");
    cot_catalog_add_axis(catalog, "phase", COT_PHASES,
                         "data, route, dispatch, exchange, experts, combine, head, sums, update");
    cot_catalog_add_axis(catalog, "over_ranks", COT_RANGE_SIZE,
                         "min, mean, max, rank with the max");
    for (size_t i = 0; i < COT_COST_KINDS; i++)
        cot_catalog_add_reals(catalog, kinds[i].name, "place,phase,over_ranks", kinds[i].units,
                              kinds[i].meaning, costs->numbers + i * numbers);
}

static void list_times(const trainer *t, const cot_evaluation *evaluation, cot_catalog *catalog)
{
    struct trainer_stats *stats = t->stats;
    stats->seconds = evaluation->seconds;
    stats->samples_per_s = (double)t->epoch_call_samples / t->epoch_seconds;
    cot_catalog_add_reals(catalog, "timing/seconds", "", "s", "wall time of the evaluation",
                          &stats->seconds);
    cot_catalog_add_reals(catalog, "timing/samples_per_s", "", "1/s",
                          "samples trained on a second, in the epoch", &stats->samples_per_s);
    list_costs(t->costs, catalog);
}

cot_status trainer_stats_record(trainer *t, cot_split split, const cot_evaluation *evaluation)
{
    struct trainer_stats *stats = t->stats;
    const cot_progress *progress = &t->state.progress;
    bool epoch_ended = progress->batch == cot_sampler_batches(t->sampler);
    cot_checkpoint_info origin = trainer_info(t);
    cot_statistics_info info = {
        .kind = "training", .split = cot_split_name(split), .origin = &origin};
    stats->catalog = (cot_catalog){0};
    cot_statistics_pass_finish(stats->pass, progress->step, progress->epoch + epoch_ended,
                               evaluation, &stats->catalog);
    if (stats->model != NULL) {
        cot_model_stats_measure(stats->model);
        cot_model_stats_list(stats->model, &stats->catalog);
    }
    list_times(t, evaluation, &stats->catalog);
    if (!stats->has_way) COT_TRY(cot_statistics_make_way(t->comm, stats->path, &stats->catalog));
    stats->has_way = true;
    return cot_statistics_append(t->comm, stats->path, &info, &stats->catalog);
}

/* ---- the records of an earlier call ---- */

cot_status trainer_stats_start_afresh(const trainer *t)
{
    char *path = path_of(t);
    cot_status status = COT_OK;
    if (t->comm->rank == 0 && unlink(path) != 0 && errno != ENOENT)
        status = cot_fail(COT_E_CREATE, "%s: cannot be removed: %s", path, strerror(errno));
    cot_free(path);
    return cot_comm_agree(t->comm, status);
}

/* Records with other variables do not fit into the same file. */
static bool are_alike(const cot_recipe *before, const cot_recipe *now)
{
    cot_keeps keeps[] = {choose_keeps(before), choose_keeps(now)};
    bool alike = before->stats.level == now->stats.level && keeps[0].count == keeps[1].count;
    for (size_t i = 0; i < keeps[0].count && alike; i++)
        alike = keeps[0].sizes[i] == keeps[1].sizes[i];
    cot_free(keeps[1].sizes);
    cot_free(keeps[0].sizes);
    return alike;
}

void trainer_stats_set_aside(trainer *t, const cot_recipe *before)
{
    const uint64_t step = t->state.progress.step;
    if (t->stats == NULL || are_alike(before, t->recipe)) return;
    char *path = path_of(t);
    char *aside = cot_strprintf("%s/stats-%lu.h5", t->recipe->output.dir, (unsigned long)step);
    if (rename(path, aside) == 0)
        cot_metrics_warning(t->metrics, step,
                            "stats.level or stats.keep has changed: the records up to here are "
                            "now in %s, those to come in %s",
                            aside, path);
    cot_free(aside);
    cot_free(path);
}

cot_status trainer_stats_resume(const trainer *t)
{
    char *path = path_of(t);
    cot_status status = cot_statistics_truncate(t->comm, path, t->state.progress.step);
    cot_free(path);
    return status;
}
