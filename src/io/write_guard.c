/* Parallel HDF5 changes a file's metadata by all ranks doing the same thing in the same order. A
 * rank that sees a write fail leaves that order: it skips barriers in which the others then wait
 * for ever, now or when MPI ends and closes what is still open. A disk may fail for one rank only,
 * so that is not an oddity but what a full or broken disk looks like on a cluster.
 *
 * So HDF5 must not see it. MPI lets a program define MPI_X itself and reach the library by PMPI_X;
 * the calls below that write report success while a file is guarded, and keep the first failure.
 * The file is then closed as usual, the ranks agree that it is bad, and it is removed. */
#include "io/write_guard.h"

#include <errno.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

/* Global because MPI's calls are: one file at a time is written by a process. */
static bool guarding, skipping;
static char failure[MPI_MAX_ERROR_STRING];

void cot_write_guard_begin(void)
{
    guarding = true;
    failure[0] = '\0';
}

void cot_write_guard_skip_collective(bool skip)
{
    skipping = skip;
}

const char *cot_write_guard_end(void)
{
    guarding = false;
    return failure[0] != '\0' ? failure : NULL;
}

/* The system's reason says more than MPI's class of error, where it is still there. */
static void keep_failure(int code)
{
    int length = 0;
    if (failure[0] != '\0') return;
    if (errno != 0)
        snprintf(failure, sizeof failure, "%s", strerror(errno));
    else if (code != MPI_SUCCESS)
        MPI_Error_string(code, failure, &length);
    else
        snprintf(failure, sizeof failure, "the file system took fewer bytes than it was given");
}

static int outcome(int code)
{
    if (guarding && code != MPI_SUCCESS) keep_failure(code);
    return guarding ? MPI_SUCCESS : code;
}

static int pretend_written(int count, MPI_Datatype type, MPI_Status *status)
{
    MPI_Count size = 0;
    MPI_Type_size_x(type, &size);
    if (status != MPI_STATUS_IGNORE) MPI_Status_set_elements_x(status, MPI_BYTE, size * count);
    return MPI_SUCCESS;
}

/* A write may also fail by writing less than it should. */
static int write_outcome(int code, int count, MPI_Datatype type, MPI_Status *status)
{
    MPI_Count size = 0;
    MPI_Count written = 0;
    if (!guarding || status == MPI_STATUS_IGNORE) return outcome(code);
    MPI_Type_size_x(type, &size);
    if (code == MPI_SUCCESS) MPI_Get_elements_x(status, MPI_BYTE, &written);
    if (written != size * count) keep_failure(code);
    return pretend_written(count, type, status);
}

int MPI_File_write_at(MPI_File file, MPI_Offset offset, const void *data, int count,
                      MPI_Datatype type, MPI_Status *status)
{
    int code = MPI_ERR_IO;
    errno = 0;
    /* What follows a failure is not tried: the file is lost, and MPI would print a line for each
     * attempt. */
    if (!guarding || failure[0] == '\0')
        code = PMPI_File_write_at(file, offset, data, count, type, status);
    return write_outcome(code, count, type, status);
}

int MPI_File_write_at_all(MPI_File file, MPI_Offset offset, const void *data, int count,
                          MPI_Datatype type, MPI_Status *status)
{
    errno = 0;
    /* Skipped on every rank alike, so nobody waits. */
    if (guarding && skipping) return pretend_written(count, type, status);
    int code = PMPI_File_write_at_all(file, offset, data, count, type, status);
    return write_outcome(code, count, type, status);
}

int MPI_File_set_size(MPI_File file, MPI_Offset size)
{
    errno = 0;
    return outcome(PMPI_File_set_size(file, size));
}

int MPI_File_sync(MPI_File file)
{
    errno = 0;
    return outcome(PMPI_File_sync(file));
}

int MPI_File_close(MPI_File *file)
{
    errno = 0;
    return outcome(PMPI_File_close(file));
}
