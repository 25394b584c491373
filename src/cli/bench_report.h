/** How `coterie bench` prints what it measured. */
#ifndef COTERIE_CLI_BENCH_REPORT_H
#define COTERIE_CLI_BENCH_REPORT_H

#include <coterie/bench.h>
#include <coterie/machine.h>

#include <stdbool.h>

/** What every benchmark says of itself. */
typedef struct cot_bench_head {
    const char *recipe;
    int ranks;
    bool json;
} cot_bench_head;

/** Each prints one result on standard output; rank 0. */
void cot_bench_print_step(const cot_bench_head *head, const cot_step_bench *bench);
void cot_bench_print_exchange(const cot_bench_head *head,
                              const cot_exchange_time times[COT_BENCH_SIZES]);
void cot_bench_print_checkpoint(const cot_bench_head *head, const cot_checkpoint_bench *bench);

/** A machine profile in a few figures, and the file that holds it all. */
void cot_bench_print_machine(const char *path, bool json, const cot_machine *machine);

#endif
