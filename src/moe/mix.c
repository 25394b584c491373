#include "moe/mix.h"

#include <coterie/blas.h>
#include <coterie/status.h>
#include <coterie/vector.h>

#include <math.h>

/* One product: a sample's tokens and some of its slots. Where every expert is kept these are all S
 * slots, else the P of one expert. */
typedef struct piece {
    size_t expert, sample;
    size_t place; /* of the sample among those that use the expert */
} piece;

/* Move on to the first piece from here on that is kept; false behind the last. */
static bool find_piece(const cot_mix *mix, piece *at)
{
    const size_t E = mix->shape->E;
    if (mix->kept == NULL) return at->sample < mix->samples;
    for (; at->expert < E; at->expert++, at->sample = at->place = 0)
        for (; at->sample < mix->samples; at->sample++)
            if (mix->kept[at->sample * E + at->expert]) return true;
    return false;
}

static void leave_piece(piece *at)
{
    at->sample++;
    at->place++;
}

static size_t piece_slots(const cot_mix *mix)
{
    return mix->kept != NULL ? mix->shape->P : mix->shape->E * mix->shape->P;
}

/* Where the piece's columns begin in the weights [n,T,S]. */
static size_t weights_at(const cot_mix *mix, const piece *at)
{
    return at->sample * mix->shape->T * mix->stride + at->expert * mix->shape->P;
}

static size_t tokens_at(const cot_mix *mix, const piece *at)
{
    return at->sample * mix->shape->T * mix->shape->D;
}

static size_t rows_at(const cot_mix *mix, const piece *at)
{
    return cot_slots_row(mix->slots, at->expert, 0, mix->first + at->place) * mix->shape->D;
}

/* A sample's rows of consecutive slots stand as many rows apart as samples use the expert: the
 * order is [slot][sample]. Where every expert is used, that is the same for all slots. */
static size_t row_distance(const cot_mix *mix, const piece *at)
{
    return mix->slots->samples[at->expert] * mix->shape->D;
}

void cot_mix_to_slots(const cot_mix *mix, const cot_real *weights, const cot_real *x,
                      cot_real *rows)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    for (piece at = {0}; find_piece(mix, &at); leave_piece(&at))
        cot_gemm(COT_T, COT_N, piece_slots(mix), D, T, 1, weights + weights_at(mix, &at),
                 mix->stride, x + tokens_at(mix, &at), D, 0, rows + rows_at(mix, &at),
                 row_distance(mix, &at));
}

/* Norms of the rows of one sample. */
static void measure(const cot_mix *mix, const piece *at, const cot_real *rows)
{
    const size_t D = mix->shape->D;
    const size_t S = piece_slots(mix);
    for (size_t j = 0; j < S; j++) {
        const cot_real *row = rows + rows_at(mix, at) + j * row_distance(mix, at);
        mix->norms[at->sample * S + j] = (cot_real)sqrt((double)cot_dot(D, row, row));
    }
}

void cot_mix_to_tokens(const cot_mix *mix, const cot_real *weights, const cot_real *rows,
                       cot_real *x)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    /* Kept experts add up, from 0. */
    bool adds = mix->adds || mix->kept != NULL;
    if (adds && !mix->adds) cot_fill(mix->samples * T * D, 0, x);
    for (piece at = {0}; find_piece(mix, &at); leave_piece(&at)) {
        cot_gemm(COT_N, COT_N, T, D, piece_slots(mix), 1, weights + weights_at(mix, &at),
                 mix->stride, rows + rows_at(mix, &at), row_distance(mix, &at), adds ? 1 : 0,
                 x + tokens_at(mix, &at), D);
        if (mix->norms != NULL) measure(mix, &at, rows); /* while the cache has them */
    }
}

void cot_mix_to_weights(const cot_mix *mix, const cot_real *x, const cot_real *rows,
                        cot_real *weights)
{
    const size_t T = mix->shape->T;
    const size_t D = mix->shape->D;
    const size_t S = mix->shape->E * mix->shape->P;
    COT_ASSERT(mix->kept == NULL);
    for (piece at = {0}; find_piece(mix, &at); leave_piece(&at))
        cot_gemm(COT_N, COT_T, T, S, D, 1, x + tokens_at(mix, &at), D, rows + rows_at(mix, &at),
                 row_distance(mix, &at), 0, weights + weights_at(mix, &at), mix->stride);
}
