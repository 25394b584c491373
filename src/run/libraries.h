/** The libraries that every run uses: BLAS, HDF5, MPI. */
#ifndef COTERIE_RUN_LIBRARIES_H
#define COTERIE_RUN_LIBRARIES_H

#include <coterie/comm.h>

/** Use each of them once, a product, a file, a message, so that the process has in memory what it
 * has of them in a run. Collective over the world of `comm`. */
void libraries_touch(const cot_comm *comm);

#endif
