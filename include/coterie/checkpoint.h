/** Checkpoints: one HDF5 file, written by all ranks together, readable on any number of ranks.
 *
 * docs/checkpoint.md describes the format. A checkpoint appears under its name only when it is
 * complete, on the disk and verified; whatever kills a run, the files that were there before stay
 * good. */
#ifndef COTERIE_CHECKPOINT_H
#define COTERIE_CHECKPOINT_H

#include <coterie/comm.h>
#include <coterie/param.h>

#include <stdint.h>

/** Where a run stands: what must survive an interruption besides parameters and moments. */
typedef struct cot_progress {
    uint64_t step;         /**< optimizer steps done */
    uint64_t epoch;        /**< the epoch in progress, from 0 */
    uint64_t batch;        /**< the next batch of that epoch to take */
    uint64_t samples_seen; /**< training samples taken so far */
    double epoch_loss;     /**< sum of the losses of the epoch's samples so far */
    uint64_t epoch_correct, epoch_samples;
    double best_metric; /**< of the best evaluation so far: the smaller the better */
    uint64_t best_step; /**< its step; meaningful only with has_best */
    bool has_best;
} cot_progress;

enum { COT_MAX_MOMENTS = 2 };

/** What a checkpoint holds; memory stays the caller's. Reading fills values, moments and
 * progress. */
typedef struct cot_training_state {
    cot_params *params;
    size_t moment_count;                       /**< 0 to 2 */
    const char *moment_names[COT_MAX_MOMENTS]; /**< "m", "v" */
    cot_real *moments[COT_MAX_MOMENTS];        /**< each laid out as cot_params_values */
    cot_progress progress;
} cot_training_state;

/** What else is written into the file, the same on every rank. */
typedef struct cot_checkpoint_info {
    const char *recipe; /**< resolved YAML */
    uint64_t seed;
    uint64_t data_checksum;
    const char *blas_core; /**< the kernels that OpenBLAS chose */
    uint64_t blas_threads, grains, expert_replicas;
    const char *exchange; /**< the exchange plan: "slots" */
    const char *started;  /**< when this call of the program started, ISO 8601 */
} cot_checkpoint_info;

/** Write `<dir>/checkpoint-<step>.h5`: to a .partial file first; closed, synchronized, reopened and
 * verified against the registry; renamed; the folder synchronized; `latest.h5` pointed at it. An
 * existing file of that name is replaced. Collective over the world; with expert replicas, the
 * first group writes the experts.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO. Up to the renaming a failure removes the
 * .partial file and nothing else has changed; after it, the new checkpoint is there and complete,
 * only `latest.h5` may still be the old one. */
COT_MUST_CHECK cot_status cot_checkpoint_write(const cot_comm *comm, const char *dir,
                                               const cot_training_state *state,
                                               const cot_checkpoint_info *info);

/** Read a checkpoint, every rank its own shard. With `weights_only`, moments and progress are left
 * as they are, though checked too. Collective over the world.
 * Errors, on every rank alike: COT_E_NOINPUT; COT_E_DATA naming the file and the data set for
 * anything damaged, missing or not a checkpoint; COT_E_CONFIG naming a parameter that the recipe
 * shapes otherwise. After an error, values and moments are undefined and progress is as before. */
COT_MUST_CHECK cot_status cot_checkpoint_read(const cot_comm *comm, const char *path,
                                              bool weights_only, cot_training_state *state);

/** The attributes of a checkpoint that a later run compares itself with; strings are allocated here
 * and freed by cot_checkpoint_header_free. Not collective (rank 0 reads and broadcasts, or a
 * program alone). */
typedef struct cot_checkpoint_header {
    char *recipe, *blas_core, *build, *exchange, *written, *host;
    uint64_t step, epoch, samples_seen, seed, data_checksum;
    uint64_t blas_threads, grains, expert_replicas, ranks;
} cot_checkpoint_header;
COT_MUST_CHECK cot_status cot_checkpoint_read_header(const char *path,
                                                     cot_checkpoint_header *header);
void cot_checkpoint_header_free(cot_checkpoint_header *header);

/** Check part `part` of `parts` of a checkpoint: its attributes, that each parameter has its
 * moments, and the checksums of this part's share of the data. Not collective.
 * Errors: COT_E_NOINPUT, COT_E_DATA. */
COT_MUST_CHECK cot_status cot_checkpoint_verify(const char *path, size_t part, size_t parts);

/** The file that `path` is or links to, allocated, the same on every rank: a run at work may point
 * latest.h5 and best.h5 at another one between the ranks' looks. Collective over the world. */
char *cot_checkpoint_follow(const cot_comm *comm, const char *path);

/** Path of the checkpoint with the highest step in `dir` whose checksums all verify, allocated, the
 * same on every rank; NULL when there is none. A damaged one is passed over with a warning that
 * names it and why. Collective over the world. */
char *cot_checkpoint_newest(const cot_comm *comm, const char *dir);

/** Point `<dir>/best.h5` at the checkpoint of `step`, by rename. Collective over the world. */
COT_MUST_CHECK cot_status cot_checkpoint_mark_best(const cot_comm *comm, const char *dir,
                                                   uint64_t step);

/** Of the checkpoints of `dir` up to `step`, remove all but the newest `keep` (0: keep all); what
 * best.h5 points at stays. Later ones are damaged ones that resuming has passed over: they do not
 * count, and stay until the run comes to them again. Collective. */
COT_MUST_CHECK cot_status cot_checkpoint_prune(const cot_comm *comm, const char *dir, size_t keep,
                                               uint64_t step);

#endif
