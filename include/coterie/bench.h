/** Measuring: training steps, the exchange and checkpoints, each beside what the machine itself
 * does in the same run.
 *
 * Times are of the slowest rank, and for reports only. Every function is collective over the world,
 * and its result the same on every rank. */
#ifndef COTERIE_BENCH_H
#define COTERIE_BENCH_H

#include <coterie/ledger.h>
#include <coterie/recipe.h>

/** Median and quartiles. */
typedef struct cot_spread {
    double lower, median, upper;
} cot_spread;

/** Of n > 0 values, which get sorted; between two of them, linear. Not collective. */
cot_spread cot_spread_of(size_t n, double *values);

/** Floating-point operations, two for each multiply-add. */
typedef struct cot_flop {
    double embed, layers, head;
} cot_flop;

/** What a training step on `samples` samples needs in matrix products: neither a gradient with
 * respect to the images, nor any that nothing learns from, nor what is computed twice to save
 * memory. Of one layer with N = T S D and M = S D H, in multiply-adds a sample:
 *     forward   3 N + 2 M   logits, dispatch, combine; the experts' two products
 *     backward  4 N + 4 M   slot outputs, combine, dispatch, Phi; the experts' four products
 *               2 N         the layer's input, where it is not the images
 * Not collective. */
cot_flop cot_flop_of_step(const cot_model_options *model, const cot_moe_shape *shape,
                          size_t patch_width, size_t outputs, size_t samples);

/** A time of all steps: the spread on the rank whose median is the longest, and that rank. */
typedef struct cot_rank_time {
    cot_spread seconds;
    int rank;
} cot_rank_time;

typedef struct cot_step_bench {
    size_t samples;       /**< of one step, over all ranks */
    size_t steps;         /**< measured */
    const char *exchange; /**< the plan: "slots" or "tokens" */
    bool shares_memory;
    cot_flop flop;
    cot_spread seconds; /**< of a step; of each the slowest rank's */
    cot_rank_time busy; /**< of it, outside exchange and sums, where ranks wait for each other */
    cot_rank_time phases[COT_PHASES];
    double peak; /**< FLOP/s of all ranks together: 2048^3 products on all at once, best of ten
                    that are spread among the steps */
} cot_step_bench;

/** Real training steps of a recipe, for about `seconds`; nothing is written.
 * Errors, on every rank alike: those of cot_experiment_create; COT_E_INTERNAL for NaN or Inf. */
COT_MUST_CHECK cot_status cot_bench_step(const cot_comm *world, const cot_recipe *recipe,
                                         double seconds, cot_step_bench *bench_out);

enum { COT_BENCH_SIZES = 9 };

/** The ways of the exchange (exchange.h). */
typedef enum cot_exchange_kind {
    COT_EXCHANGE_SHARED,    /**< the expert group is one node */
    COT_EXCHANGE_TWO_LEVEL, /**< it is several, of which some have several ranks */
    COT_EXCHANGE_MESSAGES,  /**< every rank is a node */
    COT_EXCHANGE_KINDS
} cot_exchange_kind;

/** "shared", "two-level", "messages". */
const char *cot_exchange_kind_name(cot_exchange_kind kind);

/** Slot inputs to the owners and slot outputs back to the homes, with `bytes` for each pair of
 * ranks each way; beside two MPI_Alltoall of the same bytes. */
typedef struct cot_exchange_time {
    size_t bytes, samples, experts; /**< samples and experts of one rank */
    size_t rounds;
    bool has[COT_EXCHANGE_KINDS];        /**< whether the ranks at hand can go that way */
    cot_spread ways[COT_EXCHANGE_KINDS]; /**< seconds of the exchange that way, if so */
    cot_spread raw;                      /**< seconds of the two MPI_Alltoall */
} cot_exchange_time;

/** The exchange with the slots, token width and expert replicas of a recipe, from 64 KiB to 16 MiB
 * a pair, each size doubling the last; numbers of samples and experts are chosen to make up the
 * size. Where memory is shared, what is timed are the two barriers: rows are written and read in
 * place. Errors, on every rank alike: those of cot_experiment_create; COT_E_USAGE on one rank;
 * COT_E_CONFIG where every expert group is one rank. */
COT_MUST_CHECK cot_status cot_bench_exchange(const cot_comm *world, const cot_recipe *recipe,
                                             double seconds,
                                             cot_exchange_time times_out[COT_BENCH_SIZES]);

typedef struct cot_checkpoint_bench {
    size_t parameters, moments; /**< moments of each parameter */
    uint64_t bytes;             /**< of all of them */
    size_t rounds;
    cot_spread seconds; /**< cot_checkpoint_write: written, synchronized, read back, renamed */
    cot_spread raw;     /**< the same bytes by MPI_File_write_at_all, synchronized */
} cot_checkpoint_bench;

/** Checkpoints of the recipe's model after one step, into a folder of their own beside output.dir
 * (in the nearest folder above it that exists), which is removed again.
 * Errors, on every rank alike: those of trainer steps and of checkpoints; COT_E_CREATE, COT_E_IO.
 */
COT_MUST_CHECK cot_status cot_bench_checkpoint(const cot_comm *world, const cot_recipe *recipe,
                                               double seconds, cot_checkpoint_bench *bench_out);

#endif
