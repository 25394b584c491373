/** Log lines on standard error. Results go to standard output and never through here. */
#ifndef COTERIE_LOG_H
#define COTERIE_LOG_H

#include <coterie/status.h>

#include <stdbool.h>

/** Say which rank of how many this process is; only rank 0 prints information and warnings. */
void cot_log_set_rank(int rank, int size);

/** Silence information (not warnings or errors). */
void cot_log_set_quiet(bool quiet);

/** One line of information, or one warning, printed by rank 0 alone. */
void cot_info(const char *format, ...) COT_PRINTF(1, 2);
void cot_warn(const char *format, ...) COT_PRINTF(1, 2);

/** Show a line on a terminal, until whatever is logged next takes its place; NULL only removes
 * it. */
void cot_log_live(const char *line);

/** One line "coterie: error: ..." from whichever rank calls. */
void cot_error(const char *format, ...) COT_PRINTF(1, 2);

#endif
