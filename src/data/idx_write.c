/* Writing a data set as IDX files: all four complete and on the disk under temporary names, then
 * renamed. */
#include "data/idx_format.h"
#include "data/source.h"

#include <coterie/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { FILES = 4, FIRST_TEST_FILE = 2 };
static const char *const packed_suffix = ".gz";

/* One of the four files on its way to its name. */
typedef struct idx_output {
    uint32_t magic;
    char *path, *partial;
    bool named; /* has got its name, so it is ours to take back */
} idx_output;

typedef struct idx_writer {
    cot_dataset *dataset;
    bool gzip;
    idx_output outputs[FILES]; /* train images, train labels, test images, test labels */
} idx_writer;

static void name_outputs(idx_writer *writer, const char *folder)
{
    const char *const names[FILES] = {cot_idx_train.images, cot_idx_train.labels,
                                      cot_idx_test.images, cot_idx_test.labels};
    for (size_t i = 0; i < FILES; i++) {
        idx_output *output = &writer->outputs[i];
        output->magic = i % 2 == 0 ? COT_IDX_IMAGES : COT_IDX_LABELS;
        output->path =
            cot_strprintf("%s/%s%s", folder, names[i], writer->gzip ? packed_suffix : "");
        output->partial = cot_strprintf("%s.partial", output->path);
    }
}

/* Neither the plain nor the packed file may be there: a reader takes whichever it finds. */
static cot_status refuse_existing(const char *folder)
{
    const char *const names[FILES] = {cot_idx_train.images, cot_idx_train.labels,
                                      cot_idx_test.images, cot_idx_test.labels};
    cot_status status = COT_OK;
    for (size_t i = 0; i < 2 * FILES && status == COT_OK; i++) {
        char *path =
            cot_strprintf("%s/%s%s", folder, names[i / 2], i % 2 == 1 ? packed_suffix : "");
        if (access(path, F_OK) == 0)
            status = cot_fail(COT_E_CREATE,
                              "%s: exists already; remove it or choose another folder", path);
        cot_free(path);
    }
    return status;
}

static cot_status write_bytes(gzFile file, const char *path, const uint8_t *bytes, size_t size)
{
    errno = 0;
    if (gzwrite(file, bytes, (unsigned)size) == (int)size) return COT_OK;
    return cot_fail(COT_E_IO, "%s: writing failed: %s", path, strerror(errno));
}

static size_t count_samples(const cot_dataset_info *info, bool test)
{
    if (test) return info->samples[COT_SPLIT_TEST];
    return info->samples[COT_SPLIT_TRAIN] + info->samples[COT_SPLIT_VALIDATION];
}

static cot_status write_header(const idx_writer *writer, const idx_output *output, bool test,
                               gzFile file)
{
    const cot_dataset_info *info = cot_dataset_info_of(writer->dataset);
    const size_t numbers[] = {output->magic, count_samples(info, test), info->height, info->width};
    size_t count = 1 + (output->magic & 0xff);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[COT_IDX_WORD];
        for (size_t j = 0; j < COT_IDX_WORD; j++) bytes[j] = (uint8_t)(numbers[i] >> (24 - 8 * j));
        COT_TRY(write_bytes(file, output->path, bytes, sizeof bytes));
    }
    return COT_OK;
}

static cot_status write_split(const idx_writer *writer, const idx_output *output, cot_split split,
                              gzFile file)
{
    const cot_dataset_info *info = cot_dataset_info_of(writer->dataset);
    for (size_t i = 0; i < info->samples[split]; i++) {
        int label = 0;
        const uint8_t *pixels = cot_dataset_pixels(writer->dataset, split, i, &label);
        uint8_t label_byte = (uint8_t)label;
        bool images = output->magic == COT_IDX_IMAGES;
        COT_TRY(write_bytes(file, output->path, images ? pixels : &label_byte,
                            images ? info->height * info->width : 1));
    }
    return COT_OK;
}

static cot_status write_content(const idx_writer *writer, const idx_output *output, bool test,
                                gzFile file)
{
    COT_TRY(write_header(writer, output, test, file));
    if (test) return write_split(writer, output, COT_SPLIT_TEST, file);
    COT_TRY(write_split(writer, output, COT_SPLIT_TRAIN, file));
    return write_split(writer, output, COT_SPLIT_VALIDATION, file);
}

/* Write one file under its temporary name, down to the disk. */
static cot_status write_partial(const idx_writer *writer, const idx_output *output, bool test)
{
    int disk = open(output->partial, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (disk < 0)
        return cot_fail(COT_E_CREATE, "%s: cannot be created: %s", output->partial,
                        strerror(errno));
    cot_status status = COT_OK;
    int stream = dup(disk);
    /* T writes the bytes as they are. */
    gzFile file = stream < 0 ? NULL : gzdopen(stream, writer->gzip ? "wb6" : "wbT");
    if (file == NULL) {
        status = cot_fail(COT_E_IO, "%s: cannot be written: %s", output->path, strerror(errno));
        if (stream >= 0) close(stream);
        goto close_disk;
    }
    status = write_content(writer, output, test, file);
    errno = 0;
    if (gzclose(file) != Z_OK || (status == COT_OK && fsync(disk) != 0))
        status = cot_fail(COT_E_IO, "%s: writing failed: %s", output->path, strerror(errno));
close_disk:
    if (close(disk) != 0 && status == COT_OK)
        status = cot_fail(COT_E_IO, "%s: writing failed: %s", output->path, strerror(errno));
    return status;
}

static cot_status write_all(idx_writer *writer)
{
    for (size_t i = 0; i < FILES; i++)
        COT_TRY(write_partial(writer, &writer->outputs[i], i >= FIRST_TEST_FILE));
    for (size_t i = 0; i < FILES; i++) {
        idx_output *output = &writer->outputs[i];
        if (rename(output->partial, output->path) != 0)
            return cot_fail(COT_E_CREATE, "%s: cannot be created: %s", output->path,
                            strerror(errno));
        output->named = true;
    }
    return COT_OK;
}

static void take_back(const idx_writer *writer)
{
    for (size_t i = 0; i < FILES; i++) {
        const idx_output *output = &writer->outputs[i];
        unlink(output->named ? output->path : output->partial);
    }
}

static cot_status check_writable_as_idx(const cot_dataset *dataset)
{
    const cot_dataset_info *info = cot_dataset_info_of(dataset);
    if (info->classes >= 1 && info->classes <= COT_IDX_CLASSES && info->channels == 1)
        return COT_OK;
    return cot_fail(COT_E_USAGE,
                    "only grey images of at most %d classes can be written as IDX files",
                    COT_IDX_CLASSES);
}

cot_status cot_dataset_write_idx(cot_dataset *dataset, const char *folder, bool gzip)
{
    COT_TRY(check_writable_as_idx(dataset));
    COT_TRY(refuse_existing(folder));
    bool made = mkdir(folder, 0777) == 0;
    if (!made && errno != EEXIST)
        return cot_fail(COT_E_CREATE, "%s: the folder cannot be created: %s", folder,
                        strerror(errno));
    idx_writer writer = {.dataset = dataset, .gzip = gzip};
    name_outputs(&writer, folder);
    cot_status status = write_all(&writer);
    if (status != COT_OK) {
        take_back(&writer);
        if (made) rmdir(folder);
    }
    for (size_t i = 0; i < FILES; i++) {
        cot_free(writer.outputs[i].path);
        cot_free(writer.outputs[i].partial);
    }
    return status;
}
