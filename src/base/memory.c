#include <coterie/memory.h>
#include <coterie/status.h>

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_long balance;

/* Bytes in use, as of the last mark, and by part. */
static atomic_long in_use;
static long marked;
static long parts[COT_MEMORY_PARTS];

/* Address space alone: a list of its blocks, so that cot_free knows them. */
typedef struct reserve {
    struct reserve *next;
    void *memory;
    size_t bytes;
} reserve;
static reserve *reserves;
static bool sketching;
static const size_t least_reserved = (size_t)1 << 20;

static void took(long bytes)
{
    atomic_fetch_add(&in_use, bytes);
}

static void *reserve_space(size_t bytes)
{
    reserve *r = malloc(sizeof *r);
    if (r == NULL) return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        free(r);
        return NULL;
    }
    *r = (reserve){reserves, memory, bytes};
    reserves = r;
    took((long)bytes);
    return memory;
}

static bool release_space(const void *memory)
{
    for (reserve **at = &reserves; *at != NULL; at = &(*at)->next) {
        reserve *r = *at;
        if (r->memory != memory) continue;
        *at = r->next;
        took(-(long)r->bytes);
        munmap(r->memory, r->bytes);
        free(r);
        return true;
    }
    return false;
}

static void *take(size_t padded)
{
    void *memory = aligned_alloc(COT_ALIGNMENT, padded);
    if (memory == NULL) return NULL;
    memset(memory, 0, padded);
    took((long)malloc_usable_size(memory));
    return memory;
}

void *cot_alloc(size_t count, size_t size)
{
    size_t bytes = 0;
    bool overflow = __builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - COT_ALIGNMENT;
    /* aligned_alloc wants a multiple of the alignment, and count 0 gets memory of its own. */
    size_t padded = overflow ? 0 : (bytes / COT_ALIGNMENT + 1) * COT_ALIGNMENT;
    void *memory = NULL;
    if (!overflow)
        memory = sketching && padded >= least_reserved ? reserve_space(padded) : take(padded);
    if (memory == NULL)
        cot_abort(__FILE__, __LINE__,
                  "out of memory: %zu elements of %zu bytes; use more ranks or a smaller batch",
                  count, size);
    atomic_fetch_add(&balance, 1);
    return memory;
}

char *cot_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = cot_alloc(size, 1);
    memcpy(copy, text, size);
    return copy;
}

char *cot_strprintf(const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    COT_ASSERT(length >= 0);
    char *text = cot_alloc((size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

void cot_free(void *memory)
{
    if (memory == NULL) return;
    atomic_fetch_sub(&balance, 1);
    if (reserves != NULL && release_space(memory)) return;
    took(-(long)malloc_usable_size(memory));
    free(memory);
}

long cot_alloc_balance(void)
{
    return atomic_load(&balance);
}

const char *cot_memory_part_name(cot_memory_part part)
{
    static const char *const names[COT_MEMORY_PARTS] = {[COT_MEMORY_PARAMETERS] = "parameters",
                                                        [COT_MEMORY_GRADIENTS] = "gradients",
                                                        [COT_MEMORY_OPTIMIZER] = "optimizer",
                                                        [COT_MEMORY_SLOTS] = "slots",
                                                        [COT_MEMORY_TOKENS] = "tokens",
                                                        [COT_MEMORY_ACTIVATIONS] = "activations",
                                                        [COT_MEMORY_DATA] = "data",
                                                        [COT_MEMORY_OTHER] = "other"};
    return names[part];
}

void cot_memory_mark(cot_memory_part part)
{
    long now = atomic_load(&in_use);
    parts[part] += now - marked;
    marked = now;
}

long cot_memory_of(cot_memory_part part)
{
    return parts[part];
}

void cot_memory_see(long bytes)
{
    took(bytes);
}

void cot_memory_sketch(bool on)
{
    sketching = on;
}

size_t cot_memory_resident(void)
{
    unsigned long all = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%lu %lu", &all, &resident) != 2) resident = 0;
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}
