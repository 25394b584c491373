/** The statistics file, version 1: variables with named dimensions that netCDF-4 readers open as it
 * is. docs/statistics.md describes it.
 *
 * Every variable has the record as its first axis, except those that name it themselves. */
#ifndef COTERIE_STATISTICS_FILE_H
#define COTERIE_STATISTICS_FILE_H

#include <coterie/experiment.h>
#include <coterie/variable.h>

/** What the attributes of the file say. */
typedef struct cot_statistics_info {
    const char *kind;   /**< "training" or "study" */
    const char *recipe; /**< portable */
    const char *split;
    uint64_t seed, data_checksum;
    const char *started; /**< cot_timestamp of the call */
} cot_statistics_info;

/** Write a file with one record; one of that name is replaced once the new one is complete.
 * `samples` (NULL: none) writes what has a row for each sample of the split. Collective over the
 * world.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO; what was there stays as it was. */
COT_MUST_CHECK cot_status cot_statistics_write(const cot_comm *comm, const char *path,
                                               const cot_statistics_info *info,
                                               const cot_catalog *catalog);

/** Append a record to a file, in a copy that replaces it, so that readers always find a complete
 * file; one that is not there is created. The catalog has the variables of the first record.
 * Collective over the world; rank 0 writes.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO, COT_E_DATA when the file has other variables
 * or dimensions; what was there stays as it was. */
COT_MUST_CHECK cot_status cot_statistics_append(const cot_comm *comm, const char *path,
                                                const cot_statistics_info *info,
                                                const cot_catalog *catalog);

/** Drop the records whose `step` is past this one; a file that is not there is no error, and one
 * that cannot be read is removed with a warning. Collective over the world; rank 0 writes. */
COT_MUST_CHECK cot_status cot_statistics_truncate(const cot_comm *comm, const char *path,
                                                  uint64_t step);

#endif
