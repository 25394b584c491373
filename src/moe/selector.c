#include <coterie/memory.h>
#include <coterie/selector.h>
#include <coterie/status.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct top {
    size_t experts, keep;
    double *mass;  /* [E] */
    size_t *order; /* [E] */
} top;

void cot_combine_mass(const cot_routing *routing, double *mass)
{
    const size_t E = routing->experts;
    const size_t P = routing->slots_per_expert;
    for (size_t e = 0; e < E; e++) mass[e] = 0;
    for (size_t t = 0; t < routing->tokens; t++)
        for (size_t e = 0; e < E; e++)
            for (size_t p = 0; p < P; p++) mass[e] += (double)routing->combine[(t * E + e) * P + p];
    for (size_t e = 0; e < E; e++) mass[e] /= (double)routing->tokens;
}

/* Larger score first, NaN last; of equal ones, the lower index. */
static int compare_experts(const void *a, const void *b, void *scores)
{
    size_t left = *(const size_t *)a;
    size_t right = *(const size_t *)b;
    double x = ((const double *)scores)[left];
    double y = ((const double *)scores)[right];
    if (isnan(x) != isnan(y)) return isnan(x) ? 1 : -1;
    if (x > y) return -1;
    if (x < y) return 1;
    return (left > right) - (left < right);
}

void cot_order_by_score(size_t experts, const double *scores, size_t *order)
{
    for (size_t e = 0; e < experts; e++) order[e] = e;
    qsort_r(order, experts, sizeof *order, compare_experts, (void *)(uintptr_t)scores);
}

static void select_combine(cot_selector *selector, const cot_routing *routing, uint8_t *kept)
{
    top *context = selector->context;
    COT_ASSERT(routing->experts == context->experts);
    cot_combine_mass(routing, context->mass);
    cot_order_by_score(context->experts, context->mass, context->order);
    memset(kept, 0, context->experts);
    for (size_t k = 0; k < context->keep; k++) kept[context->order[k]] = 1;
}

static void destroy_combine(cot_selector *selector)
{
    top *context = selector->context;
    cot_free(context->order);
    cot_free(context->mass);
    cot_free(context);
}

cot_selector *cot_selector_combine(size_t experts, size_t keep)
{
    COT_ASSERT(keep >= 1 && keep <= experts);
    top *context = cot_alloc(1, sizeof *context);
    *context = (top){experts, keep, cot_alloc(experts, sizeof(double)),
                     cot_alloc(experts, sizeof(size_t))};
    cot_selector *selector = cot_alloc(1, sizeof *selector);
    *selector = (cot_selector){select_combine, destroy_combine, context};
    return selector;
}

void cot_selector_destroy(cot_selector **selector)
{
    if (*selector == NULL) return;
    if ((*selector)->destroy != NULL) (*selector)->destroy(*selector);
    cot_free(*selector);
    *selector = NULL;
}
