#include "run/replace.h"

#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NEW_FILE_MODE = 0666, COPY_BYTES = 1 << 20 };

char *cot_replace_partial(const char *path)
{
    return cot_strprintf("%s.partial", path);
}

cot_status cot_replace_sync(const char *partial)
{
    cot_status status = COT_OK;
    int descriptor = open(partial, O_RDWR | O_CLOEXEC);
    if (descriptor < 0 || fsync(descriptor) != 0)
        status = cot_fail(COT_E_IO, "%s: cannot be synchronized: %s", partial, strerror(errno));
    if (descriptor >= 0) close(descriptor);
    return status;
}

/* "." for a name without a folder, "/" for one in the root. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) return cot_strdup(".");
    return cot_strprintf("%.*s", slash == path ? 1 : (int)(slash - path), path);
}

cot_status cot_replace_publish(const char *partial, const char *path)
{
    if (rename(partial, path) != 0)
        return cot_fail(COT_E_IO, "%s: cannot be renamed to %s: %s", partial, path,
                        strerror(errno));
    char *folder = folder_of(path);
    cot_status status = cot_run_folder_sync(folder);
    cot_free(folder);
    return status;
}

/* ---- copying ---- */

static cot_status write_all(int to, const char *partial, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(to, data, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return cot_fail(COT_E_IO, "%s: cannot be written: %s", partial,
                            strerror(written < 0 ? errno : ENOSPC));
        data += written;
        size -= (size_t)written;
    }
    return COT_OK;
}

static cot_status copy_bytes(int from, int to, const char *path, const char *partial)
{
    cot_status status = COT_OK;
    ssize_t got = 1;
    char *buffer = cot_alloc(COPY_BYTES, 1);
    while (got != 0 && status == COT_OK) {
        got = read(from, buffer, COPY_BYTES);
        if (got > 0) status = write_all(to, partial, buffer, (size_t)got);
        if (got < 0 && errno != EINTR)
            status = cot_fail(COT_E_IO, "%s: cannot be read: %s", path, strerror(errno));
    }
    cot_free(buffer);
    return status;
}

cot_status cot_replace_copy(const char *path, const char *partial)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) return cot_fail(COT_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    cot_status status = COT_OK;
    int to = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, NEW_FILE_MODE);
    if (to < 0)
        status = cot_fail(COT_E_CREATE, "%s: cannot be created: %s", partial, strerror(errno));
    else
        status = copy_bytes(from, to, path, partial);
    /* What a network file system could not store, it may say only here. */
    if (to >= 0 && close(to) != 0 && status == COT_OK)
        status = cot_fail(COT_E_IO, "%s: cannot be written: %s", partial, strerror(errno));
    close(from);
    return status;
}
