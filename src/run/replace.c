#include "run/replace.h"

#include <coterie/h5.h>
#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool says(const cot_h5_file *file, const char *attribute, const char *text)
{
    char *value = NULL;
    bool same = cot_h5_get_text(file, "/", attribute, &value) == COT_OK && strcmp(value, text) == 0;
    cot_free(value);
    return same;
}

cot_status cot_replace_check(const char *path)
{
    struct stat about;
    cot_h5_file *file = NULL;
    const char *what = NULL;
    if (stat(path, &about) != 0) return COT_OK;
    if (!S_ISREG(about.st_mode))
        return cot_fail(COT_E_CREATE, "%s: is not a regular file; name another", path);
    if (cot_h5_open(path, &file) == COT_OK) {
        if (says(file, "format", "coterie-checkpoint")) what = "a checkpoint";
        if (says(file, "kind", "training")) what = "the record of a training";
    }
    cot_failure_clear(); /* whatever else it is may be replaced */
    cot_h5_close(&file);
    if (what == NULL) return COT_OK;
    return cot_fail(COT_E_CREATE, "%s: is %s; name another file", path, what);
}

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
