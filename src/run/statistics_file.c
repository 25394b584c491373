/* A statistics file that all ranks write together. */
#include "run/replace.h"
#include "run/statistics_layout.h"

#include <coterie/memory.h>
#include <coterie/shard.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct cot_statistics_file {
    const cot_comm *comm;
    char *path, *partial;
    cot_h5_file *h5;
    cot_status status; /* of what this rank has written so far */
    /* Variables with rows, for verification: their names, and the rows of a batch. */
    cot_h5_names rows;
    size_t batch;
};

/* ---- beginning ---- */

static cot_status create_rows(cot_statistics_file *file, const cot_catalog *rows)
{
    COT_TRY(cot_statistics_create_dimensions(file->h5, file->comm->rank == 0, rows));
    file->rows.names = cot_alloc(rows->variable_count, sizeof *file->rows.names);
    for (size_t i = 0; i < rows->variable_count; i++) {
        const cot_variable *variable = &rows->variables[i];
        COT_TRY(cot_statistics_create_rows(file->h5, rows, variable, file->batch));
        file->rows.names[file->rows.count++] = cot_strprintf("/%s", variable->name);
    }
    return COT_OK;
}

/* Close and free what is left, and remove a file that did not get its name. */
static void discard(cot_statistics_file **file, bool published)
{
    cot_statistics_file *self = *file;
    if (!published && self->comm->rank == 0) unlink(self->partial);
    COT_MPI(MPI_Barrier(self->comm->world)); /* removed when any rank returns */
    cot_h5_names_free(&self->rows);
    cot_free(self->partial);
    cot_free(self->path);
    cot_free(self);
    *file = NULL;
}

cot_status cot_statistics_begin(const cot_comm *comm, const char *path, const cot_catalog *rows,
                                size_t batch, cot_statistics_file **file_out)
{
    cot_statistics_file *self = cot_alloc(1, sizeof *self);
    self->comm = comm;
    self->path = cot_strdup(path);
    self->partial = cot_replace_partial(path);
    self->batch = batch;
    cot_status status = cot_h5_create(comm, self->partial, &self->h5);
    if (status != COT_OK) {
        discard(&self, false);
        return status;
    }
    status = cot_comm_agree(comm, rows != NULL ? create_rows(self, rows) : COT_OK);
    if (status == COT_OK) {
        *file_out = self;
        return COT_OK;
    }
    cot_status closed = cot_statistics_finish(&self, NULL, NULL);
    (void)closed; /* the first failure counts */
    return status;
}

cot_status cot_statistics_write_rows(cot_statistics_file *file, const char *name, size_t first,
                                     size_t count, const void *data)
{
    char *path = cot_strprintf("/%s", name);
    cot_h5_shape shape = {0};
    cot_status status = cot_h5_shape_of(file->h5, path, &shape);
    if (status == COT_OK)
        status = cot_h5_write_rows(file->h5, path, shape.type, count > 0 ? first : 0, count, data);
    cot_free(path);
    if (file->status == COT_OK) file->status = status;
    return status;
}

/* ---- finishing ---- */

static cot_status write_records(cot_statistics_file *file, const cot_statistics_info *info,
                                const cot_catalog *catalog)
{
    const bool writes = file->comm->rank == 0;
    cot_origin origin = cot_origin_take(file->comm);
    cot_status status = cot_statistics_write_attributes(file->h5, &origin, info);
    if (status == COT_OK) status = cot_statistics_write_first(file->h5, writes, catalog, false);
    cot_origin_free(&origin);
    return status;
}

static cot_status close_partial(cot_statistics_file *file)
{
    cot_status finished = cot_h5_finish(&file->h5);
    if (file->status == COT_OK) file->status = finished;
    return cot_comm_agree(file->comm, file->status);
}

/* This rank's share of a variable with rows, whole batches of it: their checksums. */
static cot_status verify_rows(const cot_statistics_file *file, const cot_h5_file *h5,
                              const char *path)
{
    cot_h5_shape shape = {0};
    COT_TRY(cot_h5_shape_of(h5, path, &shape));
    const size_t ranks = (size_t)file->comm->size;
    const size_t rank = (size_t)file->comm->rank;
    const size_t batches = (shape.dims[0] + file->batch - 1) / file->batch;
    size_t first = cot_shard_begin(batches, ranks, rank) * file->batch;
    size_t end = cot_shard_begin(batches, ranks, rank + 1) * file->batch;
    if (end > shape.dims[0]) end = shape.dims[0];
    return first < end ? cot_h5_visit_rows(h5, path, &shape, first, end - first, NULL, NULL)
                       : COT_OK;
}

/* Whatever is wrong with a file just written, the disk is to blame. */
static cot_status verify_partial(const cot_statistics_file *file, const cot_catalog *catalog)
{
    cot_h5_file *h5 = NULL;
    cot_status status = cot_h5_open(file->partial, &h5);
    if (status == COT_OK) {
        if (file->comm->rank == 0) status = cot_statistics_check_record(h5, catalog, 0);
        for (size_t i = 0; i < file->rows.count && status == COT_OK; i++)
            status = verify_rows(file, h5, file->rows.names[i]);
        cot_h5_close(&h5);
    }
    return status == COT_OK ? COT_OK : COT_E_IO;
}

cot_status cot_statistics_finish(cot_statistics_file **file, const cot_statistics_info *info,
                                 const cot_catalog *catalog)
{
    cot_statistics_file *self = *file;
    if (self == NULL) return COT_OK;
    const cot_comm *comm = self->comm;
    if (catalog != NULL) {
        cot_status written = write_records(self, info, catalog);
        if (self->status == COT_OK) self->status = written;
    }
    cot_status status = close_partial(self);
    const bool wanted = catalog != NULL;
    if (status == COT_OK && wanted) status = cot_comm_agree(comm, cot_replace_sync(self->partial));
    if (status == COT_OK && wanted) status = cot_comm_agree(comm, verify_partial(self, catalog));
    if (status == COT_OK && wanted)
        status = cot_comm_agree(
            comm, comm->rank == 0 ? cot_replace_publish(self->partial, self->path) : COT_OK);
    discard(file, status == COT_OK && wanted);
    return status;
}

cot_status cot_statistics_write(const cot_comm *comm, const char *path,
                                const cot_statistics_info *info, const cot_catalog *catalog)
{
    cot_statistics_file *file = NULL;
    COT_TRY(cot_statistics_begin(comm, path, NULL, 0, &file));
    return cot_statistics_finish(&file, info, catalog);
}
