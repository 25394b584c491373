#include "support/fused.h"

#include "support/numbers.h"

#include <coterie/memory.h>

#include <string.h>

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES };

size_t fused_sets(fused_set list[FUSED_SETS])
{
    size_t count = 0;
    list[count++] = (fused_set){"plain", &cot_fused_kernels_plain};
#if defined(__x86_64__) && !defined(COT_DOUBLE) /* in double all are plain vectors */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        list[count++] = (fused_set){"avx2", &cot_fused_kernels_avx2};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        list[count++] = (fused_set){"avx512", &cot_fused_kernels_avx512};
#endif
    return count;
}

/* ---- what kernels work on ---- */

enum { ARRAYS = sizeof(fused_arrays) / sizeof(cot_real *) };

static void list_of(fused_arrays *a, cot_real **list[ARRAYS])
{
    cot_real **all[ARRAYS] = {&a->z,         &a->w,        &a->matrix,     &a->bias,
                              &a->hidden,    &a->before,   &a->results[0], &a->results[1],
                              &a->others[0], &a->others[1]};
    memcpy(list, all, sizeof all);
}

fused_arrays fused_draw(void)
{
    fused_arrays a;
    cot_real **list[ARRAYS];
    list_of(&a, list);
    for (size_t i = 0; i < ARRAYS; i++) {
        *list[i] = cot_alloc(FUSED_COUNT, sizeof(cot_real));
        draw_normal(i, FUSED_COUNT, *list[i]);
    }
    return a;
}

void fused_release(fused_arrays *a)
{
    cot_real **list[ARRAYS];
    list_of(a, list);
    for (size_t i = ARRAYS; i-- > 0;) cot_free(*list[i]);
}

fused_problem fused_problem_of(const fused_arrays *a, cot_fused_slots s, size_t n, bool biased,
                               bool adds)
{
    const cot_real *bias = biased ? a->bias : NULL;
    const size_t whole = (s.D + L - 1) / L * L;
    const size_t row = whole + n % L;
    return (fused_problem){s,         n,    row,  adds,      a->z,     a->w,
                           a->matrix, bias, bias, a->hidden, a->before};
}

/* ---- the kernels ---- */

size_t fused_size(fused_shape shape, const cot_fused_slots *s)
{
    switch (shape) {
    case FUSED_WEIGHTS:
        return s->slots * T * L;
    case FUSED_ROWS:
        return s->slots * s->H * L;
    case FUSED_TOKENS:
        return s->D * T * L;
    case FUSED_MATRICES:
        return s->slots / s->P * s->H * s->D;
    default:
        return 0;
    }
}

static void run_hidden(const cot_fused_kernels *k, const fused_problem *p, cot_real *to,
                       cot_real *unused)
{
    (void)unused;
    k->hidden(&p->s, p->z, p->w, p->matrix, p->b1, to);
}

static void run_outputs(const cot_fused_kernels *k, const fused_problem *p, cot_real *y,
                        cot_real *unused)
{
    (void)unused;
    k->outputs(&p->s, p->w, p->matrix, p->b2, p->hidden, p->adds, y);
}

static void run_outputs_backward(const cot_fused_kernels *k, const fused_problem *p, cot_real *dw,
                                 cot_real *dhidden)
{
    k->outputs_backward(&p->s, p->z, p->w, p->matrix, p->b2, p->hidden, dw, dhidden);
}

static void run_inputs_backward(const cot_fused_kernels *k, const fused_problem *p, cot_real *dw,
                                cot_real *dx)
{
    k->inputs_backward(&p->s, p->z, p->w, p->matrix, p->hidden, p->adds, dw, dx);
}

static void run_without_dx(const cot_fused_kernels *k, const fused_problem *p, cot_real *dw,
                           cot_real *unused)
{
    (void)unused;
    k->inputs_backward(&p->s, p->z, p->w, p->matrix, p->hidden, p->adds, dw, NULL);
}

static void run_weights(const cot_fused_kernels *k, const fused_problem *p, cot_real *dweights,
                        cot_real *unused)
{
    (void)unused;
    k->weights(&p->s, p->n, p->z, p->row, p->w, p->hidden, dweights);
}

const fused_kernel fused_kernels[FUSED_KERNELS] = {
    {"hidden", {FUSED_ROWS, FUSED_NOTHING}, run_hidden},
    {"outputs", {FUSED_TOKENS, FUSED_NOTHING}, run_outputs},
    {"outputs_backward", {FUSED_WEIGHTS, FUSED_ROWS}, run_outputs_backward},
    {"inputs_backward", {FUSED_WEIGHTS, FUSED_TOKENS}, run_inputs_backward},
    {"inputs_backward without dx", {FUSED_WEIGHTS, FUSED_NOTHING}, run_without_dx},
    {"weights", {FUSED_MATRICES, FUSED_NOTHING}, run_weights},
};

void fused_begin(const fused_problem *p, cot_real *const results[2])
{
    for (int r = 0; r < 2; r++) memcpy(results[r], p->before, FUSED_COUNT * sizeof(cot_real));
}

void fused_run(const fused_kernel *k, const fused_set *set, const fused_problem *p,
               const size_t offsets[2], cot_real *const results[2])
{
    k->run(set->kernels, p, results[0] + FUSED_PADDING + offsets[0],
           results[1] + FUSED_PADDING + offsets[1]);
}
