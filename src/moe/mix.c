#include "moe/mix.h"

#include <coterie/blas.h>
#include <coterie/vector.h>

/* A sample's rows of consecutive slots stand `samples` rows apart: [slot][sample]. */
static size_t row_distance(const cot_mix *mix, size_t e)
{
    return cot_slots_samples(mix->slots, mix->grain, e) * mix->shape->D;
}

/* The row of expert e's first slot for the sample in place `place` among those that use e. */
static size_t row_begin(const cot_mix *mix, size_t e, size_t place)
{
    return (cot_slots_first(mix->slots, mix->grain, e) + place) * mix->shape->D;
}

/* Sample i and expert e's P slots. */
static void expert_to_slots(const cot_mix *mix, size_t i, size_t e, size_t place,
                            const cot_real *weights, const cot_real *x, cot_real *rows)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    const size_t P = mix->shape->P;
    const size_t S = mix->shape->E * P;
    cot_gemm(COT_T, COT_N, P, D, T, 1, weights + i * T * S + e * P, S, x + i * T * D, D, 0,
             rows + row_begin(mix, e, place), row_distance(mix, e));
}

static void kept_to_slots(const cot_mix *mix, const cot_real *weights, const cot_real *x,
                          cot_real *rows)
{
    const size_t E = mix->shape->E;
    for (size_t e = 0; e < E; e++) {
        size_t place = 0;
        for (size_t i = 0; i < mix->samples; i++)
            if (mix->kept[i * E + e]) expert_to_slots(mix, i, e, place++, weights, x, rows);
    }
}

void cot_mix_to_slots(const cot_mix *mix, const cot_real *weights, const cot_real *x,
                      cot_real *rows)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    const size_t S = mix->shape->E * mix->shape->P;
    if (mix->kept != NULL) {
        kept_to_slots(mix, weights, x, rows);
        return;
    }
    for (size_t i = 0; i < mix->samples; i++)
        cot_gemm(COT_T, COT_N, S, D, T, 1, weights + i * T * S, S, x + i * T * D, D, 0,
                 rows + row_begin(mix, 0, i), row_distance(mix, 0));
}

/* Sample i's tokens += what expert e's P slots give. */
static void expert_to_tokens(const cot_mix *mix, size_t i, size_t e, size_t place,
                             const cot_real *weights, const cot_real *rows, cot_real *x)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    const size_t P = mix->shape->P;
    const size_t S = mix->shape->E * P;
    cot_gemm(COT_N, COT_N, T, D, P, 1, weights + i * T * S + e * P, S,
             rows + row_begin(mix, e, place), row_distance(mix, e), 1, x + i * T * D, D);
}

static void kept_to_tokens(const cot_mix *mix, const cot_real *weights, const cot_real *rows,
                           cot_real *x)
{
    const size_t E = mix->shape->E;
    cot_fill(mix->samples * mix->shape->T * mix->shape->D, 0, x);
    for (size_t e = 0; e < E; e++) {
        size_t place = 0;
        for (size_t i = 0; i < mix->samples; i++)
            if (mix->kept[i * E + e]) expert_to_tokens(mix, i, e, place++, weights, rows, x);
    }
}

void cot_mix_to_tokens(const cot_mix *mix, const cot_real *weights, const cot_real *rows,
                       cot_real *x)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    const size_t S = mix->shape->E * mix->shape->P;
    if (mix->kept != NULL) {
        kept_to_tokens(mix, weights, rows, x);
        return;
    }
    for (size_t i = 0; i < mix->samples; i++)
        cot_gemm(COT_N, COT_N, T, D, S, 1, weights + i * T * S, S, rows + row_begin(mix, 0, i),
                 row_distance(mix, 0), 0, x + i * T * D, D);
}

void cot_mix_to_weights(const cot_mix *mix, const cot_real *x, const cot_real *rows,
                        cot_real *weights)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    const size_t S = mix->shape->E * mix->shape->P;
    for (size_t i = 0; i < mix->samples; i++)
        cot_gemm(COT_N, COT_T, T, S, D, 1, x + i * T * D, D, rows + row_begin(mix, 0, i),
                 row_distance(mix, 0), 0, weights + i * T * S, S);
}
