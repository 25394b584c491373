/** A machine profile: what the kernels of a training step, and messages, take here.
 *
 * `coterie bench machine` measures it, on a grid of shapes that has nothing to do with any recipe;
 * plan.h looks up in it what the operations of a step would take. Not collective, except where it
 * says so. */
#ifndef COTERIE_MACHINE_H
#define COTERIE_MACHINE_H

#include <coterie/comm.h>

#include <stdbool.h>

/** What a step consists of, by up to three sizes (m, n, k). */
typedef enum cot_kernel {
    COT_KERNEL_GEMM_NN, /**< cot_gemm: C [m,n] over k, neither, A or B transposed */
    COT_KERNEL_GEMM_TN,
    COT_KERNEL_GEMM_NT,
    COT_KERNEL_TO_SLOTS, /**< the products of moe/mix.h on one sample: T, S, D */
    COT_KERNEL_TO_TOKENS,
    COT_KERNEL_TO_WEIGHTS,
    COT_KERNEL_EXPERT_FORWARD, /**< expert_bank.h on the rows of one expert: rows, D, H */
    COT_KERNEL_EXPERT_BACKWARD,
    COT_KERNEL_FUSED_FORWARD, /**< moe/fused_experts.h, T = 4, one slot: samples, D, H */
    COT_KERNEL_FUSED_BACKWARD,
    COT_KERNEL_SOFTMAX_ROWS, /**< m rows of n, and so below */
    COT_KERNEL_SOFTMAX_ROWS_BACKWARD,
    COT_KERNEL_SOFTMAX_COLS,
    COT_KERNEL_SOFTMAX_COLS_BACKWARD,
    COT_KERNEL_NORMALIZE_ROWS,
    COT_KERNEL_NORMALIZE_ROWS_BACKWARD,
    COT_KERNEL_NORMALIZE_COLS,
    COT_KERNEL_NORMALIZE_COLS_BACKWARD,
    COT_KERNEL_COPY, /**< m numbers, and so below */
    COT_KERNEL_ADD,
    COT_KERNEL_DOT,  /**< in double */
    COT_KERNEL_ROWS, /**< m numbers read as slot buffers are: a row of every slot in turn */
    COT_KERNEL_SGD,
    COT_KERNEL_ADAM,
    COT_KERNEL_PIXELS,          /**< from the data set's bytes */
    COT_KERNEL_NORMALS,         /**< drawn */
    COT_KERNEL_BARRIER,         /**< of 2^m ranks of one node */
    COT_KERNEL_MESSAGE,         /**< m bytes to a rank of the same node, and as many back */
    COT_KERNEL_MESSAGE_BETWEEN, /**< the same to a rank of another node, all ranks of both at it */
    COT_KERNELS
} cot_kernel;

/** "gemm_nn", ... */
const char *cot_kernel_name(cot_kernel kernel);

enum { COT_MACHINE_AXES = 3, COT_MACHINE_AXIS = 8 };

/** Seconds of a kernel on a grid of sizes. */
typedef struct cot_rates {
    size_t counts[COT_MACHINE_AXES];                 /**< points of each axis; 0: not measured */
    double axes[COT_MACHINE_AXES][COT_MACHINE_AXIS]; /**< ascending */
    double *seconds;                                 /**< [m,n,k] */
} cot_rates;

typedef struct cot_machine {
    char *host, *build, *blas_core, *written; /**< host: of rank 0 */
    size_t cores;                             /**< of a node */
    size_t ranks, nodes;                      /**< it was measured with */
    size_t base_bytes; /**< of a process before anything is created: program, MPI, BLAS, HDF5 */
    double alone, together; /**< bytes/s of memory: one rank at it, or all; of each rank */
    cot_rates rates[COT_KERNELS];
} cot_machine;

/** Where a profile is looked for unless told otherwise: in the folder that the program is run in.
 */
#define COT_MACHINE_FILE "machine.json"

void cot_machine_free(cot_machine *machine);

/** Seconds of a kernel: between the points of the grid, linear in the logarithms; outside, in
 * proportion to the sizes. 0 where one of the sizes is 0. The kernel has been measured. */
double cot_machine_seconds(const cot_machine *machine, cot_kernel kernel, double m, double n,
                           double k);

static inline bool cot_machine_knows(const cot_machine *machine, cot_kernel kernel)
{
    return machine->rates[kernel].seconds != NULL;
}

/** Read a profile, which cot_machine_free releases.
 * Errors: COT_E_NOINPUT; COT_E_IO; COT_E_DATA with the file and what is wrong in it. */
COT_MUST_CHECK cot_status cot_machine_read(const char *path, cot_machine *machine_out);

/** Write it, replacing the file by rename, unless that is something that training has written.
 * Errors: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status cot_machine_write(const char *path, const cot_machine *machine);

/** Measure everything on the ranks of `world`, all at once, several times over in about `seconds`,
 * or in what this takes at the least; times are medians of the slowest rank's. The result, which
 * cot_machine_free releases, is the same on every rank. Collective over the world. */
void cot_machine_measure(const cot_comm *world, double seconds, cot_machine *machine_out);

#endif
