/* A statistics file that grows record by record: rank 0 works on a copy, which then takes the
 * file's place. */
#include "run/replace.h"
#include "run/statistics_layout.h"

#include <coterie/log.h>
#include <coterie/memory.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- appending ---- */

typedef struct addition {
    const char *path;
    char *partial;
    const cot_origin *origin;
    const cot_statistics_info *info;
    const cot_catalog *catalog;
    size_t record; /* the number of the new one */
} addition;

static cot_status write_next(const addition *self, cot_h5_file *file)
{
    COT_TRY(cot_statistics_resize(file, self->catalog, self->record + 1));
    return cot_statistics_write_record(file, true, self->catalog, self->record);
}

static cot_status create_or_copy(const addition *self, cot_h5_file **file_out)
{
    if (self->record == 0) return cot_h5_create(NULL, self->partial, file_out);
    return cot_h5_create_copy(self->partial, self->path, file_out);
}

static cot_status write_partial(const addition *self)
{
    cot_h5_file *file = NULL;
    COT_TRY(create_or_copy(self, &file));
    cot_status status = cot_statistics_write_attributes(file, self->origin, self->info);
    if (status == COT_OK)
        status = self->record == 0 ? cot_statistics_write_first(file, true, self->catalog, true)
                                   : write_next(self, file);
    cot_status finished = cot_h5_finish(&file);
    return status != COT_OK ? status : finished;
}

/* Whatever is wrong with a file just written, the disk is to blame. */
static cot_status verify_partial(const addition *self)
{
    cot_h5_file *file = NULL;
    cot_status status = cot_h5_open(self->partial, &file);
    if (status == COT_OK) {
        status = cot_statistics_check_record(file, self->catalog, self->record);
        cot_h5_close(&file);
    }
    return status == COT_OK ? COT_OK : COT_E_IO;
}

static bool is_missing(const char *path)
{
    return access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* How many records the file has that fit the catalog; none where there is no file. */
static cot_status count_records(addition *self)
{
    cot_h5_file *file = NULL;
    if (is_missing(self->path)) return COT_OK;
    COT_TRY(cot_h5_open(self->path, &file));
    cot_status status = cot_statistics_check_kind(file, &self->record);
    if (status == COT_OK) status = cot_statistics_check_layout(file, self->catalog, self->record);
    cot_h5_close(&file);
    return status;
}

static cot_status append(addition *self)
{
    COT_TRY(count_records(self));
    cot_status status = write_partial(self);
    if (status == COT_OK) status = cot_replace_sync(self->partial);
    if (status == COT_OK) status = verify_partial(self);
    if (status == COT_OK) status = cot_replace_publish(self->partial, self->path);
    if (status != COT_OK) unlink(self->partial);
    return status;
}

cot_status cot_statistics_append(const cot_comm *comm, const char *path,
                                 const cot_statistics_info *info, const cot_catalog *catalog)
{
    cot_origin origin = cot_origin_take(comm);
    addition self = {.path = path,
                     .partial = cot_replace_partial(path),
                     .origin = &origin,
                     .info = info,
                     .catalog = catalog};
    cot_status status = comm->rank == 0 ? append(&self) : COT_OK;
    cot_free(self.partial);
    cot_origin_free(&origin);
    return cot_comm_agree(comm, status);
}

/* ---- truncating ---- */

typedef cot_status (*dataset_visitor)(void *context, cot_h5_file *file, const char *path);

static cot_status for_each_dataset(cot_h5_file *file, const char *group, dataset_visitor visit,
                                   void *context)
{
    cot_h5_names names = {0};
    cot_status status = COT_OK;
    COT_TRY(cot_h5_members(file, group, &names));
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        char *path = cot_strprintf("%s/%s", group[1] == '\0' ? "" : group, names.names[i]);
        if (group[1] == '\0' && cot_h5_kind_of(file, path) == COT_H5_GROUP)
            status = for_each_dataset(file, path, visit, context);
        else
            status = visit(context, file, path);
        cot_free(path);
    }
    cot_h5_names_free(&names);
    return status;
}

