/* On Intel's processors, a masked load takes the place of a multiply-add, and where vectors run
 * along n what the processor fetches by itself is enough. */
#define WIDE_MASKS 0
#define WIDE_FETCHES 0
#define KERNELS cot_small_kernels_avx512_intel
#include "math/small_gemm_kernels.h"
