#include "math/fused.h"

#include "math/vectors.h"

const cot_fused_kernels *cot_fused_kernels_chosen(void)
{
    static const cot_fused_kernels *const all[] = {
        [COT_VECTORS_PLAIN] = &cot_fused_kernels_plain,
#ifdef __x86_64__
        [COT_VECTORS_AVX2] = &cot_fused_kernels_avx2,
        [COT_VECTORS_AVX512] = &cot_fused_kernels_avx512,
#endif
    };
    return all[cot_vectors_allowed()];
}
