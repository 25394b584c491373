#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOLDER_SIZE = 320, HOST_SIZE = 256, NEW_FILE_MODE = 0666, NEW_FOLDER_MODE = 0777 };

struct cot_run_lock {
    int descriptor; /* -1 on ranks other than 0 */
};

/* ---- the folder ---- */

static cot_status make_folder(const char *dir)
{
    char *path = cot_strdup(dir);
    cot_status status = COT_OK;
    /* Each prefix that ends before a slash, then the whole. */
    for (char *end = path; end != NULL && status == COT_OK;) {
        end = strchr(end + 1, '/');
        if (end != NULL) *end = '\0';
        if (mkdir(path, NEW_FOLDER_MODE) != 0 && errno != EEXIST)
            status = cot_fail(COT_E_CREATE, "%s: the folder cannot be created: %s", dir,
                              strerror(errno));
        if (end != NULL) *end = '/';
    }
    cot_free(path);
    return status;
}

/* Call `visit` with the name of every entry. A folder that is not there has none; one that cannot
 * be listed must not be taken for such a one. */
static cot_status for_each_entry(const char *dir, void (*visit)(void *context, const char *name),
                                 void *context)
{
    DIR *folder = opendir(dir);
    if (folder == NULL && errno == ENOENT) return COT_OK;
    bool good = folder != NULL;
    while (good) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        good = entry != NULL || errno == 0;
        if (entry == NULL) break;
        visit(context, entry->d_name);
    }
    cot_status status =
        good ? COT_OK : cot_fail(COT_E_IO, "%s: cannot be listed: %s", dir, strerror(errno));
    if (folder != NULL) closedir(folder);
    return status;
}

/* What a run left that was cut off; what others are writing here, studies and predictions, is
 * theirs. MPI may leave files of its own beside the one it was writing:
 * "checkpoint-5.h5.partial.data.0". */
static void remove_if_partial(void *dir, const char *name)
{
    static const char *const own[] = {"checkpoint-", "latest.", "best.", "stats."};
    bool is_own = false;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        is_own = is_own || strncmp(name, own[i], strlen(own[i])) == 0;
    if (!is_own || strstr(name, ".h5.partial") == NULL) return;
    char *path = cot_strprintf("%s/%s", (const char *)dir, name);
    unlink(path);
    cot_free(path);
}

/* ---- the lock ---- */

static void read_holder(int descriptor, char holder[HOLDER_SIZE])
{
    ssize_t size = pread(descriptor, holder, HOLDER_SIZE - 1, 0);
    holder[size > 0 ? size : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    if (holder[0] == '\0') snprintf(holder, HOLDER_SIZE, "another process");
}

/* Only a help for the reader of a refusal; the lock itself is the kernel's, so failing to write is
 * no harm. */
static void write_holder(int descriptor)
{
    char host[HOST_SIZE] = "";
    char holder[HOLDER_SIZE];
    gethostname(host, sizeof host - 1);
    int size = snprintf(holder, sizeof holder, "process %ld on %s\n", (long)getpid(), host);
    if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, holder, (size_t)size, 0) != size)
        return;
}

static cot_status take_lock(const char *dir, const char *path, int *descriptor_out)
{
    char holder[HOLDER_SIZE];
    COT_TRY(make_folder(dir));
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, NEW_FILE_MODE);
    if (descriptor < 0)
        return cot_fail(COT_E_CREATE, "%s: cannot be created: %s", path, strerror(errno));
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        read_holder(descriptor, holder);
        close(descriptor);
        return cot_fail(COT_E_CREATE, "%s: in use by %s; wait for it or choose another output.dir",
                        dir, holder);
    }
    /* Any other failure: a file system without locks. Then there is no protection, but also no
     * reason to refuse. */
    write_holder(descriptor);
    *descriptor_out = descriptor;
    return COT_OK;
}

