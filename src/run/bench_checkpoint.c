#include "run/bench_state.h"
#include "run/trainer.h"

#include <coterie/memory.h>
#include <coterie/ordered_sum.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEAST = 3 };

/* ---- a folder for the time being ---- */

/* "runs/mnist" becomes "runs", and that becomes ".". */
static void go_up(char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') path[--length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        memcpy(path, ".", sizeof ".");
    else
        slash[slash == path] = '\0';
}

/* In the nearest folder above `dir` that exists. */
static cot_status make_folder(const char *dir, char **path_out)
{
    struct stat info;
    char *above = cot_strprintf("%s/", dir); /* the slash goes, and leaves room for "." */
    go_up(above);
    while (stat(above, &info) != 0 && errno == ENOENT && strcmp(above, ".") != 0) go_up(above);
    char *path = cot_strprintf("%s/coterie-bench-XXXXXX", above);
    cot_status status = COT_OK;
    if (mkdtemp(path) == NULL)
        status = cot_fail(COT_E_CREATE, "%s: no folder can be created in it: %s", above,
                          strerror(errno));
    cot_free(above);
    if (status == COT_OK)
        *path_out = path;
    else
        cot_free(path);
    return status;
}

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL) return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char *file = cot_strprintf("%s/%s", path, entry->d_name);
        unlink(file); /* fails on "." and "..", as it should */
        cot_free(file);
    }
    closedir(folder);
    rmdir(path);
}

/* Rank 0 makes it; all learn its name. Collective. */
static cot_status share_folder(const cot_comm *comm, const char *dir, char **path_out)
{
    char *mine = NULL;
    cot_status status = comm->rank == 0 ? make_folder(dir, &mine) : COT_OK;
    status = cot_comm_agree(comm, status);
    if (status == COT_OK) *path_out = cot_comm_broadcast_text(comm, mine);
    cot_free(mine);
    return status;
}

/* ---- the same bytes, plainly ---- */

/* What this rank writes of each array, in numbers, and where in the file it begins. */
typedef struct share {
    size_t replicated, sharded; /* 0 where another rank writes them */
    size_t before, total;       /* sharded numbers of the ranks before, and all numbers */
} share;

static share share_of(const cot_comm *comm, const cot_params *params)
{
    size_t replicated = cot_params_replicated_size(params);
    share s = {.replicated = comm->rank == 0 ? replicated : 0,
               .sharded = comm->replica == 0 ? cot_params_sharded_size(params) : 0};
    size_t end = 0;
    COT_MPI(MPI_Scan(&s.sharded, &end, 1, MPI_UNSIGNED_LONG, MPI_SUM, comm->world));
    s.before = replicated + end - s.sharded;
    s.total = cot_params_total(params);
    return s;
}

/* In pieces that MPI can count, as many on every rank as the largest part needs. Collective. */
static int write_part(const cot_comm *comm, MPI_File file, size_t place, size_t numbers,
                      const cot_real *data)
{
    const size_t most = (size_t)1 << 30;
    size_t pieces = (numbers + most - 1) / most;
    int code = MPI_SUCCESS;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &pieces, 1, MPI_UNSIGNED_LONG, MPI_MAX, comm->world));
    for (size_t i = 0; i < pieces; i++) {
        size_t begin = cot_shard_begin(numbers, pieces, i);
        int written = MPI_File_write_at_all(
            file, (MPI_Offset)((place + begin) * sizeof *data), data + begin,
            cot_comm_int(cot_shard_size(numbers, pieces, i)), COT_MPI_REAL, MPI_STATUS_IGNORE);
        if (written != MPI_SUCCESS) code = written;
    }
    return code;
}

/* MPI may report success for what the disk refused, so the file's length has the last word. */
static bool has_size(const char *path, size_t bytes)
{
    struct stat info;
    return stat(path, &info) == 0 && (size_t)info.st_size == bytes;
}

