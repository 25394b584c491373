#include <coterie/memory.h>
#include <coterie/selector.h>
#include <coterie/status.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An expert's score for one sample. */
typedef struct score {
    double mass;
    size_t expert;
} score;

typedef struct top {
    size_t keep;
    score *scores; /* [E] */
} top;

/* Larger mass first; of equal ones, the lower index. */
static int by_mass(const void *a, const void *b)
{
    const score *x = a;
    const score *y = b;
    if (x->mass != y->mass) return x->mass > y->mass ? -1 : 1;
    return (x->expert > y->expert) - (x->expert < y->expert);
}

static void select_combine(cot_selector *selector, const cot_real *combine, size_t tokens,
                           uint8_t *kept)
{
    const size_t E = selector->experts;
    const size_t P = selector->slots_per_expert;
    top *context = selector->context;
    for (size_t e = 0; e < E; e++) context->scores[e] = (score){0, e};
    for (size_t t = 0; t < tokens; t++)
        for (size_t j = 0; j < E * P; j++)
            context->scores[j / P].mass += (double)combine[t * E * P + j];
    for (size_t e = 0; e < E; e++)
        if (isnan(context->scores[e].mass)) context->scores[e].mass = -1; /* behind all others */
    qsort(context->scores, E, sizeof *context->scores, by_mass);
    memset(kept, 0, E);
    for (size_t k = 0; k < context->keep; k++) kept[context->scores[k].expert] = 1;
}

static void destroy_combine(cot_selector *selector)
{
    top *context = selector->context;
    cot_free(context->scores);
    cot_free(context);
}

cot_selector *cot_selector_combine(size_t experts, size_t slots_per_expert, size_t keep)
{
    COT_ASSERT(keep >= 1 && keep <= experts);
    top *context = cot_alloc(1, sizeof *context);
    context->keep = keep;
    context->scores = cot_alloc(experts, sizeof *context->scores);
    cot_selector *selector = cot_alloc(1, sizeof *selector);
    *selector = (cot_selector){select_combine, destroy_combine, experts, slots_per_expert, context};
    return selector;
}

void cot_selector_destroy(cot_selector **selector)
{
    if (*selector == NULL) return;
    (*selector)->destroy(*selector);
    cot_free(*selector);
    *selector = NULL;
}
