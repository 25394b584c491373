/** Checked allocation.
 *
 * All memory of a training step is taken at creation, so running out of it happens at the start; no
 * rank can go on without, so cot_alloc ends the job with one line instead of returning a status
 * that every rank would have to agree on. The balance of allocations is asserted at exit by the
 * program and by every test. */
#ifndef COTERIE_MEMORY_H
#define COTERIE_MEMORY_H

#include <stdbool.h>
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

/* ---- what the memory is for ---- */

typedef enum cot_memory_part {
    COT_MEMORY_PARAMETERS,
    COT_MEMORY_GRADIENTS,   /**< of parameters, and what it takes to sum them */
    COT_MEMORY_OPTIMIZER,   /**< moments */
    COT_MEMORY_SLOTS,       /**< slot buffers and their exchange */
    COT_MEMORY_TOKENS,      /**< what the plan tokens takes besides */
    COT_MEMORY_ACTIVATIONS, /**< everything else that a pass works on */
    COT_MEMORY_DATA,        /**< the data set */
    COT_MEMORY_OTHER,
    COT_MEMORY_PARTS
} cot_memory_part;

/** "parameters", "gradients", ... */
const char *cot_memory_part_name(cot_memory_part part);

/** What has been taken since the last call, less what was given back, belongs to this part. */
void cot_memory_mark(cot_memory_part part);

/** Bytes of a part, as of the last mark; in cot_alloc, and what cot_memory_see told. Differences
 * between two marks say what was taken between them. */
long cot_memory_of(cot_memory_part part);

/** Count bytes that this process comes to use without cot_alloc (memory shared by processes); or,
 * negative, no longer does. */
void cot_memory_see(long bytes);

/** Bytes of this process in memory, now, whoever took them; 0 where the system does not tell. */
size_t cot_memory_resident(void);

/** While on, large allocations are address space alone, for learning what a creation would take
 * without having it: they read as zero and cost memory only where they are written. */
void cot_memory_sketch(bool on);

#endif
