#define KERNELS cot_small_kernels_avx512
#include "math/small_gemm_kernels.h"
