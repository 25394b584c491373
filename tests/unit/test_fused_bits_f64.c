/* precision: double. The same tests there, where vectors are shorter and plain in every set. */
#include "unit/test_fused_bits.c"
