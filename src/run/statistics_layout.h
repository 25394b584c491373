/** The layout of a statistics file, shared by what writes and what extends it
 * (docs/statistics.md). */
#ifndef COTERIE_STATISTICS_LAYOUT_H
#define COTERIE_STATISTICS_LAYOUT_H

#include "run/origin.h"

#include <coterie/statistics_file.h>

#include <stdbool.h>

#define COT_STATISTICS_FORMAT "coterie-statistics"
#define COT_STATISTICS_TRAINING "training"
enum { COT_STATISTICS_VERSION = 1 };

/** The data set of a variable with so many records. */
cot_h5_shape cot_statistics_shape(const cot_catalog *catalog, const cot_variable *variable,
                                  size_t records);

/* ---- writing; collective over the ranks that created the file; errors: COT_E_IO ---- */

/** The file's attributes; those of the last writer replace earlier ones. */
COT_MUST_CHECK cot_status cot_statistics_write_attributes(cot_h5_file *file,
                                                          const cot_origin *origin,
                                                          const cot_statistics_info *info);

/** Create the dimensions that are not there yet, and write their coordinates on the rank that
 * `writes`. */
COT_MUST_CHECK cot_status cot_statistics_create_dimensions(cot_h5_file *file, bool writes,
                                                           const cot_catalog *catalog);

/** Create a variable over `sample` and the axes behind it, for rows in batches of this size. */
COT_MUST_CHECK cot_status cot_statistics_create_rows(cot_h5_file *file, const cot_catalog *catalog,
                                                     const cot_variable *variable, size_t batch);

/** Create the dimension `record`, and the dimensions and variables of the catalog, with one record
 * that the rank that `writes` writes. With `grows`, records to come share chunks with it. */
COT_MUST_CHECK cot_status cot_statistics_write_first(cot_h5_file *file, bool writes,
                                                     const cot_catalog *catalog, bool grows);

/** Make room for so many records, or cut those behind. */
COT_MUST_CHECK cot_status cot_statistics_resize(cot_h5_file *file, const cot_catalog *catalog,
                                                size_t records);

/** Write one record, on the rank that `writes`. */
COT_MUST_CHECK cot_status cot_statistics_write_record(cot_h5_file *file, bool writes,
                                                      const cot_catalog *catalog, size_t record);

/* ---- reading; not collective; errors: COT_E_DATA ---- */

/** The record is in the file as the catalog has it, bit by bit. */
COT_MUST_CHECK cot_status cot_statistics_check_record(const cot_h5_file *file,
                                                      const cot_catalog *catalog, size_t record);

/** The file is one of training, and says how many records it has. */
COT_MUST_CHECK cot_status cot_statistics_check_kind(const cot_h5_file *file, size_t *records_out);

/** It has the dimensions and variables of the catalog, and no others. */
COT_MUST_CHECK cot_status cot_statistics_check_layout(const cot_h5_file *file,
                                                      const cot_catalog *catalog, size_t records);

#endif
