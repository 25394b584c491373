/* What `coterie inspect` finds in a file. */
#ifndef COTERIE_CLI_INSPECT_REPORT_H
#define COTERIE_CLI_INSPECT_REPORT_H

#include <coterie/h5.h>

#include <jansson.h>

/** Describe a checkpoint, all of it read and its checksums verified: file, attributes, progress,
 * moments, parameters (with norm, min, max), total_parameters, verified. The caller releases it.
 * Errors: COT_E_DATA. */
COT_MUST_CHECK cot_status cot_inspect_checkpoint(const cot_h5_file *file, json_t **report_out);

/** Describe a statistics file, all of it read and its checksums verified: file, kind, records,
 * steps, attributes, dimensions (with values where they are not 0, 1, 2, ...), variables (with
 * type, axes, shape, units, meaning), verified. The caller releases it. Errors: COT_E_DATA. */
COT_MUST_CHECK cot_status cot_inspect_statistics(const cot_h5_file *file, json_t **report_out);

/** Describe any other file: file, attributes, and objects with path, kind, type, shape and
 * attributes. The caller releases it.
 * Errors: COT_E_DATA. */
COT_MUST_CHECK cot_status cot_inspect_any(const cot_h5_file *file, json_t **report_out);

/* ---- what the reports share ---- */

/** One number, a list of numbers, or a text; null for what is none. */
json_t *cot_inspect_value(const cot_h5_value *value);

/** The sizes of the axes. */
json_t *cot_inspect_shape(const cot_h5_shape *shape);

/** All attributes of an object, as the member `key` of `parent`. */
COT_MUST_CHECK cot_status cot_inspect_attributes(const cot_h5_file *file, const char *object,
                                                 json_t *parent, const char *key);

/** Hand out a finished report, or release one that failed. */
COT_MUST_CHECK cot_status cot_inspect_finish(cot_status status, json_t *report,
                                             json_t **report_out);

#endif
