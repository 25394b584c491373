#include "io/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what HDF5 calls ---- */

static void *resize(void *old, size_t size, H5FD_file_image_op_t why, void *context)
{
    (void)why;
    cot_memory_file *memory = context;
    void *content = realloc(old, size > 0 ? size : 1);
    if (content == NULL) cot_abort(__FILE__, __LINE__, "out of memory: a file of %zu bytes", size);
    memory->capacity = size;
    return content;
}

static void *allocate(size_t size, H5FD_file_image_op_t why, void *context)
{
    return resize(NULL, size, why, context);
}

/* What the library would throw away when it has closed the file is what we are after.
 * H5Fget_file_image gives it earlier, but with a first block whose checksum is wrong (HDF5 1.10).
 */
static herr_t keep(void *content, H5FD_file_image_op_t why, void *context)
{
    cot_memory_file *memory = context;
    if (why == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
        memory->content = content;
    else
        free(content);
    return 0;
}

static void *same(void *context)
{
    return context;
}

static herr_t leave(void *context)
{
    (void)context;
    return 0;
}

void cot_memory_file_use(cot_memory_file *memory, hid_t access)
{
    const size_t growth = (size_t)1 << 20;
    H5FD_file_image_callbacks_t callbacks = {.image_malloc = allocate,
                                             .image_realloc = resize,
                                             .image_free = keep,
                                             .udata_copy = same,
                                             .udata_free = leave,
                                             .udata = memory};
    herr_t done = H5Pset_fapl_core(access, growth, false);
    COT_ASSERT(done >= 0);
    done = H5Pset_file_image_callbacks(access, &callbacks);
    COT_ASSERT(done >= 0);
}

/* ---- onto the disk ---- */

/* Where the file ends, as its first block says ("superblock version 3" in HDF5's specification of
 * the format); the memory goes on behind it. */
static size_t size_of(const cot_memory_file *memory)
{
    enum { VERSION_AT = 8, END_AT = 28, VERSION = 3 };
    uint64_t end = 0;
    COT_ASSERT(memory->content != NULL && memory->capacity >= END_AT + sizeof end);
    COT_ASSERT(memory->content[VERSION_AT] == VERSION);
    memcpy(&end, memory->content + END_AT, sizeof end);
    COT_ASSERT(end <= memory->capacity);
    return end;
}

static cot_status write_all(int descriptor, const char *path, const unsigned char *data,
                            size_t size)
{
    while (size > 0) {
        ssize_t written = write(descriptor, data, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return cot_fail(COT_E_IO, "%s: cannot be written: %s", path,
                            strerror(written < 0 ? errno : ENOSPC));
        data += written;
        size -= (size_t)written;
    }
    return COT_OK;
}

cot_status cot_memory_file_save(const cot_memory_file *memory, const char *path)
{
    int descriptor = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (descriptor < 0)
        return cot_fail(COT_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    cot_status status = write_all(descriptor, path, memory->content, size_of(memory));
    /* What a network file system could not store, it may say only here. */
    if (close(descriptor) != 0 && status == COT_OK)
        status = cot_fail(COT_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    return status;
}

void cot_memory_file_free(cot_memory_file *memory)
{
    free(memory->content);
    *memory = (cot_memory_file){0};
}
