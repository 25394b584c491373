/* A member's last checkpoint: whether it is by the recipe at hand, whether there is a study of it,
 * and making one. */
#include "run/specializer.h"
#include "run/suite_member.h"

#include <coterie/checkpoint.h>
#include <coterie/h5.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <string.h>

/* What may differ and is no difference: the data may have moved, and a study is made in one expert
 * group, whatever the training was made with. */
enum { OVERRIDES = 2 };
typedef struct overrides {
    char *texts[OVERRIDES];
    cot_override list[OVERRIDES];
} overrides;

static overrides overrides_of(const cot_suite_member *member)
{
    overrides own;
    own.list[0] = own.texts[0] = cot_strprintf("data.path=%s", member->recipe->data.path);
    own.list[1] = own.texts[1] =
        cot_strprintf("parallel.expert_replicas=%zu", member->recipe->parallel.expert_replicas);
    return own;
}

static void free_overrides(overrides *own)
{
    for (size_t i = 0; i < OVERRIDES; i++) cot_free(own->texts[i]);
}

/* A recipe out of a file; NULL for one that is not good. */
static cot_recipe *parse_found(const cot_suite_member *member, const char *text)
{
    cot_recipe *recipe = NULL;
    overrides own = overrides_of(member);
    if (cot_recipe_parse(text, member->dir, OVERRIDES, own.list, &recipe) != COT_OK)
        cot_failure_clear();
    free_overrides(&own);
    return recipe;
}

/* ---- of this very checkpoint ---- */

static void note_difference(void *same, const char *line)
{
    (void)line;
    *(bool *)same = false;
}

static bool recipes_agree(const cot_suite_member *member, const char *one, const char *other)
{
    cot_recipe *first = parse_found(member, one);
    cot_recipe *second = parse_found(member, other);
    bool same = first != NULL && second != NULL;
    if (same) cot_recipe_compare(first, second, note_difference, &same);
    cot_recipe_destroy(&second);
    cot_recipe_destroy(&first);
    return same;
}

static bool is_of_checkpoint(const cot_suite_member *member, const cot_h5_file *study,
                             const cot_checkpoint_header *header)
{
    int64_t step = 0;
    uint64_t checksum = 0;
    char *recipe = NULL;
    bool same = cot_h5_read_rows(study, "/step", COT_H5_INT64, 0, 1, &step) == COT_OK &&
                cot_h5_get_uint(study, "/", "data_checksum", &checksum) == COT_OK &&
                cot_h5_get_text(study, "/", "recipe", &recipe) == COT_OK &&
                (uint64_t)step == header->step && checksum == header->data_checksum &&
                recipes_agree(member, header->recipe, recipe);
    cot_free(recipe);
    return same;
}

/* ---- with all that is asked for ---- */

static bool has_dataset(const cot_h5_file *study, const char *path)
{
    return cot_h5_kind_of(study, path) == COT_H5_DATASET;
}

/* Whether a coordinate holds a number, in either type. */
static bool holds(const cot_h5_file *study, const char *coordinate, double value)
{
    cot_h5_shape shape = {0};
    if (!has_dataset(study, coordinate) || cot_h5_shape_of(study, coordinate, &shape) != COT_OK ||
        shape.axis_count != 1)
        return false;
    bool whole = shape.type == COT_H5_INT64;
    if (!whole && shape.type != COT_H5_FLOAT64) return false;
    int64_t *counts = cot_alloc(shape.dims[0], sizeof *counts);
    double *reals = cot_alloc(shape.dims[0], sizeof *reals);
    bool found = false;
    if (cot_h5_read_rows(study, coordinate, shape.type, 0, shape.dims[0],
                         whole ? (void *)counts : reals) == COT_OK)
        for (size_t i = 0; i < shape.dims[0]; i++)
            found = found || (whole ? (double)counts[i] : reals[i]) == value;
    cot_free(reals);
    cot_free(counts);
    return found;
}

static bool has_selector(const cot_h5_file *study, const char *name)
{
    char *loss = cot_strprintf("/loss_%s", name);
    bool there = has_dataset(study, loss);
    cot_free(loss);
    return there;
}

static bool has_selectors(const cot_h5_file *study, const specialize_plan *plan)
{
    for (cot_order order = 0; order < COT_ORDERS; order++)
        if (plan->orders[order] && !has_selector(study, cot_order_name(order))) return false;
    return !plan->exhaustive || has_selector(study, "exhaustive");
}

/* The limit may have been lower then: sizes left out have no subsets. */
static bool has_searched(const cot_h5_file *study, size_t experts, size_t limit)
{
    const char *const counts = "/exhaustive_subsets";
    cot_h5_shape shape = {0};
    cot_h5_shape searched = {0};
    if (!has_dataset(study, counts) || cot_h5_shape_of(study, "/keep", &shape) != COT_OK ||
        cot_h5_shape_of(study, counts, &searched) != COT_OK || shape.axis_count != 1 ||
        searched.axis_count != 2 || searched.dims[0] != 1 || searched.dims[1] != shape.dims[0])
        return false;
    int64_t *keeps = cot_alloc(shape.dims[0], sizeof *keeps);
    int64_t *subsets = cot_alloc(shape.dims[0], sizeof *subsets);
    bool has = cot_h5_read_rows(study, "/keep", COT_H5_INT64, 0, shape.dims[0], keeps) == COT_OK &&
               cot_h5_read_rows(study, counts, COT_H5_INT64, 0, 1, subsets) == COT_OK;
    for (size_t i = 0; i < shape.dims[0] && has; i++)
        has = subsets[i] > 0 || cot_subset_count(experts, (size_t)keeps[i]) > limit;
    cot_free(subsets);
    cot_free(keeps);
    return has;
}

