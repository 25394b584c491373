/** What `coterie specialize` prints: numbers of the statistics file that it wrote, by their names
 * there. */
#ifndef COTERIE_SPECIALIZE_REPORT_H
#define COTERIE_SPECIALIZE_REPORT_H

#include <coterie/experiment.h>
#include <coterie/variable.h>

typedef struct cot_specialize_report {
    const char *checkpoint, *file;
    cot_split split;
    const cot_experiment *experiment;
    const cot_catalog *catalog;
} cot_specialize_report;

/** Print it on standard output. On rank 0 only. */
void cot_specialize_print_text(const cot_specialize_report *report);
void cot_specialize_print_json(const cot_specialize_report *report);

#endif
