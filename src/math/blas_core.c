#include "math/vectors.h"

#include <coterie/blas.h>

#include <stddef.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define CORE_TYPE "OPENBLAS_CORETYPE"
#define OLDEST_CORE "Prescott" /* what it takes on x86-64 when it does not know the processor */

/* The kernels that OpenBLAS, where it knows the processor, takes for one with these vectors. */
static const char *core_of(cot_vectors vectors)
{
#ifdef __x86_64__
    if (vectors == COT_VECTORS_AVX512)
        return __builtin_cpu_supports("avx512bf16") ? "Cooperlake" : "SkylakeX";
    if (vectors == COT_VECTORS_AVX2) return "Haswell";
#else
    (void)vectors;
#endif
    return NULL;
}

/* OpenBLAS chooses once, when it is loaded, before main. */
static void start_again(char **argv)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program));
    if (length <= 0 || (size_t)length == sizeof(program)) return;
    program[length] = '\0';
    execv(program, argv);
}

void cot_blas_settle_core(char **argv)
{
    if (getenv(CORE_TYPE) != NULL || strcasecmp(cot_blas_core(), OLDEST_CORE) != 0) return;
    const char *core = core_of(cot_vectors_present());
    if (core != NULL && setenv(CORE_TYPE, core, 0) == 0) start_again(argv);
}
