#define KERNELS cot_small_kernels_avx2
#include "math/small_gemm_kernels.h"
