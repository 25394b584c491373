#include "run/libraries.h"

#include <coterie/blas.h>
#include <coterie/h5.h>
#include <coterie/memory.h>

#include <stdlib.h>
#include <unistd.h>

/* A file of its own for each rank, written as checkpoints are. */
static cot_status write_file(const char *path)
{
    enum { ROWS = 256, WIDTH = 256 };
    const cot_h5_shape shape = {.type = COT_H5_REAL, .axis_count = 2, .dims = {ROWS, WIDTH}};
    cot_comm *self = NULL;
    cot_h5_file *file = NULL;
    COT_TRY(cot_comm_create(MPI_COMM_SELF, 1, &self));
    cot_real *rows = cot_alloc((size_t)ROWS * WIDTH, sizeof *rows);
    cot_status status = cot_h5_create(self, path, &file);
    if (status == COT_OK) {
        status = cot_h5_create_dataset(file, "/rows", &shape);
        if (status == COT_OK) status = cot_h5_write_rows(file, "/rows", COT_H5_REAL, 0, ROWS, rows);
        cot_status finished = cot_h5_finish(&file);
        if (status == COT_OK) status = finished;
    }
    cot_free(rows);
    cot_comm_destroy(&self);
    return status;
}

/* Where there is no room for a temporary file, HDF5 is left out. */
static void touch_hdf5(void)
{
    char path[] = "/tmp/coterie-machine-XXXXXX";
    int made = mkstemp(path);
    if (made < 0) return;
    close(made);
    if (write_file(path) != COT_OK) cot_failure_clear();
    unlink(path);
}

void libraries_touch(const cot_comm *world)
{
    enum { SIZE = 256 };
    cot_real *x = cot_alloc(3 * SIZE * SIZE, sizeof *x);
    cot_gemm(COT_N, COT_N, SIZE, SIZE, SIZE, 1, x, SIZE, x + SIZE * SIZE, SIZE, 0,
             x + 2 * SIZE * SIZE, SIZE);
    cot_free(x);
    touch_hdf5();
    char *send = cot_alloc((size_t)world->size, 1);
    char *arrived = cot_alloc((size_t)world->size, 1);
    COT_MPI(MPI_Alltoall(send, 1, MPI_BYTE, arrived, 1, MPI_BYTE, world->world));
    cot_free(arrived);
    cot_free(send);
}
