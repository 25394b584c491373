#define KERNELS cot_fused_kernels_avx2
#include "math/fused_kernels.h"
