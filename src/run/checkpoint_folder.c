/* Checkpoints of a run folder: which is good, which is best, which can go. */
#include "run/checkpoint_layout.h"

#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>
#include <coterie/shard.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- verification without a registry ---- */

typedef struct part_of {
    size_t part, parts;
    size_t datasets; /* data sets met so far: those in one chunk go round the parts */
} part_of;

static cot_status verify_dataset(const cot_h5_file *file, const char *path, part_of *self)
{
    cot_h5_shape shape = {0};
    COT_TRY(cot_h5_shape_of(file, path, &shape));
    size_t turn = self->datasets++ % self->parts;
    size_t first = turn == self->part ? 0 : shape.dims[0];
    size_t end = shape.dims[0];
    if (shape.chunk_rows > 0) { /* whole chunks for each part */
        size_t chunks = (shape.dims[0] + shape.chunk_rows - 1) / shape.chunk_rows;
        first = cot_shard_begin(chunks, self->parts, self->part) * shape.chunk_rows;
        end = cot_shard_begin(chunks, self->parts, self->part + 1) * shape.chunk_rows;
        if (end > shape.dims[0]) end = shape.dims[0];
    }
    return cot_h5_visit_rows(file, path, &shape, first, end - first, NULL, NULL);
}

static cot_status verify_group(const cot_h5_file *file, const char *group,
                               const cot_h5_names *params, part_of *self)
{
    cot_status status = COT_OK;
    for (size_t i = 0; i < params->count && status == COT_OK; i++) {
        char *path = cot_strprintf("%s/%s", group, params->names[i]);
        status = verify_dataset(file, path, self);
        cot_free(path);
    }
    return status;
}

static cot_status verify_moments(const cot_h5_file *file, const cot_h5_names *params, part_of *self)
{
    cot_h5_names moments = {0};
    cot_status status = COT_OK;
    COT_TRY(cot_h5_members(file, "/optimizer", &moments));
    for (size_t i = 0; i < moments.count && status == COT_OK; i++) {
        char *group = cot_strprintf("/optimizer/%s", moments.names[i]);
        status = verify_group(file, group, params, self);
        cot_free(group);
    }
    cot_h5_names_free(&moments);
    return status;
}

static cot_status verify_content(const cot_h5_file *file, part_of *self)
{
    cot_progress progress;
    cot_h5_names params = {0};
    COT_TRY(cot_checkpoint_read_progress(file, &progress));
    COT_TRY(cot_h5_members(file, "/params", &params));
    cot_status status = verify_group(file, "/params", &params, self);
    if (status == COT_OK) status = verify_moments(file, &params, self);
    cot_h5_names_free(&params);
    return status;
}

cot_status cot_checkpoint_verify(const char *path, size_t part, size_t parts)
{
    cot_h5_file *file = NULL;
    cot_checkpoint_header header;
    part_of self = {.part = part, .parts = parts};
    COT_TRY(cot_checkpoint_read_header(path, &header));
    cot_checkpoint_header_free(&header);
    COT_TRY(cot_h5_open(path, &file));
    cot_status status = verify_content(file, &self);
    cot_h5_close(&file);
    return status;
}

/* ---- what a link means ---- */

/* The file that `path` links to, allocated and beside it unless the link says otherwise; NULL where
 * it is no link. */
static char *link_target(const char *path)
{
    char target[4096];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) return NULL;
    target[length] = '\0';
    const char *name = strrchr(path, '/');
    int folder = target[0] == '/' || name == NULL ? 0 : (int)(name + 1 - path);
    return cot_strprintf("%.*s%s", folder, path, target);
}

char *cot_checkpoint_follow(const cot_comm *comm, const char *path)
{
    enum { LINKS = 40 }; /* as many as Linux follows */
    char *file = cot_strdup(path);
    for (size_t i = 0; comm->rank == 0 && i < LINKS; i++) {
        char *target = link_target(file);
        if (target == NULL) break;
        cot_free(file);
        file = target;
    }
    char *same = cot_comm_broadcast_text(comm, file);
    cot_free(file);
    return same;
}

