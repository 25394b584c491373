#include "run/checkpoint_layout.h"

#include <coterie/clock.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>
#include <coterie/version.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- where and when, the same text on every rank: HDF5 wants equal attributes from all ---- */

typedef struct identity {
    char *host, *written, *slurm_job_id; /* slurm_job_id empty outside of Slurm */
} identity;

static identity take_identity(const cot_comm *comm)
{
    char host[256] = "";
    char written[COT_TIMESTAMP_SIZE];
    const char *job = getenv("SLURM_JOB_ID");
    gethostname(host, sizeof host - 1);
    cot_timestamp(written);
    return (identity){cot_comm_broadcast_text(comm, host), cot_comm_broadcast_text(comm, written),
                      cot_comm_broadcast_text(comm, job != NULL ? job : "")};
}

static void free_identity(identity *self)
{
    cot_free(self->host);
    cot_free(self->written);
    cot_free(self->slurm_job_id);
}

/* ---- the content ---- */

static cot_status write_numbers(cot_h5_file *file, const cot_comm *comm,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"format_version", COT_CHECKPOINT_VERSION},
                   {"step", state->progress.step},
                   {"epoch", state->progress.epoch},
                   {"samples_seen", state->progress.samples_seen},
                   {"seed", info->seed},
                   {"ranks", (uint64_t)comm->size},
                   {"data_checksum", info->data_checksum},
                   {"blas_threads", info->blas_threads},
                   {"grains", info->grains},
                   {"expert_replicas", info->expert_replicas}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        COT_TRY(cot_h5_set_uint(file, "/", numbers[i].name, numbers[i].value));
    return COT_OK;
}

static cot_status write_texts(cot_h5_file *file, const identity *self,
                              const cot_checkpoint_info *info)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"format", COT_CHECKPOINT_FORMAT},
                 {"recipe", info->recipe},
                 {"coterie_version", cot_version()},
                 {"build", cot_build()},
                 {"host", self->host},
                 {"started", info->started},
                 {"written", self->written},
                 {"blas_core", info->blas_core},
                 {"exchange", info->exchange}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        COT_TRY(cot_h5_set_text(file, "/", texts[i].name, texts[i].value));
    if (self->slurm_job_id[0] == '\0') return COT_OK;
    return cot_h5_set_text(file, "/", "slurm_job_id", self->slurm_job_id);
}

/* The rows of a parameter that this rank writes: its experts in the first expert group; all of a
 * replicated one on rank 0. */
static size_t rows_to_write(const cot_comm *comm, const cot_param *param)
{
    bool mine = param->placement == COT_SHARDED ? comm->replica == 0 : comm->rank == 0;
    return mine ? param->rows : 0;
}

static cot_status write_param(cot_h5_file *file, const cot_comm *comm,
                              const cot_training_state *state, size_t array, const cot_param *param)
{
    char path[COT_CHECKPOINT_PATH_SIZE];
    cot_h5_shape shape = cot_checkpoint_shape(param);
    cot_checkpoint_dataset(state, array, param, path);
    COT_TRY(cot_h5_create_dataset(file, path, &shape));
    COT_TRY(cot_h5_set_text(file, path, "placement",
                            param->placement == COT_SHARDED ? "expert" : "replicated"));
    COT_TRY(cot_h5_set_text(file, path, "axes", param->axes));
    size_t rows = rows_to_write(comm, param);
    return cot_h5_write_rows(file, path, shape.type, rows > 0 ? param->first_row : 0, rows,
                             cot_checkpoint_array(state, array) + param->offset);
}

static cot_status write_arrays(cot_h5_file *file, const cot_comm *comm,
                               const cot_training_state *state)
{
    char group[COT_CHECKPOINT_PATH_SIZE];
    for (size_t array = 0; array < cot_checkpoint_array_count(state); array++) {
        cot_checkpoint_group(state, array, group);
        COT_TRY(cot_h5_create_group(file, group));
        for (size_t i = 0; i < cot_params_count(state->params); i++)
            COT_TRY(write_param(file, comm, state, array, cot_params_at(state->params, i)));
    }
    return COT_OK;
}

static cot_status write_content(cot_h5_file *file, const cot_comm *comm, const identity *self,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    COT_TRY(write_texts(file, self, info));
    COT_TRY(write_numbers(file, comm, state, info));
    COT_TRY(cot_checkpoint_write_progress(file, &state->progress));
    COT_TRY(cot_h5_create_group(file, "/optimizer"));
    COT_TRY(cot_h5_set_uint(file, "/optimizer", "step", state->progress.step));
    return write_arrays(file, comm, state);
}

