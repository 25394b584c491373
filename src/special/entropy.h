/** Entropies of routing weights, in nats: H(w) = -sum w ln w, with 0 ln 0 = 0. Fast, as every
 * evaluation takes them of every sample. */
#ifndef COTERIE_SPECIAL_ENTROPY_H
#define COTERIE_SPECIAL_ENTROPY_H

#include <coterie/real.h>

#include <stddef.h>

/** Sum over the rows of w [rows,cols] of each row's entropy. `scratch` [cols]. */
double cot_entropy_rows(size_t rows, size_t cols, const cot_real *w, cot_real *scratch);

/** entropy [cols] = that of each column of w [rows,cols]. */
void cot_entropy_cols(size_t rows, size_t cols, const cot_real *w, double *entropy);

#endif
