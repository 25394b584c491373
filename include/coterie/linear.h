/** A linear layer y = x W + b on every row, replicated on all ranks. Not collective. */
#ifndef COTERIE_LINEAR_H
#define COTERIE_LINEAR_H

#include <coterie/param.h>
#include <coterie/shard.h>

typedef struct cot_linear cot_linear;

/** Whether a layer has so few outputs that it works on its weights transposed. */
bool cot_linear_is_narrow(size_t in, size_t out);

/** Register <prefix>.w [in,out] and, with `bias`, <prefix>.b [out], uniform in +-1/sqrt(in), for
 * samples of `rows` rows in at most `grains` grains here. */
cot_linear *cot_linear_create(size_t rows, size_t in, size_t out, bool bias, size_t grains,
                              cot_params *params, const char *prefix);
void cot_linear_destroy(cot_linear **linear);

/** y [b,rows,out] = x [b,rows,in] W + b for the samples of `grains`. y must not overlap x. */
void cot_linear_forward(const cot_linear *linear, const cot_grains *grains, const cot_real *x,
                        cot_real *y);

/** From x and dy, after the forward pass: dW = sum x^T dy and db = sum dy overwrite the parameters'
 * grad with the sum over this rank's grains; dx = dy W^T is overwritten, unless NULL. */
void cot_linear_backward(cot_linear *linear, const cot_grains *grains, const cot_real *x,
                         const cot_real *dy, cot_real *dx);

/** The weights [in,out], and the bias [out] or NULL. */
const cot_real *cot_linear_weights(const cot_linear *linear);
const cot_real *cot_linear_bias(const cot_linear *linear);

#endif