static cot_status write_partial(const cot_comm *comm, const char *path,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    cot_h5_file *file = NULL;
    identity self = take_identity(comm);
    cot_status status = cot_h5_create(comm, path, &file);
    if (status == COT_OK) {
        status = write_content(file, comm, &self, state, info);
        cot_status finished = cot_h5_finish(&file);
        if (status == COT_OK) status = finished;
        status = cot_comm_agree(comm, status);
    }
    free_identity(&self);
    return status;
}

/* ---- onto the disk ---- */

/* On every rank, for what a rank of another node wrote lies in that node's memory. */
static cot_status sync_file(const char *path)
{
    cot_status status = COT_OK;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0 || fsync(descriptor) != 0)
        status = cot_fail(COT_E_IO, "%s: cannot be synchronized: %s", path, strerror(errno));
    if (descriptor >= 0) close(descriptor);
    return status;
}

/* ---- reading back ---- */

typedef struct comparison {
    const cot_real *expected;
    bool equal;
} comparison;

static void compare(void *context, const void *data, size_t elements)
{
    comparison *self = context;
    const float *found = data;
    for (size_t i = 0; i < elements; i++) {
        float expected = (float)self->expected[i]; /* compared by bits: NaN must come back too */
        self->equal = self->equal && memcmp(&found[i], &expected, sizeof expected) == 0;
    }
    self->expected += elements;
}

static cot_status verify_param(const cot_h5_file *file, const cot_comm *comm,
                               const cot_training_state *state, size_t array,
                               const cot_param *param)
{
    char path[COT_CHECKPOINT_PATH_SIZE];
    cot_h5_shape shape = {0};
    comparison self = {cot_checkpoint_array(state, array) + param->offset, true};
    size_t rows = rows_to_write(comm, param);
    if (rows == 0) return COT_OK;
    cot_checkpoint_dataset(state, array, param, path);
    COT_TRY(cot_h5_shape_of(file, path, &shape));
    COT_TRY(cot_h5_visit_rows(file, path, &shape, param->first_row, rows, compare, &self));
    if (self.equal) return COT_OK;
    return cot_fail(COT_E_IO, "%s: %s reads back differently from what was written",
                    cot_h5_path(file), path);
}

static cot_status verify_arrays(const cot_h5_file *file, const cot_comm *comm,
                                const cot_training_state *state)
{
    COT_TRY(cot_checkpoint_check_layout(file, state, false));
    for (size_t array = 0; array < cot_checkpoint_array_count(state); array++)
        for (size_t i = 0; i < cot_params_count(state->params); i++)
            COT_TRY(verify_param(file, comm, state, array, cot_params_at(state->params, i)));
    return COT_OK;
}

/* Whatever is wrong with a file just written, the disk is to blame. */
static cot_status verify_partial(const cot_comm *comm, const char *path,
                                 const cot_training_state *state)
{
    cot_h5_file *file = NULL;
    cot_status status = cot_h5_open(path, &file);
    if (status == COT_OK) {
        status = verify_arrays(file, comm, state);
        cot_h5_close(&file);
    }
    return status == COT_OK ? COT_OK : COT_E_IO;
}

/* ---- under its name ---- */

static cot_status publish(const char *dir, const char *partial, const char *path)
{
    if (rename(partial, path) != 0)
        return cot_fail(COT_E_IO, "%s: cannot be renamed to %s: %s", partial, path,
                        strerror(errno));
    COT_TRY(cot_run_folder_sync(dir));
    COT_TRY(cot_run_folder_link(dir, "latest.h5", strrchr(path, '/') + 1));
    return cot_run_folder_sync(dir);
}

cot_status cot_checkpoint_write(const cot_comm *comm, const char *dir,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    char *path = cot_run_folder_checkpoint(dir, state->progress.step);
    char *partial = cot_strprintf("%s.partial", path);
    cot_status status = write_partial(comm, partial, state, info);
    if (status == COT_OK) status = cot_comm_agree(comm, sync_file(partial));
    if (status == COT_OK) status = cot_comm_agree(comm, verify_partial(comm, partial, state));
    if (status == COT_OK)
        status = cot_comm_agree(comm, comm->rank == 0 ? publish(dir, partial, path) : COT_OK);
    if (status != COT_OK) {
        if (comm->rank == 0) unlink(partial);
        COT_MPI(MPI_Barrier(comm->world)); /* removed when any rank returns */
    }
    cot_free(partial);
    cot_free(path);
    return status;
}
