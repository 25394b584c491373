/** Timing one kernel at one shape (machine.h). */
#ifndef COTERIE_RUN_MACHINE_KERNELS_H
#define COTERIE_RUN_MACHINE_KERNELS_H

#include <coterie/machine.h>
#include <coterie/real.h>

/** Memory for operands, shared by all kernels. */
typedef struct machine_arena {
    cot_real *numbers;
    size_t count;
} machine_arena;

/** For all shapes up to that of the largest grid. */
machine_arena machine_arena_create(void);
void machine_arena_destroy(machine_arena *arena);

/** Seconds of the kernel, by the fastest of several runs within about `seconds`; operands come from
 * where a step would find them, the third-level cache. Not for messages and barriers. Not
 * collective. */
double machine_time_kernel(const machine_arena *arena, cot_kernel kernel, size_t m, size_t n,
                           size_t k, double seconds);

#endif
