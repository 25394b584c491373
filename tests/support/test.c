#include "support/test.h"

#include <coterie/blas.h>
#include <coterie/memory.h>
#include <coterie/status.h>

#include <ftw.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[512];

void assert_close_double(double actual, double expected, double rtol, double atol)
{
    double bound = atol + rtol * fabs(expected);
    /* Written so that NaN and Inf on either side fail. */
    if (!isfinite(expected) || !(fabs(actual - expected) <= bound))
        fail_msg("%.9g is not %.9g within %.3g", actual, expected, bound);
}

void assert_close(const cot_real *actual, const cot_real *expected, size_t n, double rtol,
                  double atol)
{
    for (size_t i = 0; i < n; i++) {
        double bound = atol + rtol * fabs((double)expected[i]);
        if (!isfinite(expected[i]) || !(fabs((double)actual[i] - (double)expected[i]) <= bound))
            fail_msg("element %zu of %zu: %.9g is not %.9g within %.3g", i, n, (double)actual[i],
                     (double)expected[i], bound);
    }
}

void assert_failure(int status, int expected_status, const char *text)
{
    const char *message = cot_failure();
    if (status != expected_status)
        fail_msg("status %d is not %d (%s)", status, expected_status,
                 message ? message : "no message");
    if (message == NULL || strstr(message, text) == NULL)
        fail_msg("the message '%s' does not contain '%s'", message ? message : "(none)", text);
    cot_failure_clear();
}

static int mpi_is_running(void)
{
    int initialized = 0;
    int finalized = 0;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    return initialized && !finalized;
}

const char *test_folder(void)
{
    if (folder[0] != '\0') return folder;
    int rank = 0;
    if (mpi_is_running()) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        const char *parent = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/coterie-test-XXXXXX", parent != NULL ? parent : "/tmp");
        if (mkdtemp(folder) == NULL) abort();
    }
    if (mpi_is_running()) MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    return folder;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static void remove_folder(int rank)
{
    enum { OPEN_FOLDERS = 16 };
    if (folder[0] != '\0' && rank == 0)
        nftw(folder, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
}

int run_test_group(const char *name, const struct CMUnitTest *tests, size_t count, int mpi,
                   int *argc, char ***argv)
{
    int rank = 0;
    cot_blas_settle_core(*argv);
    if (mpi) {
        MPI_Init(argc, argv);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    }
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    if (mpi) MPI_Barrier(MPI_COMM_WORLD);
    remove_folder(rank);
    if (mpi) MPI_Finalize();
    if (cot_alloc_balance() != 0) {
        fprintf(stderr, "%s: %ld allocations were not freed\n", name, cot_alloc_balance());
        return 1;
    }
    return failed != 0;
}
