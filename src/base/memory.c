#include <coterie/memory.h>
#include <coterie/status.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_long balance;

void *cot_alloc(size_t count, size_t size)
{
    size_t bytes = 0;
    bool overflow = __builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - COT_ALIGNMENT;
    /* aligned_alloc wants a multiple of the alignment, and count 0 gets memory of its own. */
    size_t padded = overflow ? 0 : (bytes / COT_ALIGNMENT + 1) * COT_ALIGNMENT;
    void *memory = overflow ? NULL : aligned_alloc(COT_ALIGNMENT, padded);
    if (memory == NULL)
        cot_abort(__FILE__, __LINE__,
                  "out of memory: %zu elements of %zu bytes; use more ranks or a smaller batch",
                  count, size);
    memset(memory, 0, padded);
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
    free(memory);
}

long cot_alloc_balance(void)
{
    return atomic_load(&balance);
}
