/* What `coterie data info` prints. */
#ifndef COTERIE_CLI_DATA_REPORT_H
#define COTERIE_CLI_DATA_REPORT_H

#include <coterie/dataset.h>

/** Open a data set, read all of it and describe it on standard output (call on rank 0 only).
 * Errors: those of cot_dataset_create. */
COT_MUST_CHECK cot_status cot_data_report(const cot_dataset_options *data, bool json);

#endif