/* All of it can be read, and is as long as `record` is. */
static cot_status verify_dataset(void *records, cot_h5_file *file, const char *path)
{
    cot_h5_shape shape = {0};
    COT_TRY(cot_h5_shape_of(file, path, &shape));
    if (shape.extensible && shape.dims[0] != *(const size_t *)records)
        return cot_fail(COT_E_DATA, "%s: %s has %zu records, not %zu", cot_h5_path(file), path,
                        shape.dims[0], *(const size_t *)records);
    return cot_h5_visit_rows(file, path, &shape, 0, shape.dims[0], NULL, NULL);
}

static cot_status cut_dataset(void *records, cot_h5_file *file, const char *path)
{
    cot_h5_shape shape = {0};
    COT_TRY(cot_h5_shape_of(file, path, &shape));
    return shape.extensible ? cot_h5_resize(file, path, *(const size_t *)records) : COT_OK;
}

/* How many of the records come at or before the step; steps ascend. */
static cot_status count_kept(const cot_h5_file *file, uint64_t step, size_t records,
                             size_t *kept_out)
{
    int64_t *steps = cot_alloc(records, sizeof *steps);
    cot_status status = cot_h5_read_rows(file, "/step", COT_H5_INT64, 0, records, steps);
    size_t kept = 0;
    while (status == COT_OK && kept < records && steps[kept] >= 0 && (uint64_t)steps[kept] <= step)
        kept++;
    cot_free(steps);
    *kept_out = kept;
    return status;
}

static cot_status look_into(const char *path, uint64_t step, size_t *records_out, size_t *kept_out)
{
    cot_h5_file *file = NULL;
    COT_TRY(cot_h5_open(path, &file));
    cot_status status = cot_statistics_check_kind(file, records_out);
    if (status == COT_OK) status = for_each_dataset(file, "/", verify_dataset, records_out);
    if (status == COT_OK) status = count_kept(file, step, *records_out, kept_out);
    cot_h5_close(&file);
    return status;
}

static cot_status set_aside(const char *path)
{
    char *aside = cot_strprintf("%s.damaged", path);
    cot_warn("%s; renamed to %s, and statistics begin anew", cot_failure(), aside);
    cot_failure_clear();
    cot_status status = cot_replace_publish(path, aside);
    cot_free(aside);
    return status;
}

static cot_status cut_copy(const char *path, const char *partial, size_t kept)
{
    cot_h5_file *file = NULL;
    COT_TRY(cot_h5_create_copy(partial, path, &file));
    cot_status status = for_each_dataset(file, "/", cut_dataset, &kept);
    cot_status finished = cot_h5_finish(&file);
    if (status == COT_OK) status = finished;
    if (status == COT_OK) status = cot_replace_sync(partial);
    return status == COT_OK ? cot_replace_publish(partial, path) : status;
}

static cot_status truncate_to(const char *path, uint64_t step)
{
    size_t records = 0;
    size_t kept = 0;
    if (is_missing(path)) return COT_OK;
    if (look_into(path, step, &records, &kept) != COT_OK) return set_aside(path);
    if (kept == records) return COT_OK;
    if (kept == 0 && unlink(path) == 0) return COT_OK;
    if (kept == 0) return cot_fail(COT_E_IO, "%s: cannot be removed: %s", path, strerror(errno));
    char *partial = cot_replace_partial(path);
    cot_status status = cut_copy(path, partial, kept);
    if (status != COT_OK) unlink(partial);
    cot_free(partial);
    return status;
}

static cot_status make_way(const char *path, const cot_catalog *catalog)
{
    addition self = {.path = path, .catalog = catalog};
    cot_status status = count_records(&self);
    return status == COT_E_DATA ? set_aside(path) : status;
}

cot_status cot_statistics_make_way(const cot_comm *comm, const char *path,
                                   const cot_catalog *catalog)
{
    return cot_comm_agree(comm, comm->rank == 0 ? make_way(path, catalog) : COT_OK);
}

cot_status cot_statistics_truncate(const cot_comm *comm, const char *path, uint64_t step)
{
    return cot_comm_agree(comm, comm->rank == 0 ? truncate_to(path, step) : COT_OK);
}
