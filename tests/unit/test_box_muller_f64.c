/* precision: double. The same tests there, where nothing is rounded after all is computed. */
#include "unit/test_box_muller.c"
