/** The statistics file, version 1: variables with named dimensions that netCDF-4 readers open as it
 * is. docs/statistics.md describes it.
 *
 * Every variable of a catalog becomes a data set with the dimension `record` in front of its own
 * axes, those of the group /timing too. A file appears under its name when it is complete, on the
 * disk and read back; whatever fails, what was there before stays as it was. */
#ifndef COTERIE_STATISTICS_FILE_H
#define COTERIE_STATISTICS_FILE_H

#include <coterie/checkpoint.h>
#include <coterie/variable.h>

/** What the attributes of the file say, the same on every rank. */
typedef struct cot_statistics_info {
    const char *kind;                  /**< "training" or "study" */
    const char *split;                 /**< "test", ... */
    const char *selectors;             /**< of a study: their names, between spaces; else NULL */
    const cot_checkpoint_info *origin; /**< the same as in a checkpoint; the recipe is portable */
} cot_statistics_info;

/* ---- a file with one record: a study ---- */

typedef struct cot_statistics_file cot_statistics_file;

/** Begin a file. `rows` (NULL: none) lists variables that have a row for each sample of the split
 * instead of a record: their first axis is "sample", data is NULL, and the types float32 and int32
 * are allowed too; with the dimensions they use. Their rows are written in the order of the split,
 * `batch` of them in one call of cot_statistics_write_rows (over all ranks; the last may be fewer).
 * Collective over the world.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status cot_statistics_begin(const cot_comm *comm, const char *path,
                                               const cot_catalog *rows, size_t batch,
                                               cot_statistics_file **file_out);

/** Write this rank's rows [first, first + count) of one of those variables; 0 rows on a rank that
 * has none in this batch. Collective over the world. Not agreed on, and need not be: a failure
 * comes out of finish again.
 * Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_statistics_write_rows(cot_statistics_file *file, const char *name,
                                                    size_t first, size_t count, const void *data);

/** Write all other variables, and give the file its name; one that has it is replaced. With catalog
 * NULL give up instead, and remove what was written; accepts a file that is NULL. Collective over
 * the world.
 * Errors, on every rank alike: COT_E_IO. */
COT_MUST_CHECK cot_status cot_statistics_finish(cot_statistics_file **file,
                                                const cot_statistics_info *info,
                                                const cot_catalog *catalog);

/** Both at once, for a file without rows. */
COT_MUST_CHECK cot_status cot_statistics_write(const cot_comm *comm, const char *path,
                                               const cot_statistics_info *info,
                                               const cot_catalog *catalog);

/* ---- a file that grows: training ---- */

/** Rename a file into which the catalog's records do not fit, because it is damaged or another
 * version of the program began it, with a warning: the next record begins another. Collective over
 * the world; rank 0 does it.
 * Errors, on every rank alike: COT_E_IO. */
COT_MUST_CHECK cot_status cot_statistics_make_way(const cot_comm *comm, const char *path,
                                                  const cot_catalog *catalog);

/** Append a record to a file, in a copy that replaces it, so that readers always find a complete
 * file; one that is not there is created. The catalog has the variables of the first record.
 * Collective over the world; rank 0 writes.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO, COT_E_DATA when the file has other variables
 * or dimensions, or is damaged. */
COT_MUST_CHECK cot_status cot_statistics_append(const cot_comm *comm, const char *path,
                                                const cot_statistics_info *info,
                                                const cot_catalog *catalog);

/** Drop the records whose `step` is past this one, and the file when none is left. A file that is
 * not there is no error; one that is damaged or none of ours is renamed to <path>.damaged with a
 * warning. Collective over the world; rank 0 writes.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status cot_statistics_truncate(const cot_comm *comm, const char *path,
                                                  uint64_t step);

#endif
