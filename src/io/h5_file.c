#include "io/h5_internal.h"
#include "io/write_guard.h"

#include <coterie/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REASON_SIZE = 256, NEW_FILE_MODE = 0666 };

void cot_h5_release(hid_t *id)
{
    if (*id >= 0) H5Idec_ref(*id);
}

/* ---- failures ---- */

static herr_t take_innermost(unsigned n, const H5E_error2_t *error, void *reason)
{
    (void)n;
    if (error->desc == NULL || error->desc[0] == '\0') return 0;
    snprintf(reason, REASON_SIZE, "%s", error->desc);
    return 1;
}

/* HDF5's innermost message on one line. */
static void find_reason(char reason[REASON_SIZE])
{
    snprintf(reason, REASON_SIZE, "HDF5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, reason);
    for (char *c = reason; *c != '\0'; c++)
        if (*c == '\n') *c = ' ';
    H5Eclear2(H5E_DEFAULT);
}

cot_status cot_h5_failed(const cot_h5_file *file, const char *object, const char *done)
{
    char reason[REASON_SIZE];
    find_reason(reason);
    return cot_fail(file->writing ? COT_E_IO : COT_E_DATA, "%s: %s cannot be %s: %s", file->path,
                    object, done, reason);
}

/* ---- files ---- */

static cot_h5_file *make_file(const char *path, bool writing, bool parallel)
{
    cot_h5_file *file = cot_alloc(1, sizeof *file);
    file->id = H5I_INVALID_HID;
    file->path = cot_strdup(path);
    file->writing = writing;
    file->parallel = parallel;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* our own line says what HDF5 would print a stack of */
    return file;
}

static void free_file(cot_h5_file **file)
{
    cot_memory_file_free(&(*file)->memory);
    cot_free((*file)->path);
    cot_free(*file);
    *file = NULL;
}

/* Opening fails for reasons that each rank can find out, with a better message, before the
 * collective call. */
static cot_status try_to_create(const char *path, bool first)
{
    int descriptor =
        open(path, O_RDWR | O_CLOEXEC | (first ? O_CREAT | O_TRUNC : 0), NEW_FILE_MODE);
    if (descriptor < 0 && errno == ENOENT && !first)
        return cot_fail(COT_E_CREATE,
                        "%s: created by rank 0 but not there for this rank; use a folder on a file "
                        "system that all ranks share",
                        path);
    if (descriptor < 0)
        return cot_fail(COT_E_CREATE, "%s: cannot be created: %s", path, strerror(errno));
    close(descriptor);
    return COT_OK;
}

static cot_status try_on_all_ranks(const cot_comm *comm, const char *path)
{
    if (comm == NULL) return try_to_create(path, true);
    COT_TRY(cot_comm_agree(comm, comm->rank == 0 ? try_to_create(path, true) : COT_OK));
    return cot_comm_agree(comm, comm->rank != 0 ? try_to_create(path, false) : COT_OK);
}

/* Metadata stays in memory until the file is closed: then nothing is read back from a disk that may
 * have failed. */
static void keep_metadata_in_memory(hid_t access)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    H5Pget_mdc_config(access, &config);
    config.incr_mode = H5C_incr__off;
    config.decr_mode = H5C_decr__off;
    config.flash_incr_mode = H5C_flash_incr__off;
    config.evictions_enabled = false;
    herr_t done = H5Pset_mdc_config(access, &config);
    COT_ASSERT(done >= 0);
}

/* Open MPI prepares for shared file pointers, which nobody here uses, with a named semaphore for
 * every file opened. A process that is killed leaves it taken, and every later run on that machine
 * that opens a file of the same name waits for it for ever. Read when the first file is opened;
 * what the user sets stands. */
static void avoid_named_semaphores(void)
{
    setenv("OMPI_MCA_sharedfp", "^sm,lockedfile", 0);
}

static hid_t create_hdf5_file(cot_h5_file *file, const cot_comm *comm)
{
    SCOPED_ID access = H5Pcreate(H5P_FILE_ACCESS);
    SCOPED_ID creation = H5Pcreate(H5P_FILE_CREATE);
    if (comm != NULL) {
        avoid_named_semaphores();
        herr_t done = H5Pset_fapl_mpio(access, comm->world, MPI_INFO_NULL);
        COT_ASSERT(done >= 0);
    } else {
        cot_memory_file_use(&file->memory, access);
    }
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    keep_metadata_in_memory(access);
    H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    cot_h5_keep_attributes_compact(creation);
    return H5Fcreate(file->path, H5F_ACC_TRUNC, creation, access);
}

