/* Normal numbers from uniform words. */
#ifndef COTERIE_BASE_BOX_MULLER_H
#define COTERIE_BASE_BOX_MULLER_H

#include <coterie/real.h>

#include <stddef.h>
#include <stdint.h>

/** Box and Muller (1958): with u = (radii[i] + 1) / 2^32 in (0, 1] and v = angles[i] / 2^32,
 *      normals[2 i]     = sqrt(-2 log u) cos(2 pi v)
 *      normals[2 i + 1] = sqrt(-2 log u) sin(2 pi v),
 *  in double to 4 DBL_EPSILON of their size, then rounded to cot_real. The bits are a function of
 * the two words alone: the same at any place, in any number, and at every vector width. radii
 * [pairs], angles [pairs]; normals [pairs,2] must not alias them. */
void cot_box_muller(size_t pairs, const uint32_t *radii, const uint32_t *angles, cot_real *normals);

#endif
