#include "math/vectors.h"

#include <coterie/blas.h>

#include <stdbool.h>
#include <stddef.h>
#include <strings.h>

#ifdef __x86_64__
static bool is_one_of(const char *name, const char *const names[])
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcasecmp(name, names[i]) == 0) return true;
    return false;
}
#endif

cot_vectors cot_vectors_allowed(void)
{
#ifdef __x86_64__
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids",
                                         "Zen4",     "Zen5",       NULL};
    static const char *const avx2[] = {"Haswell", "Zen", "Excavator", NULL};
    const char *core = cot_blas_core();
    if (is_one_of(core, avx512) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl"))
        return COT_VECTORS_AVX512;
    if ((is_one_of(core, avx512) || is_one_of(core, avx2)) && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        return COT_VECTORS_AVX2;
#endif
    return COT_VECTORS_PLAIN;
}
