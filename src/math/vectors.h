/* Which instructions our own kernels may use. */
#ifndef COTERIE_MATH_VECTORS_H
#define COTERIE_MATH_VECTORS_H

typedef enum cot_vectors { COT_VECTORS_PLAIN, COT_VECTORS_AVX2, COT_VECTORS_AVX512 } cot_vectors;

/* Those that this processor has. */
cot_vectors cot_vectors_present(void);

/* Of these, those of the processor that OpenBLAS took this one for: one setting, OPENBLAS_CORETYPE,
 * decides for both on a cluster of several kinds, and one name, cot_blas_core, says what decided.
 * A name that is not known here gets plain vectors. */
cot_vectors cot_vectors_allowed(void);

#endif
