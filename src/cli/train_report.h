/** What `train --profile` prints. */
#ifndef COTERIE_CLI_TRAIN_REPORT_H
#define COTERIE_CLI_TRAIN_REPORT_H

#include <coterie/costs.h>

#include <stdbool.h>

/** Print the costs of a call, and where its trace is (call on rank 0 only). */
void cot_train_print_profile(const cot_costs *costs, int ranks, const char *folder, bool json);

#endif
