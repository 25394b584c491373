#include "run/replace.h"

#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