/* Sizes, seeds and shares. */
static bool has_coordinates(const cot_h5_file *study, const specialize_plan *plan,
                            const cot_specialize_options *asked)
{
    for (size_t i = 0; i < plan->keeps.count; i++)
        if (!holds(study, "/keep", (double)plan->keeps.sizes[i])) return false;
    for (size_t i = 0; plan->orders[COT_ORDER_RANDOM] && i < asked->seeds; i++)
        if (!holds(study, "/seed", (double)(asked->first_seed + i))) return false;
    for (size_t i = 0; i < asked->mass_count; i++)
        if (!holds(study, "/mass", asked->masses[i])) return false;
    return true;
}

static bool has_what_is_asked(const cot_h5_file *study, const cot_suite_member *member)
{
    const cot_specialize_options *asked = &member->study;
    char *split = NULL;
    specialize_plan plan;
    if (specialize_plan_create(asked, member->experts, member->recipe->model.layers, &plan) !=
        COT_OK)
        return false;
    bool has = cot_h5_get_text(study, "/", "split", &split) == COT_OK &&
               strcmp(split, cot_split_name(asked->split)) == 0 && has_selectors(study, &plan) &&
               has_coordinates(study, &plan, asked) &&
               (!plan.exhaustive || has_searched(study, member->experts, asked->subset_limit)) &&
               (!asked->samples || has_dataset(study, "/expert_mass")) &&
               (asked->timed_batches == 0 || has_dataset(study, "/timing/seconds_per_sample"));
    cot_free(split);
    specialize_plan_free(&plan);
    return has;
}

/* ---- what a member's study shall hold ---- */

/* One list of subset sizes serves members with few and with many experts; of a single layer, the
 * exhaustive search leaves out sizes with too many subsets, a deep model refuses it. */
cot_status suite_study_plan(cot_suite_member *member, const cot_specialize_options *asked)
{
    const size_t layers = member->recipe->model.layers;
    size_t *keeps = cot_alloc(asked->keep_count, sizeof *keeps);
    specialize_plan plan;
    member->study = *asked;
    member->study.keeps = keeps;
    member->study.keep_count = 0;
    member->study.report = NULL;
    for (size_t i = 0; i < asked->keep_count; i++)
        if (asked->keeps[i] <= member->experts) keeps[member->study.keep_count++] = asked->keeps[i];
    if (asked->exhaustive == COT_EXHAUSTIVE && layers == 1)
        member->study.exhaustive = COT_EXHAUSTIVE_WHERE_FEW;
    COT_TRY(specialize_plan_create(&member->study, member->experts, layers, &plan));
    specialize_plan_free(&plan);
    return COT_OK;
}

void suite_study_plan_free(cot_suite_member *member)
{
    cot_free((size_t *)member->study.keeps);
}

/* ---- both ---- */

bool suite_study_is_current(cot_suite_member *member)
{
    cot_checkpoint_header header = {0};
    cot_h5_file *file = NULL;
    char *checkpoint = suite_member_file(member, "latest.h5");
    char *study = suite_member_file(member, "study.h5");
    bool current = cot_h5_open(study, &file) == COT_OK &&
                   cot_checkpoint_read_header(checkpoint, &header) == COT_OK &&
                   is_of_checkpoint(member, file, &header) && has_what_is_asked(file, member);
    if (current) suite_read_result(file, member);
    cot_failure_clear(); /* whatever is wrong with a study, the way out is a new one */
    cot_checkpoint_header_free(&header);
    cot_h5_close(&file);
    cot_free(study);
    cot_free(checkpoint);
    return current;
}

static void warn_of_key(void *member, const char *line)
{
    cot_warn("%s: is done, by another recipe, and stays so (%s); move it away to train it anew",
             ((const cot_suite_member *)member)->dir, line);
}

void suite_warn_of_changes(cot_suite_member *member)
{
    cot_checkpoint_header header = {0};
    char *path = suite_member_file(member, "latest.h5");
    cot_recipe *before = NULL;
    if (cot_checkpoint_read_header(path, &header) == COT_OK)
        before = parse_found(member, header.recipe);
    if (before != NULL) cot_recipe_compare(before, member->recipe, warn_of_key, member);
    cot_failure_clear();
    cot_recipe_destroy(&before);
    cot_checkpoint_header_free(&header);
    cot_free(path);
}

static cot_status specialize(const cot_comm *world, const cot_suite_member *member)
{
    cot_specialize_options options = member->study;
    overrides own = overrides_of(member);
    char *checkpoint = suite_member_file(member, "latest.h5");
    char *study = suite_member_file(member, "study.h5");
    options.override_count = OVERRIDES;
    options.overrides = own.list;
    cot_status status = cot_specialize(world, checkpoint, study, &options);
    cot_free(study);
    cot_free(checkpoint);
    free_overrides(&own);
    return status;
}

cot_status suite_study_make(const cot_comm *world, cot_suite_member *member)
{
    cot_run_lock *lock = NULL;
    COT_TRY(cot_run_folder_lock(world, member->dir, &lock));
    int current = world->rank == 0 && suite_study_is_current(member);
    COT_MPI(MPI_Bcast(&current, 1, MPI_INT, 0, world->world));
    cot_status status = current ? COT_OK : specialize(world, member);
    cot_run_folder_unlock(&lock);
    return status;
}
