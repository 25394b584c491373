#include "run/trainer.h"

#include <coterie/blas.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/version.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double seconds_per_minute = 60;

static const char *exchange_plan = "slots";

/* Write the resolved recipe beside the checkpoints; rank 0. */
static cot_status write_recipe_file(const trainer *t)
{
    char *path = cot_strprintf("%s/recipe.yaml", t->recipe->output.dir);
    char *partial = cot_strprintf("%s.partial", path);
    char *text = cot_recipe_print(t->recipe, false);
    FILE *file = fopen(partial, "w");
    bool good = file != NULL && fputs(text, file) >= 0;
    if (file != NULL) good = fclose(file) == 0 && good;
    good = good && rename(partial, path) == 0;
    cot_status status =
        good ? COT_OK : cot_fail(COT_E_CREATE, "%s: cannot write it: %s", path, strerror(errno));
    if (!good) unlink(partial);
    cot_free(text);
    cot_free(partial);
    cot_free(path);
    return status;
}

/* ---- what a resumed run differs in ---- */

static void warn_if_texts_differ(trainer *t, const char *what, const char *before, const char *now)
{
    if (strcmp(before, now) != 0)
        cot_metrics_warning(
            t->metrics, t->state.progress.step,
            "resuming with another %s than before (%s, was %s): results may differ in rounding",
            what, now, before);
}

static void warn_if_numbers_differ(trainer *t, const char *what, uint64_t before, uint64_t now)
{
    char texts[2][32];
    snprintf(texts[0], sizeof texts[0], "%lu", (unsigned long)before);
    snprintf(texts[1], sizeof texts[1], "%lu", (unsigned long)now);
    warn_if_texts_differ(t, what, texts[0], texts[1]);
}

static void warn_of_key(void *context, const char *line)
{
    trainer *t = context;
    cot_metrics_warning(t->metrics, t->state.progress.step, "resuming with a changed recipe: %s",
                        line);
}

/* Rank 0 compares; it alone writes warnings. */
static void warn_of_changes(trainer *t, const cot_checkpoint_header *header)
{
    const cot_recipe *recipe = t->recipe;
    warn_if_texts_differ(t, "build", header->build, cot_build());
    warn_if_texts_differ(t, "OpenBLAS kernel", header->blas_core, cot_blas_core());
    warn_if_texts_differ(t, "exchange plan", header->exchange, exchange_plan);
    warn_if_numbers_differ(t, "number of BLAS threads", header->blas_threads,
                           recipe->parallel.blas_threads);
    warn_if_numbers_differ(t, "number of grains", header->grains, t->experiment->batching.grains);
    warn_if_numbers_differ(t, "number of expert replicas", header->expert_replicas,
                           recipe->parallel.expert_replicas);
    if (header->data_checksum != cot_dataset_info_of(t->experiment->dataset)->checksum)
        cot_metrics_warning(t->metrics, t->state.progress.step,
                            "resuming on other data than before");
    cot_recipe *before = NULL;
    if (cot_recipe_parse(header->recipe, "the checkpoint's recipe", 0, NULL, &before) != COT_OK) {
        cot_metrics_warning(t->metrics, t->state.progress.step, "%s", cot_failure());
        cot_failure_clear();
        return;
    }
    cot_recipe_compare(before, recipe, warn_of_key, t);
    cot_recipe_destroy(&before);
}

/* ---- where to begin ---- */

/* The checkpoint to resume from, allocated, or NULL for none. */
static char *resume_path(trainer *t)
{
    const char *resume = t->options->resume;
    if (resume == NULL) return NULL;
    if (strcmp(resume, "auto") == 0) return cot_checkpoint_newest(t->comm, t->recipe->output.dir);
    return cot_strdup(resume);
}

/* A run must not go on from an earlier point than what its folder holds: the later checkpoints
 * would be taken for its own. */
static cot_status check_no_later(const trainer *t)
{
    size_t count = 0;
    uint64_t *steps = cot_run_folder_steps(t->recipe->output.dir, &count);
    uint64_t last = count > 0 ? steps[0] : 0;
    cot_free(steps);
    if (last <= t->state.progress.step || strcmp(t->options->resume, "auto") == 0) return COT_OK;
    return cot_fail(COT_E_CREATE,
                    "%s: holds a checkpoint of step %lu, past the step %lu to resume from; move it "
                    "away or choose "
                    "another output.dir",
                    t->recipe->output.dir, (unsigned long)last,
                    (unsigned long)t->state.progress.step);
}

/* An interruption may have come between a checkpoint and its links. */
static cot_status mend_links(const trainer *t)
{
    const cot_progress *progress = &t->state.progress;
    char *file = cot_run_folder_checkpoint(t->recipe->output.dir, progress->step);
    cot_status status = COT_OK;
    if (t->comm->rank == 0 && access(file, F_OK) == 0)
        status = cot_run_folder_link(t->recipe->output.dir, "latest.h5", strrchr(file, '/') + 1);
    cot_free(file);
    COT_TRY(cot_comm_agree(t->comm, status));
    if (!progress->has_best) return COT_OK;
    file = cot_run_folder_checkpoint(t->recipe->output.dir, progress->best_step);
    int there = access(file, F_OK) == 0;
    cot_free(file);
    COT_MPI(MPI_Bcast(&there, 1, MPI_INT, 0, t->comm->world));
    return there ? cot_checkpoint_mark_best(t->comm, t->recipe->output.dir, progress->best_step)
                 : COT_OK;
}

