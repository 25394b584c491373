#define KERNELS cot_small_kernels_plain
#include "math/small_gemm_kernels.h"
