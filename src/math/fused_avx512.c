#define KERNELS cot_fused_kernels_avx512
#include "math/fused_kernels.h"
