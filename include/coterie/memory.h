/** Checked allocation.
 *
 * All memory of a training step is taken at creation, so running out of it happens at the start; no
 * rank can go on without, so cot_alloc ends the job with one line instead of returning a status
 * that every rank would have to agree on. The balance of allocations is asserted at exit by the
 * program and by every test. */
#ifndef COTERIE_MEMORY_H
#define COTERIE_MEMORY_H

#include <stddef.h>

/** Alignment of every allocation, in bytes: one cache line, one 512-bit vector. */
#define COT_ALIGNMENT ((size_t)64)

/** `count` zeroed elements of `size` bytes, aligned to COT_ALIGNMENT. Never NULL, also for count 0;
 * aborts when memory runs out or count * size overflows. Release with cot_free. */
void *cot_alloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));

/** An allocated copy of a string. */
char *cot_strdup(const char *text) __attribute__((malloc));

/** An allocated string printed as by printf. */
char *cot_strprintf(const char *format, ...)
    __attribute__((malloc, nonnull(1), format(printf, 1, 2)));

/** Free memory from the functions above; accepts NULL. */
void cot_free(void *memory);

/** Number of allocations not yet freed. */
long cot_alloc_balance(void);

#endif
