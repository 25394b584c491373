#include "math/vectors.h"

#include <coterie/blas.h>

#include <stdbool.h>
#include <stddef.h>
#include <strings.h>

cot_vectors cot_vectors_present(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        return COT_VECTORS_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return COT_VECTORS_AVX2;
#endif
    return COT_VECTORS_PLAIN;
}

static bool is_one_of(const char *name, const char *const names[])
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcasecmp(name, names[i]) == 0) return true;
    return false;
}

static cot_vectors vectors_of(const char *core)
{
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids",
                                         "Zen4",     "Zen5",       NULL};
    static const char *const avx2[] = {"Haswell", "Zen", "Excavator", NULL};
    if (is_one_of(core, avx512)) return COT_VECTORS_AVX512;
    return is_one_of(core, avx2) ? COT_VECTORS_AVX2 : COT_VECTORS_PLAIN;
}

cot_vectors cot_vectors_allowed(void)
{
    const cot_vectors present = cot_vectors_present();
    const cot_vectors taken = vectors_of(cot_blas_core());
    return taken < present ? taken : present;
}