static cot_status write_plainly(const cot_comm *comm, const char *path,
                                const cot_training_state *state, const share *s)
{
    MPI_File file;
    const size_t replicated = cot_params_replicated_size(state->params);
    int code =
        MPI_File_open(comm->world, path, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file);
    if (code != MPI_SUCCESS)
        return cot_comm_agree(comm, cot_fail(COT_E_CREATE, "%s: cannot be created", path));
    for (size_t i = 0; i <= state->moment_count; i++) {
        const cot_real *array = i == 0 ? cot_params_values(state->params) : state->moments[i - 1];
        int first = write_part(comm, file, i * s->total, s->replicated, array);
        int second =
            write_part(comm, file, i * s->total + s->before, s->sharded, array + replicated);
        if (first != MPI_SUCCESS || second != MPI_SUCCESS) code = first | second;
    }
    int synced = MPI_File_sync(file);
    int closed = MPI_File_close(&file);
    bool good = code == MPI_SUCCESS && synced == MPI_SUCCESS && closed == MPI_SUCCESS &&
                has_size(path, (state->moment_count + 1) * s->total * sizeof(cot_real));
    return cot_comm_agree(comm,
                          good ? COT_OK : cot_fail(COT_E_IO, "%s: writing it has failed", path));
}

/* ---- one against the other ---- */

static cot_status time_raw(trainer *t, const char *dir, const share *s, double *seconds_out)
{
    char *path = cot_strprintf("%s/plain", dir);
    double started = bench_start(t->comm);
    cot_status status = write_plainly(t->comm, path, &t->state, s);
    *seconds_out = cot_seconds() - started;
    COT_MPI(MPI_Barrier(t->comm->world));
    /* The next one begins with a new file, as a checkpoint does. */
    if (t->comm->rank == 0) unlink(path);
    cot_free(path);
    return status;
}

static cot_status time_checkpoint(trainer *t, const char *dir, double *seconds_out)
{
    cot_checkpoint_info info = trainer_info(t);
    double started = bench_start(t->comm);
    cot_status status = cot_checkpoint_write(t->comm, dir, &t->state, &info);
    *seconds_out = cot_seconds() - started;
    return status;
}

static cot_status measure(trainer *t, const char *dir, double seconds, cot_checkpoint_bench *bench)
{
    double times[2];
    step_result result;
    share s = share_of(t->comm, t->state.params);
    /* So that the moments are no zeros. */
    COT_TRY(trainer_step(t, &result));
    COT_TRY(time_checkpoint(t, dir, &times[0]));
    COT_TRY(time_raw(t, dir, &s, &times[1]));
    bench->parameters = s.total;
    bench->moments = t->state.moment_count;
    bench->bytes = (bench->moments + 1) * s.total * sizeof(cot_real);
    bench->rounds = bench_rounds(t->comm, seconds, times[0] + times[1], LEAST);
    double *all = cot_alloc(2 * bench->rounds, sizeof *all);
    cot_status status = COT_OK;
    for (size_t i = 0; i < bench->rounds && status == COT_OK; i++) {
        status = time_checkpoint(t, dir, &all[i]);
        if (status == COT_OK) status = time_raw(t, dir, &s, &all[bench->rounds + i]);
    }
    if (status == COT_OK) {
        bench->seconds = bench_slowest(t->comm, bench->rounds, all);
        bench->raw = bench_slowest(t->comm, bench->rounds, all + bench->rounds);
    }
    cot_free(all);
    return status;
}

static cot_status measure_in_folder(trainer *t, double seconds, cot_checkpoint_bench *bench)
{
    char *dir = NULL;
    COT_TRY(share_folder(t->comm, t->recipe->output.dir, &dir));
    cot_status status = measure(t, dir, seconds, bench);
    COT_MPI(MPI_Barrier(t->comm->world));
    if (t->comm->rank == 0) remove_folder(dir);
    cot_free(dir);
    return status;
}

cot_status cot_bench_checkpoint(const cot_comm *world, const cot_recipe *recipe, double seconds,
                                cot_checkpoint_bench *bench_out)
{
    trainer t = {.recipe = recipe};
    cot_timestamp(t.started);
    cot_status status = trainer_create(&t, world);
    if (status == COT_OK) status = measure_in_folder(&t, seconds, bench_out);
    trainer_destroy(&t);
    return status;
}
