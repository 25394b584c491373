#include "support/files.h"

#include "support/test.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* HDF5 loses memory of its own when it meets a damaged object header. Handles that we leave open
 * are found otherwise: closing a file asserts that there are none. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

char *path_of(const char *name)
{
    return cot_strprintf("%s/%s", test_folder(), name);
}

cot_status digest_of(const char *path, char hex[COT_DIGEST_SIZE])
{
    cot_h5_file *file = NULL;
    COT_TRY(cot_h5_open(path, &file));
    cot_status status = cot_digest(file, hex);
    cot_h5_close(&file);
    return status;
}

void assert_digest(const char *path, char hex[COT_DIGEST_SIZE])
{
    if (digest_of(path, hex) != COT_OK) fail_msg("%s", cot_failure());
}

void flip_byte(const char *path, const void *needle, size_t needle_size, size_t offset)
{
    FILE *file = fopen(path, "r+b");
    COT_ASSERT(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    char *content = cot_alloc(size, 1);
    rewind(file);
    COT_ASSERT(fread(content, 1, size, file) == size);
    if (needle != NULL) {
        const char *found = memmem(content, size, needle, needle_size);
        COT_ASSERT(found != NULL);
        offset += (size_t)(found - content);
    }
    COT_ASSERT(offset < size && fseek(file, (long)offset, SEEK_SET) == 0);
    fputc((unsigned char)content[offset] ^ 0x10, file);
    fclose(file);
    cot_free(content);
}

double assert_damage_shows(const char *path, size_t stride)
{
    struct stat status;
    char wanted[COT_DIGEST_SIZE];
    char found[COT_DIGEST_SIZE];
    size_t tried = 0;
    size_t noticed = 0;
    assert_digest(path, wanted);
    assert_int_equal(stat(path, &status), 0);
    for (size_t i = 0; i < (size_t)status.st_size; i += stride) {
        flip_byte(path, NULL, 0, i);
        cot_status outcome = digest_of(path, found);
        if (outcome != COT_OK)
            assert_failure(outcome, COT_E_DATA, path);
        else if (strcmp(wanted, found) != 0)
            fail_msg("byte %zu changes the content unnoticed", i);
        tried++;
        noticed += outcome != COT_OK;
        flip_byte(path, NULL, 0, i);
    }
    assert_digest(path, found);
    return (double)noticed / (double)tried;
}
