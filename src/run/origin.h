/** What every file of a run says of itself: what it is, which run wrote it, where and when. */
#ifndef COTERIE_ORIGIN_H
#define COTERIE_ORIGIN_H

#include <coterie/checkpoint.h>
#include <coterie/h5.h>

/** Where and when: the same texts on every rank, for HDF5 wants equal attributes from all. */
typedef struct cot_origin {
    uint64_t ranks;
    char *host, *written, *slurm_job_id; /**< slurm_job_id empty outside of Slurm */
} cot_origin;

/** Rank 0's place and time. Collective over the world. */
cot_origin cot_origin_take(const cot_comm *comm);
void cot_origin_free(cot_origin *origin);

/** Write all of it as attributes of the file. Collective over the ranks that created the file.
 * Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_origin_write(cot_h5_file *file, const cot_origin *origin,
                                           const char *format, uint64_t version,
                                           const cot_checkpoint_info *info);

/** Format and version are these. Not collective.
 * Errors: COT_E_DATA. */
COT_MUST_CHECK cot_status cot_origin_check(const cot_h5_file *file, const char *format,
                                           uint64_t version);

#endif
