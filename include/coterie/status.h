/** Status codes, the two macros of control flow, and how a failure travels to the user.
 *
 * A function that can fail for a reason outside the program returns cot_status; its value is the
 * exit code of sysexits.h that the program ends with. What only a bug can cause aborts the whole
 * job (COT_ASSERT). */
#ifndef COTERIE_STATUS_H
#define COTERIE_STATUS_H

#include <stddef.h>

typedef enum cot_status {
    COT_OK = 0,
    COT_E_USAGE = 64,    /**< the command line is wrong */
    COT_E_DATA = 65,     /**< a file's content is wrong */
    COT_E_NOINPUT = 66,  /**< a file that is to be read is not there */
    COT_E_INTERNAL = 70, /**< the computation broke down: NaN, Inf, no memory */
    COT_E_CREATE = 73,   /**< a file or folder cannot be created */
    COT_E_IO = 74,       /**< reading or writing failed on the way */
    COT_E_STOPPED = 75,  /**< stopped early with a checkpoint saved: run it again */
    COT_E_CONFIG = 78    /**< the recipe is wrong */
} cot_status;

#define COT_MUST_CHECK __attribute__((warn_unused_result))
#define COT_PRINTF(text, first) __attribute__((format(printf, text, first)))

/** Record one line that says what is wrong and what would be right, and return `status`, so that a
 * failure reads `return cot_fail(COT_E_DATA, "%s: ...", path);`. The first failure recorded is
 * kept: a later one is its consequence. The line is printed once for the whole job, by
 * cot_comm_agree or by main. Not collective. */
cot_status cot_fail(cot_status status, const char *format, ...) COT_PRINTF(2, 3);

/** The line of the pending failure, or NULL. */
const char *cot_failure(void);

/** Forget the pending failure: it was printed, or what failed has another way out. */
void cot_failure_clear(void);

/** Print "coterie: error: ..." and end the job on every rank with exit code 70. For bugs and for
 * what no rank can survive alone (no memory, a failing MPI). */
_Noreturn void cot_abort(const char *file, int line, const char *format, ...) COT_PRINTF(3, 4);

/** How cot_abort ends the job; the communication layer sets MPI_Abort. NULL restores exit(). */
void cot_set_abort_handler(void (*handler)(int exit_code));

/** A condition that only a bug can break; on in every build. */
#define COT_ASSERT(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) cot_abort(__FILE__, __LINE__, "assertion failed: %s", #condition);       \
    } while (0)

/** Return early from a function that owns nothing at this point. */
#define COT_TRY(call)                                                                              \
    do {                                                                                           \
        cot_status status_of_call = (call);                                                        \
        if (status_of_call != COT_OK) return status_of_call;                                       \
    } while (0)

#endif
