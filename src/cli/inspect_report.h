/* What `coterie inspect` finds in a file. */
#ifndef COTERIE_CLI_INSPECT_REPORT_H
#define COTERIE_CLI_INSPECT_REPORT_H

#include <coterie/h5.h>

#include <jansson.h>

/** Describe a checkpoint, all of it read and its checksums verified: file, attributes, progress,
 * moments, parameters (with norm, min, max), total_parameters, verified. The caller releases it.
 * Errors: COT_E_DATA. */
COT_MUST_CHECK cot_status cot_inspect_checkpoint(const cot_h5_file *file, json_t **report_out);

/** Describe any other file: file, attributes, and objects with path, kind, type, shape and
 * attributes. The caller releases it.
 * Errors: COT_E_DATA. */
COT_MUST_CHECK cot_status cot_inspect_any(const cot_h5_file *file, json_t **report_out);

#endif
