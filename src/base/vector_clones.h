/* For functions with a hot loop: they are compiled for several vector widths, and the dynamic
 * linker takes the widest that the processor has. With contraction off, all widths round alike. */
#ifndef COTERIE_BASE_VECTOR_CLONES_H
#define COTERIE_BASE_VECTOR_CLONES_H

#if defined(__x86_64__) && defined(__ELF__) && !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
#define COT_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define COT_VECTOR_CLONES
#endif

#endif