cot_status cot_h5_create(const cot_comm *comm, const char *path, cot_h5_file **file_out)
{
    COT_TRY(try_on_all_ranks(comm, path));
    cot_h5_file *file = make_file(path, true, comm != NULL);
    cot_write_guard_begin();
    file->id = create_hdf5_file(file, comm);
    /* Ranks that have the file open could not close it without those that have not. */
    if (file->id < 0 && comm != NULL)
        cot_abort(__FILE__, __LINE__, "%s: MPI-IO cannot open it", path);
    if (file->id < 0) {
        cot_status status = cot_h5_failed(file, "the file", "created");
        cot_write_guard_end();
        free_file(&file);
        return status;
    }
    *file_out = file;
    return COT_OK;
}

/* An object left open would keep the file open in HDF5 after it is closed here. */
static void assert_nothing_open(const cot_h5_file *file)
{
    COT_ASSERT(H5Fget_obj_count(file->id, H5F_OBJ_ALL | H5F_OBJ_LOCAL) == 1); /* the file itself */
}

cot_status cot_h5_finish(cot_h5_file **file)
{
    cot_status status = COT_OK;
    assert_nothing_open(*file);
    if (H5Fclose((*file)->id) < 0) status = cot_h5_failed(*file, "the file", "closed");
    if (status == COT_OK && !(*file)->parallel)
        status = cot_memory_file_save(&(*file)->memory, (*file)->path);
    const char *reason = cot_write_guard_end();
    if (reason != NULL)
        status = cot_fail(COT_E_IO, "%s: cannot be written: %s", (*file)->path, reason);
    free_file(file);
    return status;
}

static cot_status check_readable(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || access(path, R_OK) != 0)
        return cot_fail(COT_E_NOINPUT, "%s: cannot be opened: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode)) return cot_fail(COT_E_NOINPUT, "%s: is not a file", path);
    return COT_OK;
}

/* Files are complete when they get their name and never change after, so readers need no lock; and
 * a file system without locks must not stop them. */
static cot_status open_hdf5_file(cot_h5_file *file, unsigned how, hid_t access)
{
    H5Pset_file_locking(access, false, true);
    file->id = H5Fopen(file->path, how, access);
    return file->id >= 0 ? COT_OK : cot_h5_failed(file, "the file", "read as HDF5");
}

cot_status cot_h5_open(const char *path, cot_h5_file **file_out)
{
    COT_TRY(check_readable(path));
    SCOPED_ID access = H5Pcreate(H5P_FILE_ACCESS);
    cot_h5_file *file = make_file(path, false, false);
    cot_status status = open_hdf5_file(file, H5F_ACC_RDONLY, access);
    if (status == COT_OK)
        *file_out = file;
    else
        free_file(&file);
    return status;
}

/* Becomes what is written to `path`. */
static void redirect(cot_h5_file *file, const char *path)
{
    cot_free(file->path);
    file->path = cot_strdup(path);
    file->writing = true;
    cot_write_guard_begin();
}

cot_status cot_h5_create_copy(const char *path, const char *original, cot_h5_file **file_out)
{
    COT_TRY(check_readable(original));
    COT_TRY(try_to_create(path, true));
    SCOPED_ID access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    keep_metadata_in_memory(access);
    cot_h5_file *file = make_file(original, false, false);
    cot_memory_file_use(&file->memory, access);
    cot_status status = open_hdf5_file(file, H5F_ACC_RDWR, access);
    if (status != COT_OK) {
        free_file(&file);
        return status;
    }
    redirect(file, path);
    *file_out = file;
    return COT_OK;
}

void cot_h5_close(cot_h5_file **file)
{
    if (*file == NULL) return;
    COT_ASSERT(!(*file)->writing);
    assert_nothing_open(*file);
    H5Fclose((*file)->id);
    free_file(file);
}

const char *cot_h5_path(const cot_h5_file *file)
{
    return file->path;
}
