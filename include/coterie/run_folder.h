/** The run folder: who may write into it, and which checkpoints it holds (docs/checkpoint.md). */
#ifndef COTERIE_RUN_FOLDER_H
#define COTERIE_RUN_FOLDER_H

#include <coterie/comm.h>

#include <stdbool.h>
#include <stdint.h>

/** A held lock. The kernel releases it when the process ends, however it ends. */
typedef struct cot_run_lock cot_run_lock;

/** Create the folder, with its parents, and take its lock file `<dir>/lock`. What is left of a
 * run's own HDF5 files that were cut off (*.h5.partial) is removed then. Collective over the world.
 * Errors, on every rank alike: COT_E_CREATE when the folder cannot be created or written, or when
 * another process holds the lock: the line names its host and process; COT_E_IO when the folder
 * cannot be listed. */
COT_MUST_CHECK cot_status cot_run_folder_lock(const cot_comm *comm, const char *dir,
                                              cot_run_lock **lock_out);

/** Give the lock back; accepts NULL. Not collective. */
void cot_run_folder_unlock(cot_run_lock **lock);

/** Whether the folder holds any file named checkpoint-<step>.h5, good or damaged. Collective over
 * the world.
 * Errors, on every rank alike: COT_E_IO when it cannot be listed. */
COT_MUST_CHECK cot_status cot_run_folder_has_checkpoints(const cot_comm *comm, const char *dir,
                                                         bool *any_out);

/** Path of a checkpoint in a folder (allocated). */
char *cot_run_folder_checkpoint(const char *dir, uint64_t step);

/** The steps of all files named checkpoint-<step>.h5, highest first (allocated, also on failure);
 * none where there is no folder. Not collective.
 * Errors: COT_E_IO when it cannot be listed. */
COT_MUST_CHECK cot_status cot_run_folder_steps(const char *dir, uint64_t **steps_out,
                                               size_t *count_out);

/** Make sure that what was renamed or linked in a folder survives a crash of the machine. Not
 * collective.
 * Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_run_folder_sync(const char *dir);

/** Point the symbolic link `<dir>/<name>` at a file of the same folder, by rename. Not collective.
 * Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_run_folder_link(const char *dir, const char *name,
                                              const char *target);

#endif
