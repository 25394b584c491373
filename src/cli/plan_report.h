/** How `coterie plan` prints its forecasts. */
#ifndef COTERIE_CLI_PLAN_REPORT_H
#define COTERIE_CLI_PLAN_REPORT_H

#include <coterie/forecast.h>

#include <stdbool.h>

/** On standard output. */
void cot_plan_print(const char *path, bool json, const cot_recipe *recipe, const cot_site *site,
                    const cot_choice *choice);

#endif