/* ---- the newest good one ---- */

/* Whether every rank finds its share good; if not, rank 0 warns with the reason of the lowest rank
 * that does not. */
static bool is_good(const cot_comm *comm, const char *path)
{
    enum { REASON_SIZE = 1024 };
    char reason[REASON_SIZE] = "";
    cot_status status = cot_checkpoint_verify(path, (size_t)comm->rank, (size_t)comm->size);
    int lowest = status == COT_OK ? comm->size : comm->rank;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, comm->world));
    if (lowest == comm->size) return true;
    if (status != COT_OK) snprintf(reason, sizeof reason, "%s", cot_failure());
    COT_MPI(MPI_Bcast(reason, REASON_SIZE, MPI_CHAR, lowest, comm->world));
    cot_failure_clear();
    cot_warn("passed over, not a good checkpoint: %s", reason);
    return false;
}

char *cot_checkpoint_newest(const cot_comm *comm, const char *dir)
{
    size_t count = 0;
    uint64_t *steps = NULL;
    char *newest = NULL;
    if (comm->rank == 0 && cot_run_folder_steps(dir, &steps, &count) != COT_OK) {
        cot_warn("%s", cot_failure());
        cot_failure_clear();
    }
    COT_MPI(MPI_Bcast(&count, 1, MPI_UNSIGNED_LONG, 0, comm->world));
    for (size_t i = 0; i < count && newest == NULL; i++) {
        uint64_t step = comm->rank == 0 ? steps[i] : 0;
        COT_MPI(MPI_Bcast(&step, 1, MPI_UINT64_T, 0, comm->world));
        newest = cot_run_folder_checkpoint(dir, step);
        if (is_good(comm, newest)) continue;
        cot_free(newest);
        newest = NULL;
    }
    cot_free(steps);
    return newest;
}

/* ---- best and old ones ---- */

static cot_status link_best(const char *dir, uint64_t step)
{
    char *path = cot_run_folder_checkpoint(dir, step);
    cot_status status = COT_OK;
    if (access(path, F_OK) != 0)
        status = cot_fail(COT_E_IO, "%s: cannot become best.h5: %s", path, strerror(errno));
    if (status == COT_OK) status = cot_run_folder_link(dir, "best.h5", strrchr(path, '/') + 1);
    cot_free(path);
    return status == COT_OK ? cot_run_folder_sync(dir) : status;
}

cot_status cot_checkpoint_mark_best(const cot_comm *comm, const char *dir, uint64_t step)
{
    return cot_comm_agree(comm, comm->rank == 0 ? link_best(dir, step) : COT_OK);
}

static bool is_best(const char *dir, const char *path)
{
    char target[256];
    char *link = cot_strprintf("%s/best.h5", dir);
    ssize_t length = readlink(link, target, sizeof target - 1);
    cot_free(link);
    target[length > 0 ? length : 0] = '\0';
    return strcmp(target, strrchr(path, '/') + 1) == 0;
}

static cot_status remove_old(const char *dir, size_t keep, uint64_t step)
{
    size_t count = 0;
    uint64_t *steps = NULL;
    cot_status status = cot_run_folder_steps(dir, &steps, &count);
    size_t later = 0;
    while (later < count && steps[later] > step) later++;
    for (size_t i = later + keep; i < count && status == COT_OK; i++) {
        char *path = cot_run_folder_checkpoint(dir, steps[i]);
        if (!is_best(dir, path) && unlink(path) != 0)
            status = cot_fail(COT_E_IO, "%s: cannot be removed: %s", path, strerror(errno));
        cot_free(path);
    }
    cot_free(steps);
    return status;
}

cot_status cot_checkpoint_prune(const cot_comm *comm, const char *dir, size_t keep, uint64_t step)
{
    bool removes = comm->rank == 0 && keep > 0;
    return cot_comm_agree(comm, removes ? remove_old(dir, keep, step) : COT_OK);
}