cot_status cot_run_folder_lock(const cot_comm *comm, const char *dir, cot_run_lock **lock_out)
{
    int descriptor = -1;
    char *path = cot_strprintf("%s/lock", dir);
    cot_status status = comm->rank == 0 ? take_lock(dir, path, &descriptor) : COT_OK;
    cot_free(path);
    COT_TRY(cot_comm_agree(comm, status));
    *lock_out = cot_alloc(1, sizeof **lock_out);
    (*lock_out)->descriptor = descriptor;
    if (comm->rank == 0) status = for_each_entry(dir, remove_if_partial, (void *)(uintptr_t)dir);
    status = cot_comm_agree(comm, status);
    if (status != COT_OK) cot_run_folder_unlock(lock_out);
    return status;
}

void cot_run_folder_unlock(cot_run_lock **lock)
{
    if (*lock == NULL) return;
    if ((*lock)->descriptor >= 0) close((*lock)->descriptor);
    cot_free(*lock);
    *lock = NULL;
}

/* ---- checkpoints in it ---- */

/* "checkpoint-<step>.h5", as we write it: digits without leading zeros. */
static bool parse_name(const char *name, uint64_t *step_out)
{
    char again[64];
    if (sscanf(name, "checkpoint-%" SCNu64 ".h5", step_out) != 1) return false;
    snprintf(again, sizeof again, "checkpoint-%" PRIu64 ".h5", *step_out);
    return strcmp(name, again) == 0;
}

typedef struct step_list {
    uint64_t *steps;
    size_t count, capacity;
} step_list;

static void append_step(void *context, const char *name)
{
    step_list *list = context;
    uint64_t step = 0;
    if (!parse_name(name, &step)) return;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        uint64_t *steps = cot_alloc(capacity, sizeof *steps);
        if (list->count > 0) memcpy(steps, list->steps, list->count * sizeof *steps);
        cot_free(list->steps);
        list->steps = steps;
        list->capacity = capacity;
    }
    list->steps[list->count++] = step;
}

static int compare_descending(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a < b) - (a > b);
}

cot_status cot_run_folder_steps(const char *dir, uint64_t **steps_out, size_t *count_out)
{
    step_list list = {.steps = cot_alloc(1, sizeof *list.steps), .capacity = 1};
    cot_status status = for_each_entry(dir, append_step, &list);
    if (status != COT_OK) list.count = 0;
    qsort(list.steps, list.count, sizeof *list.steps, compare_descending);
    *count_out = list.count;
    *steps_out = list.steps;
    return status;
}

cot_status cot_run_folder_has_checkpoints(const cot_comm *comm, const char *dir, bool *any_out)
{
    uint64_t *steps = NULL;
    size_t count = 0;
    cot_status status = comm->rank == 0 ? cot_run_folder_steps(dir, &steps, &count) : COT_OK;
    cot_free(steps);
    COT_TRY(cot_comm_agree(comm, status));
    int any = count > 0;
    COT_MPI(MPI_Bcast(&any, 1, MPI_INT, 0, comm->world));
    *any_out = any != 0;
    return COT_OK;
}

char *cot_run_folder_checkpoint(const char *dir, uint64_t step)
{
    return cot_strprintf("%s/checkpoint-%" PRIu64 ".h5", dir, step);
}

/* ---- links ---- */

cot_status cot_run_folder_sync(const char *dir)
{
    cot_status status = COT_OK;
    int descriptor = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || fsync(descriptor) != 0)
        status =
            cot_fail(COT_E_IO, "%s: the folder cannot be synchronized: %s", dir, strerror(errno));
    if (descriptor >= 0) close(descriptor);
    return status;
}

cot_status cot_run_folder_link(const char *dir, const char *name, const char *target)
{
    cot_status status = COT_OK;
    char *path = cot_strprintf("%s/%s", dir, name);
    char *partial = cot_strprintf("%s.partial", path);
    unlink(partial); /* left by an interrupted run, perhaps */
    if (symlink(target, partial) != 0 || rename(partial, path) != 0) {
        status =
            cot_fail(COT_E_IO, "%s: cannot be linked to %s: %s", path, target, strerror(errno));
        unlink(partial);
    }
    cot_free(partial);
    cot_free(path);
    return status;
}
