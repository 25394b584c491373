/* The statistics file of a study. */
#include "run/replace.h"
#include "run/specializer.h"

#include <coterie/blas.h>
#include <coterie/memory.h>

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
    COT_TRY(cot_comm_agree(comm, comm->rank == 0 ? cot_replace_check(output) : COT_OK));
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
