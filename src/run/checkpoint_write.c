#include "run/checkpoint_layout.h"
#include "run/origin.h"
#include "run/replace.h"

#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <string.h>
#include <unistd.h>

/* ---- the content ---- */

static cot_status write_attributes(cot_h5_file *file, const cot_origin *origin,
                                   const cot_progress *progress, const cot_checkpoint_info *info)
{
    COT_TRY(cot_origin_write(file, origin, COT_CHECKPOINT_FORMAT, COT_CHECKPOINT_VERSION, info));
    COT_TRY(cot_h5_set_uint(file, "/", "step", progress->step));
    COT_TRY(cot_h5_set_uint(file, "/", "epoch", progress->epoch));
    return cot_h5_set_uint(file, "/", "samples_seen", progress->samples_seen);
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

static cot_status write_content(cot_h5_file *file, const cot_comm *comm, const cot_origin *origin,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    COT_TRY(write_attributes(file, origin, &state->progress, info));
    COT_TRY(cot_checkpoint_write_progress(file, &state->progress));
    COT_TRY(cot_h5_create_group(file, "/optimizer"));
    COT_TRY(cot_h5_set_uint(file, "/optimizer", "step", state->progress.step));
    return write_arrays(file, comm, state);
}

static cot_status write_partial(const cot_comm *comm, const char *path,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    cot_h5_file *file = NULL;
    cot_origin origin = cot_origin_take(comm);
    cot_status status = cot_h5_create(comm, path, &file);
    if (status == COT_OK) {
        status = write_content(file, comm, &origin, state, info);
        cot_status finished = cot_h5_finish(&file);
        if (status == COT_OK) status = finished;
        status = cot_comm_agree(comm, status);
    }
    cot_origin_free(&origin);
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
    COT_TRY(cot_replace_publish(partial, path));
    COT_TRY(cot_run_folder_link(dir, "latest.h5", strrchr(path, '/') + 1));
    return cot_run_folder_sync(dir);
}

cot_status cot_checkpoint_write(const cot_comm *comm, const char *dir,
                                const cot_training_state *state, const cot_checkpoint_info *info)
{
    char *path = cot_run_folder_checkpoint(dir, state->progress.step);
    char *partial = cot_replace_partial(path);
    cot_status status = write_partial(comm, partial, state, info);
    if (status == COT_OK) status = cot_comm_agree(comm, cot_replace_sync(partial));
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
