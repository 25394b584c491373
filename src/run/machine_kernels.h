/** Timing one kernel at one shape (machine.h). */
#ifndef COTERIE_RUN_MACHINE_KERNELS_H
#define COTERIE_RUN_MACHINE_KERNELS_H

#include <coterie/machine.h>
#include <coterie/real.h>

/** Memory for operands, shared by all kernels. */
typedef struct machine_arena {
    cot_real *numbers;
    size_t count;  /* three regions */
    size_t region; /* the largest operand */
} machine_arena;

/** For operands of at most so many numbers, at least 4 MiB of them. */
machine_arena machine_arena_create(size_t operand);
void machine_arena_destroy(machine_arena *arena);

/** Bring into the third-level cache what kernels of usual sizes work on, when something large may
 * have come between. */
void machine_arena_warm(const machine_arena *arena);

/** Seconds of the kernel, by the median of several runs within about `seconds`; operands come from
 * where a step would find them, the third-level cache. Not for messages and barriers. Not
 * collective. */
double machine_time_kernel(const machine_arena *arena, cot_kernel kernel, size_t m, size_t n,
                           size_t k, double seconds);

/** What messages and barriers take, into the rates of `machine`, as far as there are ranks to talk
 * to; and the number of nodes. In about three times `seconds`. Collective over the world. */
void machine_measure_messages(const cot_comm *world, double seconds, cot_machine *machine);

#endif
