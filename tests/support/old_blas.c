/* Preloaded into the program (OLD_BLAS): an OpenBLAS that does not know this processor, and says
 * "told" where the environment says what to take. */
#include <stdlib.h>

const char *openblas_get_corename(void);

const char *openblas_get_corename(void)
{
    return getenv("OPENBLAS_CORETYPE") != NULL ? "told" : "Prescott";
}
