/* The statistics file of a study. */
#include "run/specializer.h"

#include <coterie/blas.h>
#include <coterie/memory.h>

#include <string.h>
#include <sys/stat.h>

static bool says(const cot_h5_file *file, const char *attribute, const char *text)
{
    char *value = NULL;
    bool same = cot_h5_get_text(file, "/", attribute, &value) == COT_OK && strcmp(value, text) == 0;
    cot_free(value);
    return same;
}

/* What a name that was mistaken would cost: what training has written is never replaced. */
static cot_status check_output(const char *path)
{
    struct stat about;
    cot_h5_file *file = NULL;
    const char *what = NULL;
    if (stat(path, &about) != 0) return COT_OK;
    if (!S_ISREG(about.st_mode))
        return cot_fail(COT_E_CREATE, "%s: is not a regular file; name another with -o", path);
    if (cot_h5_open(path, &file) == COT_OK) {
        if (says(file, "format", "coterie-checkpoint")) what = "a checkpoint";
        if (says(file, "kind", "training")) what = "the record of a training";
    }
    cot_failure_clear(); /* whatever else it is may be replaced */
    cot_h5_close(&file);
    if (what == NULL) return COT_OK;
    return cot_fail(COT_E_CREATE, "%s: is %s; name another file with -o", path, what);
}

/* The variables with a row for every sample (docs/statistics.md). */
static void list_samples(const specializer *s, cot_catalog *rows)
{
    cot_catalog_add_axis(rows, "layer", cot_model_layers(s->ex->model), "Soft MoE layer");
    cot_catalog_add_axis(rows, "expert", cot_model_shape(s->ex->model)->E, "expert");
    cot_catalog_add_axis(rows, "sample", specialize_samples(s), "sample of the split");
    if (cot_experiment_classifies(s->ex)) {
        cot_catalog_add_wholes(rows, "label", "sample", "class of the sample", NULL);
        cot_catalog_add_wholes(rows, "prediction", "sample", "class predicted with all experts",
                               NULL);
    }
    cot_catalog_add(rows, &(cot_variable){.name = "expert_mass",
                                          .axes = "sample,layer,expert",
                                          .units = "1",
                                          .meaning = "share of the sample's combine weights",
                                          .type = COT_H5_FLOAT32});
}

cot_status specialize_begin_file(specializer *s, const char *output)
{
    const cot_comm *comm = s->ex->comm;
    COT_TRY(cot_comm_agree(comm, comm->rank == 0 ? check_output(output) : COT_OK));
    cot_catalog *rows = NULL;
    if (s->options->samples) {
        rows = cot_alloc(1, sizeof *rows);
        list_samples(s, rows);
    }
    cot_status status =
        cot_statistics_begin(comm, output, rows, s->ex->batching.max_batch, &s->file);
    cot_free(rows);
    return status;
}

cot_status specialize_finish_file(specializer *s, const char *started)
{
    const cot_experiment *ex = s->ex;
    char *recipe = cot_recipe_print(s->trained->recipe, true);
    char *selectors = specialize_selectors(s);
    const cot_checkpoint_info origin = {.recipe = recipe,
                                        .seed = s->trained->recipe->seed,
                                        .data_checksum = cot_dataset_info_of(ex->dataset)->checksum,
                                        .blas_core = cot_blas_core(),
                                        .blas_threads = s->trained->recipe->parallel.blas_threads,
                                        .grains = ex->batching.grains,
                                        .expert_replicas = 1,
                                        .exchange = "slots",
                                        .started = started};
    const cot_statistics_info info = {.kind = "study",
                                      .split = cot_split_name(s->options->split),
                                      .selectors = selectors,
                                      .origin = &origin};
    cot_status status = cot_statistics_finish(&s->file, &info, &s->catalog);
    cot_free(selectors);
    cot_free(recipe);
    return status;
}
