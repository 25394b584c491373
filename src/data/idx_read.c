/* Reading one IDX file. zlib reads plain files too, so both kinds go one way. */
#include "data/idx_format.h"

#include <coterie/memory.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* A header may promise anything, so memory beyond this is taken only as the bytes really come. */
static const size_t first_capacity = (size_t)64 << 20;

typedef struct idx_reader {
    const char *path;
    gzFile file;
} idx_reader;

/* The existing one of `name` and `name.gz`, allocated. */
static cot_status find_file(const char *folder, const char *name, char **path_out)
{
    struct stat status;
    char *plain = cot_strprintf("%s/%s", folder, name);
    char *packed = cot_strprintf("%s.gz", plain);
    char *found = stat(plain, &status) == 0 ? plain : packed;
    cot_status outcome = COT_OK;
    if (stat(found, &status) != 0)
        outcome =
            cot_fail(COT_E_NOINPUT,
                     "%s: neither this file nor one with .gz added can be read (%s); data.path "
                     "must name a folder with the four files of an MNIST-like data set",
                     plain, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        outcome =
            cot_fail(COT_E_NOINPUT, "%s: not a regular file but an IDX file is needed", found);
    if (outcome == COT_OK) *path_out = found;
    if (outcome != COT_OK || found != plain) cot_free(plain);
    if (outcome != COT_OK || found != packed) cot_free(packed);
    return outcome;
}

/* zlib's own account of what went wrong, or the system's. */
static cot_status damaged(const idx_reader *reader)
{
    int code = Z_OK;
    int system_error = errno;
    const char *reason = gzerror(reader->file, &code);
    if (code == Z_ERRNO)
        return cot_fail(COT_E_IO, "%s: reading failed: %s", reader->path, strerror(system_error));
    if (code == Z_BUF_ERROR)
        return cot_fail(COT_E_DATA, "%s: truncated: the compressed data end early", reader->path);
    return cot_fail(COT_E_DATA, "%s: the compressed data are damaged (%s)", reader->path, reason);
}

/* Read up to `size` bytes; fewer only at the end of a sound file. */
static cot_status read_bytes(const idx_reader *reader, uint8_t *bytes, size_t size,
                             size_t *read_out)
{
    const size_t most = (size_t)1 << 30; /* gzread counts in int */
    size_t done = 0;
    while (done < size) {
        size_t left = size - done;
        errno = 0;
        int got = gzread(reader->file, bytes + done, (unsigned)(left < most ? left : most));
        int code = Z_OK;
        gzerror(reader->file, &code);
        /* At a truncated end zlib hands out what there was and only then reports it, as
         * Z_BUF_ERROR. */
        if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) return damaged(reader);
        if (got == 0) break;
        done += (size_t)got;
    }
    *read_out = done;
    return COT_OK;
}

static uint32_t big_endian(const uint8_t bytes[COT_IDX_WORD])
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static cot_status check_dims(const idx_reader *reader, size_t axes, const size_t *dims)
{
    if (dims[0] == 0)
        return cot_fail(COT_E_DATA, "%s: holds no items; at least 1 is needed", reader->path);
    for (size_t axis = 1; axis < axes; axis++)
        if (dims[axis] == 0 || dims[axis] > COT_IDX_MAX_SIDE)
            return cot_fail(COT_E_DATA,
                            "%s: images of %zu x %zu pixels; 1 to %d a side are possible",
                            reader->path, dims[1], dims[2], (int)COT_IDX_MAX_SIDE);
    return COT_OK;
}

static cot_status read_header(const idx_reader *reader, uint32_t magic, cot_idx_array *array)
{
    uint8_t header[(1 + COT_IDX_MAX_AXES) * COT_IDX_WORD] = {0};
    size_t axes = magic & 0xff; /* the last byte of the magic number */
    size_t wanted = (1 + axes) * COT_IDX_WORD;
    size_t got = 0;
    COT_TRY(read_bytes(reader, header, wanted, &got));
    if (got < wanted)
        return cot_fail(COT_E_DATA, "%s: truncated: %zu of the %zu bytes of its header",
                        reader->path, got, wanted);
    if (big_endian(header) != magic)
        return cot_fail(
            COT_E_DATA, "%s: starts with 0x%08x, but an IDX file of %s starts with 0x%08x",
            reader->path, big_endian(header), magic == COT_IDX_IMAGES ? "images" : "labels", magic);
    array->item_size = 1;
    for (size_t axis = 0; axis < axes; axis++) {
        array->dims[axis] = big_endian(header + (1 + axis) * COT_IDX_WORD);
        if (axis > 0) array->item_size *= array->dims[axis];
    }
    return check_dims(reader, axes, array->dims);
}

/* Twice the room, at most `limit`. */
static void grow(uint8_t **bytes, size_t *capacity, size_t limit)
{
    size_t larger = *capacity < limit / 2 ? *capacity * 2 : limit;
    uint8_t *moved = cot_alloc(larger, 1);
    memcpy(moved, *bytes, *capacity);
    cot_free(*bytes);
    *bytes = moved;
    *capacity = larger;
}

static cot_status read_items(const idx_reader *reader, cot_idx_array *array)
{
    size_t wanted = array->dims[0] * array->item_size; /* below 2^32 * 2^24 */
    size_t capacity = wanted < first_capacity ? wanted : first_capacity;
    size_t total = 0;
    array->bytes = cot_alloc(capacity, 1);
    for (;;) {
        size_t got = 0;
        COT_TRY(read_bytes(reader, array->bytes + total, capacity - total, &got));
        total += got;
        if (total < capacity || capacity == wanted) break;
        grow(&array->bytes, &capacity, wanted);
    }
    if (total < wanted)
        return cot_fail(COT_E_DATA,
                        "%s: truncated: its header promises %zu items of %zu bytes, it holds %zu",
                        reader->path, array->dims[0], array->item_size, total / array->item_size);
    uint8_t beyond = 0;
    size_t extra = 0;
    COT_TRY(read_bytes(reader, &beyond, 1, &extra));
    if (extra > 0)
        return cot_fail(COT_E_DATA,
                        "%s: holds more than the %zu items of %zu bytes that its header promises",
                        reader->path, array->dims[0], array->item_size);
    return COT_OK;
}

cot_status cot_idx_read(const char *folder, const char *name, uint32_t magic,
                        cot_idx_array *array_out)
{
    enum { BUFFER_SIZE = 1 << 18 };
    cot_idx_array array = {0};
    COT_TRY(find_file(folder, name, &array.path));
    idx_reader reader = {array.path, gzopen(array.path, "rb")};
    cot_status status = COT_OK;
    if (reader.file == NULL) {
        status = cot_fail(COT_E_NOINPUT, "%s: cannot be opened: %s", array.path, strerror(errno));
        goto free_array;
    }
    gzbuffer(reader.file, BUFFER_SIZE);
    status = read_header(&reader, magic, &array);
    if (status == COT_OK) status = read_items(&reader, &array);
    gzclose(reader.file);
    if (status == COT_OK) {
        *array_out = array;
        return COT_OK;
    }
free_array:
    cot_idx_free(&array);
    return status;
}

void cot_idx_free(cot_idx_array *array)
{
    cot_free(array->bytes);
    cot_free(array->path);
    *array = (cot_idx_array){0};
}
