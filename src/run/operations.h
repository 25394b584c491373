/** What a training step does on one rank, as a list of kernels and messages.
 *
 * Written down after the code that does it: operations.c (model, sums, optimizer),
 * operations_slots.c and operations_tokens.c (a Soft MoE layer by either exchange plan). Products
 * are told exactly (a test adds them up), elementwise work by the passes over memory that count.
 * Nothing here is collective. */
#ifndef COTERIE_RUN_OPERATIONS_H
#define COTERIE_RUN_OPERATIONS_H

#include <coterie/experiment.h>
#include <coterie/machine.h>

enum { OPERATIONS_MOST = 256 };

/** A pass over m numbers that the caches do not hold between passes: what that costs beyond passes
 * over numbers from the third-level cache, where kernels are timed. */
enum { OPERATION_FAR = COT_KERNELS };

/** Numbers of an array that is not far: two such fit into a third-level cache. */
enum { OPERATION_NEAR = 524288 };

/** In a layer by slots, messages travel while experts compute (soft_moe.c): with which other
 * operations one goes on at a time. */
typedef enum stretch {
    STRETCH_ALONE,    /**< with none */
    STRETCH_FORWARD,  /**< inputs and outputs, and the experts, chunk by chunk */
    STRETCH_BACKWARD, /**< their gradients, chunk by chunk */
    STRETCH_LATE,     /**< weights' gradients, while the last of these are on their way home */
    STRETCHES
} stretch;

typedef struct operation {
    cot_phase phase;
    stretch stretch;
    cot_kernel kernel;
    double m, n, k;
    double count; /* times in a step */
} operation;

typedef struct operations {
    size_t count;
    size_t chunks;      /* that slots travel in; 0: those of chunk_tuner.h that suit best ... */
    size_t most_chunks; /* ... up to so many */
    operation list[OPERATIONS_MOST];
} operations;

/** Ranks that a rank talks to: of its node, and of others. */
typedef struct peers {
    double inside, between;
} peers;

/** The pass at hand, and the list that it adds to. */
typedef struct pass_work {
    operations *list;
    cot_phase phase;
    stretch stretch;
    double times; /* what a step does once, accumulation does so often */
    const cot_soft_moe_options *moe;
    const cot_comm *comm;
    bool shares;         /* the expert group shares memory */
    bool learns_input;   /* the layer's input has a gradient */
    double here, grains; /* samples and grains of this rank */
    double group, group_grains;
    double experts; /* of this rank */
    peers world, members, replicas;
    bool ordered; /* sums over ranks */
    const cot_batching *batching;
} pass_work;

/** Add a kernel to the phase at hand; what is there already with these sizes, as in every layer,
 * counts more often. */
void work_add(pass_work *w, cot_kernel kernel, double m, double n, double k, double count);

/** Add passes over slot rows. */
void work_far(pass_work *w, double numbers, double passes);

/** Add `bytes` to and from each of `peers`. */
void work_send(pass_work *w, const peers *to, double bytes);

/** Add a meeting of the expert group in shared memory, or the same number of messages. */
void work_exchange(pass_work *w, double bytes);

/** Add cot_ordered_sum_real over `ranks` ranks, these and this one, each with as many numbers; in
 * the fixed order or not. */
void work_sum(pass_work *w, const peers *to, bool ordered, double ranks, double numbers);

/** cot_expert_bank_load, once a step, and cot_expert_bank_finish, so many times in each of its
 * w->times parts. */
void work_load_experts(pass_work *w, double finishes);

/** One Soft MoE layer, forward and backward. */
void work_by_slots(pass_work *w);
void work_by_tokens(pass_work *w);

/** The step of `experiment` (a sketch, or a real one) on its rank; `ranks_on_node` of a node's. */
void operations_of_step(const cot_experiment *experiment, int ranks_on_node, operations *list_out);

/** Of one operation, once, on a machine that knows its kernel. */
double operation_seconds(const operation *o, const cot_machine *machine);

/** Seconds by phase, from those of each operation [count], once. `hides`: what messages of slots
 * take is counted only as far as experts' work cannot hide it, which is all where it is false;
 * `machine` tells what chunks of them take. */
void operations_add_up(const operations *list, const double *each, const cot_machine *machine,
                       bool hides, double seconds_out[COT_PHASES]);

/** The first kernel that the machine does not know; COT_KERNELS when there is none. */
cot_kernel operations_unknown(const operations *list, const cot_machine *machine);

/** Bytes that this rank sends, by phase; not what shared memory spares. */
void operations_bytes(const operations *list, double bytes_out[COT_PHASES]);

/** Multiply-adds of the products. */
double operations_products(const operations *list);

#endif
