/** What `coterie eval` prints. */
#ifndef COTERIE_EVAL_REPORT_H
#define COTERIE_EVAL_REPORT_H

#include <coterie/evaluate.h>

#include <stdbool.h>

typedef struct cot_eval_report {
    const char *checkpoint;
    cot_split split;
    const char *selector; /**< what chose the experts; NULL: all were kept */
    size_t experts;
    const cot_evaluation *part; /**< on the experts kept */
    const cot_evaluation *all;  /**< on all experts, to compare with; NULL: not measured */
} cot_eval_report;

/** Print it on standard output. On rank 0 only. */
void cot_eval_print_text(const cot_eval_report *report);
void cot_eval_print_json(const cot_eval_report *report);

#endif
