/* The study of a suite's member: whether there is one of its last checkpoint, and making it. */
#include "run/suite_member.h"

#include <coterie/checkpoint.h>
#include <coterie/h5.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <string.h>

/* The data may have moved since the training; one expert group, whatever it was trained with. */
enum { OVERRIDES = 2 };
typedef struct overrides {
    size_t count;
    cot_override list[OVERRIDES];
    char *path;
} overrides;

static overrides overrides_of(const cot_suite_member *member)
{
    overrides own = {.count = 1, .list = {"parallel.expert_replicas=1"}};
    if (member->recipe->data.source != COT_DATA_IDX) return own;
    own.path = cot_strprintf("data.path=%s", member->recipe->data.path);
    own.list[own.count++] = own.path;
    return own;
}

/* ---- of this very checkpoint ---- */

static void note_difference(void *same, const char *line)
{
    (void)line;
    *(bool *)same = false;
}

static bool recipes_agree(const cot_suite_member *member, const char *one, const char *other)
{
    cot_recipe *recipes[2] = {NULL, NULL};
    overrides own = overrides_of(member);
    bool same = cot_recipe_parse(one, "checkpoint", own.count, own.list, &recipes[0]) == COT_OK &&
                cot_recipe_parse(other, "study", own.count, own.list, &recipes[1]) == COT_OK;
    if (same) cot_recipe_compare(recipes[0], recipes[1], note_difference, &same);
    cot_recipe_destroy(&recipes[0]);
    cot_recipe_destroy(&recipes[1]);
    cot_free(own.path);
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

/* Whether a coordinate holds a number, in either type. */
static bool holds(const cot_h5_file *study, const char *coordinate, double value)
{
    cot_h5_shape shape = {0};
    if (cot_h5_kind_of(study, coordinate) != COT_H5_DATASET ||
        cot_h5_shape_of(study, coordinate, &shape) != COT_OK || shape.axis_count != 1)
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
    bool there = cot_h5_kind_of(study, loss) == COT_H5_DATASET;
    cot_free(loss);
    return there;
}

static bool has_orders(const cot_h5_file *study, const cot_specialize_options *asked)
{
    for (cot_order order = 0; order < COT_ORDERS; order++) {
        /* Where only what is possible was asked for, its absence says nothing. */
        bool may_lack = asked->orders_where_possible && !cot_order_needs_routing_only(order);
        if (asked->orders[order] && !may_lack && !has_selector(study, cot_order_name(order)))
            return false;
    }
    return asked->exhaustive != COT_EXHAUSTIVE || has_selector(study, "exhaustive");
}

static bool has_keeps(const cot_h5_file *study, const cot_specialize_options *asked, size_t experts)
{
    bool has = true;
    if (asked->keep == COT_KEEP_LIST)
        for (size_t i = 0; i < asked->keep_count; i++)
            has = has && holds(study, "/keep", (double)asked->keeps[i]);
    if (asked->keep == COT_KEEP_SWEEP)
        for (size_t k = 1; k <= experts; k++) has = has && holds(study, "/keep", (double)k);
    if (asked->keep == COT_KEEP_POWERS)
        for (size_t k = 1; k <= experts; k *= 2) has = has && holds(study, "/keep", (double)k);
    return has;
}

static bool has_what_is_asked(const cot_h5_file *study, const cot_suite_member *member,
                              const cot_specialize_options *asked)
{
    char *split = NULL;
    bool has = cot_h5_get_text(study, "/", "split", &split) == COT_OK &&
               strcmp(split, cot_split_name(asked->split)) == 0 && has_orders(study, asked) &&
               has_keeps(study, asked, member->experts);
    cot_free(split);
    if (asked->orders[COT_ORDER_RANDOM])
        for (size_t i = 0; i < asked->seeds; i++)
            has = has && holds(study, "/seed", (double)(asked->first_seed + i));
    for (size_t i = 0; i < asked->mass_count; i++)
        has = has && holds(study, "/mass", asked->masses[i]);
    if (asked->samples) has = has && cot_h5_kind_of(study, "/label") == COT_H5_DATASET;
    return has;
}

/* ---- both ---- */

bool suite_study_is_current(const cot_suite_member *member, const cot_specialize_options *asked)
{
    cot_checkpoint_header header = {0};
    cot_h5_file *file = NULL;
    char *checkpoint = suite_member_file(member, "latest.h5");
    char *study = suite_member_file(member, "study.h5");
    bool current = cot_h5_open(study, &file) == COT_OK &&
                   cot_checkpoint_read_header(checkpoint, &header) == COT_OK &&
                   is_of_checkpoint(member, file, &header) &&
                   has_what_is_asked(file, member, asked);
    cot_failure_clear(); /* whatever is wrong with a study, the way out is a new one */
    cot_checkpoint_header_free(&header);
    cot_h5_close(&file);
    cot_free(study);
    cot_free(checkpoint);
    return current;
}

static cot_status specialize(const cot_comm *world, const cot_suite_member *member,
                             const cot_specialize_options *asked)
{
    cot_specialize_options options = *asked;
    overrides own = overrides_of(member);
    char *checkpoint = suite_member_file(member, "latest.h5");
    char *study = suite_member_file(member, "study.h5");
    options.override_count = own.count;
    options.overrides = own.list;
    cot_status status = cot_specialize(world, checkpoint, study, &options);
    cot_free(study);
    cot_free(checkpoint);
    cot_free(own.path);
    return status;
}

cot_status suite_study_make(const cot_comm *world, const cot_suite_member *member,
                            const cot_specialize_options *asked)
{
    cot_run_lock *lock = NULL;
    COT_TRY(cot_run_folder_lock(world, member->dir, &lock));
    int current = world->rank == 0 && suite_study_is_current(member, asked);
    COT_MPI(MPI_Bcast(&current, 1, MPI_INT, 0, world->world));
    cot_status status = current ? COT_OK : specialize(world, member, asked);
    cot_run_folder_unlock(&lock);
    return status;
}
