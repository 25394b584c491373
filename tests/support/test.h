/** What every test shares: cmocka with our own comparator, a balance of allocations at exit, MPI
 * set-up. */
#ifndef COTERIE_TEST_H
#define COTERIE_TEST_H

#include <coterie/real.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/** Every |actual - expected| <= atol + rtol * |expected|; NaN and Inf always fail (cmocka's own
 * lets NaN pass). */
void assert_close(const cot_real *actual, const cot_real *expected, size_t n, double rtol,
                  double atol);
void assert_close_double(double actual, double expected, double rtol, double atol);

/** The pending failure has this status, and its message contains this text; it is then forgotten.
 */
void assert_failure(int status, int expected_status, const char *text);

/** A new empty folder under $TMPDIR or /tmp, removed at exit; the same on every rank when MPI runs.
 */
const char *test_folder(void);

/** Run a group, assert that every allocation was freed, and return the exit code for main. With
 * `mpi`, MPI is initialized before and finalized after. */
int run_test_group(const char *name, const struct CMUnitTest *tests, size_t count, int mpi,
                   int *argc, char ***argv);

#define RUN_UNIT_TESTS(tests)                                                                      \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return run_test_group(__FILE__, tests, sizeof(tests) / sizeof((tests)[0]), 0, &argc,       \
                              &argv);                                                              \
    }
#define RUN_MPI_TESTS(tests)                                                                       \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return run_test_group(__FILE__, tests, sizeof(tests) / sizeof((tests)[0]), 1, &argc,       \
                              &argv);                                                              \
    }

#endif
