/** The number type of tensors: float, and double in the build that the gradient checks use. */
#ifndef COTERIE_REAL_H
#define COTERIE_REAL_H

#include <float.h>

#ifdef COT_DOUBLE
typedef double cot_real;
#define COT_REAL_EPSILON DBL_EPSILON
#define COT_REAL_LEAST DBL_MIN /* of the normal numbers above 0 */
#else
typedef float cot_real;
#define COT_REAL_EPSILON FLT_EPSILON
#define COT_REAL_LEAST FLT_MIN
#endif

#endif
