#include "run/trainer.h"

#include <coterie/blas.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/version.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const double seconds_per_minute = 60;

static bool are_one_file(const char *path, const char *other)
{
    struct stat one;
    struct stat two;
    return stat(path, &one) == 0 && stat(other, &two) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

/* Somebody's own file, with comments, would become a print of its keys; rank 0. */
static cot_status check_recipe_file(const trainer *t)
{
    const char *given = t->options->recipe_file;
    char *path = cot_strprintf("%s/recipe.yaml", t->recipe->output.dir);
    bool same = given != NULL && are_one_file(path, given);
    cot_free(path);
    if (!same) return COT_OK;
    return cot_fail(
        COT_E_CREATE,
        "%s: stands where the run writes the recipe as it was used; rename it, or choose "
        "another output.dir",
        given);
}

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
    warn_if_texts_differ(t, "exchange plan", header->exchange,
                         cot_experiment_exchange(t->experiment));
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
    trainer_stats_set_aside(t, before);
    cot_recipe_destroy(&before);
}

/* ---- where to begin ---- */

/* The checkpoint to resume from, allocated; NULL where the run starts afresh. Collective. */
static cot_status find_start(const trainer *t, char **path_out)
{
    const char *resume = t->options->resume;
    const char *dir = t->recipe->output.dir;
    bool occupied = false;
    *path_out = NULL;
    COT_TRY(cot_run_folder_has_checkpoints(t->comm, dir, &occupied));
    if (resume == NULL && occupied)
        return cot_fail(COT_E_CREATE,
                        "%s: holds checkpoints already; add --resume auto to go on, or choose "
                        "another folder with --set output.dir=...",
                        dir);
    if (resume == NULL) return COT_OK;
    if (strcmp(resume, "auto") != 0) {
        *path_out = cot_checkpoint_follow(t->comm, resume);
        return COT_OK;
    }
    *path_out = cot_checkpoint_newest(t->comm, dir);
    if (*path_out != NULL || !occupied) return COT_OK;
    /* Starting afresh would overwrite the last traces of what may have been a long run. */
    return cot_fail(COT_E_DATA,
                    "%s: none of its checkpoints is good; move the folder away to start anew", dir);
}

/* Whether the file to resume from is the folder's own checkpoint of that step. Collective. */
static bool is_own(const trainer *t, const char *path)
{
    char *name = cot_run_folder_checkpoint(t->recipe->output.dir, t->state.progress.step);
    int same = are_one_file(name, path);
    cot_free(name);
    COT_MPI(MPI_Bcast(&same, 1, MPI_INT, 0, t->comm->world));
    return same != 0;
}

/* A run must not go on from an earlier point than what its folder holds, nor beside another's
 * checkpoints: they would be taken for its own. */
static cot_status check_folder(const trainer *t, bool own)
{
    uint64_t *steps = NULL;
    size_t count = 0;
    cot_status status = cot_run_folder_steps(t->recipe->output.dir, &steps, &count);
    uint64_t step = t->state.progress.step;
    uint64_t last = count > 0 ? steps[0] : 0;
    bool clashes = count > 0 && (last > step || !own);
    cot_free(steps);
    if (status != COT_OK) return status;
    if (!clashes || strcmp(t->options->resume, "auto") == 0) return COT_OK;
    if (last <= step)
        return cot_fail(COT_E_CREATE,
                        "%s: holds another checkpoint, of step %lu, than the one to resume from; "
                        "move it away or choose another output.dir",
                        t->recipe->output.dir, (unsigned long)last);
    return cot_fail(COT_E_CREATE,
                    "%s: holds a checkpoint of step %lu, past the step %lu to resume from; move it "
                    "away or choose another output.dir",
                    t->recipe->output.dir, (unsigned long)last, (unsigned long)step);
}

/* A checkpoint within an epoch counts batches of the recipe it was written with. */
static cot_status check_position(const trainer *t, const char *path)
{
    uint64_t batch = t->state.progress.batch;
    size_t batches = cot_sampler_batches(t->sampler);
    if (batch < batches) return COT_OK;
    return cot_fail(COT_E_CONFIG,
                    "%s: stands behind %lu batches of an epoch, which has %zu by this recipe; "
                    "resume with train.batch, train.drop_last and the data as before",
                    path, (unsigned long)batch, batches);
}

