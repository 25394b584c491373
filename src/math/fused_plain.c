#define KERNELS cot_fused_kernels_plain
#include "math/fused_kernels.h"