static cot_status resume(trainer *t, const char *path)
{
    cot_checkpoint_header header = {0};
    COT_TRY(cot_checkpoint_read(t->comm, path, false, &t->state));
    cot_status status = t->comm->rank == 0 ? cot_checkpoint_read_header(path, &header) : COT_OK;
    if (status == COT_OK && t->comm->rank == 0) status = check_no_later(t);
    status = cot_comm_agree(t->comm, status);
    if (status == COT_OK) status = mend_links(t);
    if (status == COT_OK)
        status = cot_metrics_open(t->comm, t->recipe->output.dir, false, t->state.progress.step,
                                  &t->metrics);
    if (status == COT_OK && t->comm->rank == 0) warn_of_changes(t, &header);
    cot_checkpoint_header_free(&header);
    if (status != COT_OK) return status;
    cot_info("resuming from %s at step %lu", path, (unsigned long)t->state.progress.step);
    t->has_saved = true;
    t->saved_step = t->state.progress.step;
    return COT_OK;
}

static cot_status start_afresh(trainer *t)
{
    if (t->options->init != NULL)
        COT_TRY(cot_checkpoint_read(t->comm, t->options->init, true, &t->state));
    return cot_metrics_open(t->comm, t->recipe->output.dir, true, 0, &t->metrics);
}

cot_status trainer_begin(trainer *t)
{
    const char *dir = t->recipe->output.dir;
    COT_TRY(cot_run_folder_lock(t->comm, dir, &t->lock));
    if (t->options->resume == NULL && cot_run_folder_has_checkpoints(t->comm, dir))
        return cot_comm_agree(
            t->comm,
            cot_fail(COT_E_CREATE,
                     "%s: holds checkpoints already; add --resume auto to go on, or choose another "
                     "folder with --set output.dir=...",
                     dir));
    char *path = resume_path(t);
    cot_status status = path != NULL ? resume(t, path) : start_afresh(t);
    cot_free(path);
    if (status != COT_OK) return status;
    return cot_comm_agree(t->comm, t->comm->rank == 0 ? write_recipe_file(t) : COT_OK);
}

/* ---- saving ---- */

static cot_checkpoint_info info_of(const trainer *t)
{
    return (cot_checkpoint_info){.recipe = t->portable_recipe,
                                 .seed = t->recipe->seed,
                                 .data_checksum =
                                     cot_dataset_info_of(t->experiment->dataset)->checksum,
                                 .blas_core = cot_blas_core(),
                                 .blas_threads = t->recipe->parallel.blas_threads,
                                 .grains = t->experiment->batching.grains,
                                 .expert_replicas = t->recipe->parallel.expert_replicas,
                                 .exchange = exchange_plan,
                                 .started = t->started};
}

cot_status trainer_save(trainer *t)
{
    const cot_progress *progress = &t->state.progress;
    const char *dir = t->recipe->output.dir;
    if (t->has_saved && t->saved_step == progress->step) return COT_OK;
    COT_TRY(trainer_check_values(t));
    cot_checkpoint_info info = info_of(t);
    char *path = cot_run_folder_checkpoint(dir, progress->step);
    cot_metrics_checkpoint(t->metrics, progress->step, strrchr(path, '/') + 1);
    cot_free(path);
    COT_TRY(cot_comm_agree(t->comm, cot_metrics_status(t->metrics)));
    COT_TRY(cot_checkpoint_write(t->comm, dir, &t->state, &info));
    t->has_saved = true;
    t->saved_step = progress->step;
    t->last_save = cot_seconds();
    if (progress->has_best && progress->best_step == progress->step)
        COT_TRY(cot_checkpoint_mark_best(t->comm, dir, progress->step));
    return cot_checkpoint_prune(t->comm, dir, t->recipe->checkpoint.keep);
}

/* Minutes pass differently on every rank: rank 0's clock decides. */
static bool minutes_are_over(const trainer *t)
{
    double every = t->recipe->checkpoint.every_minutes;
    if (every <= 0) return false;
    int over = cot_seconds() - t->last_save >= every * seconds_per_minute;
    COT_MPI(MPI_Bcast(&over, 1, MPI_INT, 0, t->comm->world));
    return over != 0;
}

bool trainer_wants_save(trainer *t, bool epoch_ended)
{
    const cot_progress *progress = &t->state.progress;
    size_t epochs = t->recipe->checkpoint.every_epochs;
    size_t steps = t->recipe->checkpoint.every_steps;
    /* Asked first: all ranks must come to it. */
    bool late = minutes_are_over(t);
    bool best = progress->has_best && progress->best_step == progress->step;
    return late || best || (steps > 0 && progress->step % steps == 0) ||
           (epoch_ended && epochs > 0 && progress->epoch % epochs == 0);
}