static cot_status mend_best(const trainer *t)
{
    const cot_progress *progress = &t->state.progress;
    const char *dir = t->recipe->output.dir;
    if (!progress->has_best) return COT_OK;
    char *file = cot_run_folder_checkpoint(dir, progress->best_step);
    int there = access(file, F_OK) == 0;
    cot_free(file);
    COT_MPI(MPI_Bcast(&there, 1, MPI_INT, 0, t->comm->world));
    return there ? cot_checkpoint_mark_best(t->comm, dir, progress->best_step) : COT_OK;
}

/* An interruption may have come between a checkpoint and its links, or before old ones went. */
static cot_status mend_folder(const trainer *t, bool own)
{
    uint64_t step = t->state.progress.step;
    const char *dir = t->recipe->output.dir;
    char *file = cot_run_folder_checkpoint(dir, step);
    cot_status status = COT_OK;
    if (t->comm->rank == 0 && own)
        status = cot_run_folder_link(dir, "latest.h5", strrchr(file, '/') + 1);
    cot_free(file);
    COT_TRY(cot_comm_agree(t->comm, status));
    COT_TRY(mend_best(t));
    return cot_checkpoint_prune(t->comm, dir, t->recipe->checkpoint.keep, step);
}

static cot_status resume(trainer *t, const char *path)
{
    const bool writes = t->comm->rank == 0;
    cot_checkpoint_header header = {0};
    COT_TRY(cot_checkpoint_read(t->comm, path, false, &t->state));
    COT_TRY(cot_comm_agree(t->comm, check_position(t, path)));
    bool own = is_own(t, path);
    cot_status status = writes ? cot_checkpoint_read_header(path, &header) : COT_OK;
    if (status == COT_OK && writes) status = check_folder(t, own);
    status = cot_comm_agree(t->comm, status);
    if (status == COT_OK) status = mend_folder(t, own);
    if (status == COT_OK)
        status = cot_metrics_open(t->comm, t->recipe->output.dir, false, t->state.progress.step,
                                  &t->metrics);
    if (status == COT_OK) status = trainer_stats_resume(t);
    if (status == COT_OK && writes) warn_of_changes(t, &header);
    cot_checkpoint_header_free(&header);
    if (status != COT_OK) return status;
    cot_info("resuming from %s at step %lu", path, (unsigned long)t->state.progress.step);
    t->has_saved = own;
    t->saved_step = t->state.progress.step;
    return COT_OK;
}

static cot_status start_afresh(trainer *t)
{
    COT_TRY(cot_comm_agree(t->comm, t->comm->rank == 0 ? check_recipe_file(t) : COT_OK));
    if (t->options->init != NULL) {
        char *path = cot_checkpoint_follow(t->comm, t->options->init);
        cot_status status = cot_checkpoint_read(t->comm, path, true, &t->state);
        cot_free(path);
        if (status != COT_OK) return status;
    }
    COT_TRY(trainer_stats_start_afresh(t));
    return cot_metrics_open(t->comm, t->recipe->output.dir, true, 0, &t->metrics);
}

cot_status trainer_begin(trainer *t)
{
    char *path = NULL;
    COT_TRY(cot_run_folder_lock(t->comm, t->recipe->output.dir, &t->lock));
    COT_TRY(cot_comm_agree(t->comm, find_start(t, &path)));
    cot_status status = path != NULL ? resume(t, path) : start_afresh(t);
    cot_free(path);
    if (status != COT_OK) return status;
    return cot_comm_agree(t->comm, t->comm->rank == 0 ? write_recipe_file(t) : COT_OK);
}

/* ---- saving ---- */

cot_checkpoint_info trainer_info(const trainer *t)
{
    return (cot_checkpoint_info){.recipe = t->portable_recipe,
                                 .seed = t->recipe->seed,
                                 .data_checksum =
                                     cot_dataset_info_of(t->experiment->dataset)->checksum,
                                 .blas_core = cot_blas_core(),
                                 .blas_threads = t->recipe->parallel.blas_threads,
                                 .grains = t->experiment->batching.grains,
                                 .expert_replicas = t->recipe->parallel.expert_replicas,
                                 .exchange = cot_experiment_exchange(t->experiment),
                                 .started = t->started};
}

cot_status trainer_save(trainer *t)
{
    const cot_progress *progress = &t->state.progress;
    const char *dir = t->recipe->output.dir;
    if (t->has_saved && t->saved_step == progress->step) return COT_OK;
    COT_TRY(trainer_check_values(t));
    cot_checkpoint_info info = trainer_info(t);
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
    return cot_checkpoint_prune(t->comm, dir, t->recipe->checkpoint.keep, progress->step);
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
