#include <coterie/memory.h>
#include <coterie/selector.h>
#include <coterie/status.h>

#include <math.h>
#include <stdbool.h>
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

/* An expert and a number that is the smaller the larger its score is: -0 as 0, NaN last. */
typedef struct ranked {
    uint64_t key;
    size_t expert;
} ranked;

static uint64_t key_of(double score)
{
    const uint64_t sign = (uint64_t)1 << 63;
    uint64_t bits;
    if (isnan(score)) return UINT64_MAX;
    score += 0.0;
    memcpy(&bits, &score, sizeof bits);
    return bits & sign ? bits : ~bits & ~sign;
}

/* out = left [middle - left] and middle [end - middle], both ascending, as one; of equals, those of
 * the left first. Which side is next cannot be foreseen, so nothing branches on it. */
static void merge(const ranked *left, const ranked *middle, const ranked *end, ranked *out)
{
    const ranked *right = middle;
    while (left < middle && right < end) {
        bool takes_right = right->key < left->key;
        uint64_t mask = -(uint64_t)takes_right;
        out->key = (left->key & ~mask) | (right->key & mask);
        out->expert = (left->expert & ~mask) | (right->expert & mask);
        right += takes_right;
        left += !takes_right;
        out++;
    }
    while (left < middle) *out++ = *left++;
    while (right < end) *out++ = *right++;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Merge sort: qsort takes more than twice as long, most of it for branches that were foreseen
 * wrongly. */
void cot_order_by_score(size_t experts, const double *scores, size_t *order)
{
    ranked *memory = cot_alloc(2 * experts, sizeof *memory);
    ranked *from = memory;
    ranked *to = memory + experts;
    for (size_t e = 0; e < experts; e++) from[e] = (ranked){key_of(scores[e]), e};
    for (size_t width = 1; width < experts; width *= 2) {
        for (size_t i = 0; i < experts; i += 2 * width)
            merge(from + i, from + smaller(i + width, experts),
                  from + smaller(i + 2 * width, experts), to + i);
        ranked *sorted = to;
        to = from;
        from = sorted;
    }
    for (size_t place = 0; place < experts; place++) order[place] = from[place].expert;
    cot_free(memory);
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
