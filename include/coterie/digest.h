/** A digest of what a file of ours says: equal for files that hold the same results, however they
 * were written. */
#ifndef COTERIE_DIGEST_H
#define COTERIE_DIGEST_H

#include <coterie/h5.h>

/** Room for the 64 hexadecimal digits of SHA-256 and the terminating zero. */
enum { COT_DIGEST_SIZE = 65 };

/** SHA-256 over all groups, data sets (path, type, shape, data) and attributes, in the order of
 * their names. Left out are everything below /timing, the attributes that say where and when a file
 * was written (ranks, host, started, written, build, slurm_job_id), and attributes that are neither
 * numbers nor text (the references between dimension scales). Does not depend on chunks, on the
 * order of creation, or on this machine. Not collective.
 * Errors: COT_E_DATA for a damaged file or one with data of a type that we do not write. */
COT_MUST_CHECK cot_status cot_digest(const cot_h5_file *file, char hex_out[COT_DIGEST_SIZE]);

#endif
