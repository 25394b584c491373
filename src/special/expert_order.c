#include "special/greedy.h"

#include <coterie/expert_order.h>
#include <coterie/memory.h>
#include <coterie/rng.h>
#include <coterie/status.h>

#include <math.h>

struct cot_orderer {
    cot_order order;
    uint64_t seed;
    size_t experts;
    double *scores;     /* [E] */
    const double *mass; /* [layers,E], over all samples */
    cot_greedy *greedy;
};

const char *cot_order_name(cot_order order)
{
    static const char *const names[] = {[COT_ORDER_COMBINE] = "combine",
                                        [COT_ORDER_DISPATCH] = "dispatch",
                                        [COT_ORDER_CONTRIBUTION] = "contribution",
                                        [COT_ORDER_RANDOM] = "random",
                                        [COT_ORDER_COMMON] = "common",
                                        [COT_ORDER_GREEDY] = "greedy"};
    return names[order];
}

bool cot_order_needs_routing_only(cot_order order)
{
    return order != COT_ORDER_CONTRIBUTION && order != COT_ORDER_GREEDY;
}

cot_orderer *cot_orderer_create(cot_order order, uint64_t seed, size_t experts, size_t outputs)
{
    cot_orderer *orderer = cot_alloc(1, sizeof *orderer);
    *orderer = (cot_orderer){.order = order, .seed = seed, .experts = experts};
    orderer->scores = cot_alloc(experts, sizeof *orderer->scores);
    if (order == COT_ORDER_GREEDY) orderer->greedy = cot_greedy_create(experts, outputs);
    return orderer;
}

void cot_orderer_destroy(cot_orderer **orderer)
{
    if (*orderer == NULL) return;
    cot_greedy_destroy(&(*orderer)->greedy);
    cot_free((*orderer)->scores);
    cot_free(*orderer);
    *orderer = NULL;
}

void cot_orderer_set_mass(cot_orderer *orderer, const double *mass)
{
    orderer->mass = mass;
}

/* Every dispatch column sums to 1, so its plain mass cannot tell experts apart; the sum of squares
 * is large where few tokens fill the slot. */
static void score_by_dispatch(const cot_routing *routing, double *scores)
{
    const size_t E = routing->experts;
    const size_t P = routing->slots_per_expert;
    const cot_real *weight = routing->dispatch;
    for (size_t e = 0; e < E; e++) scores[e] = 0;
    for (size_t t = 0; t < routing->tokens; t++)
        for (size_t e = 0; e < E; e++)
            for (size_t p = 0; p < P; p++, weight++) scores[e] += (double)*weight * (double)*weight;
}

static double column_norm(const cot_routing *routing, size_t slot)
{
    const size_t S = routing->experts * routing->slots_per_expert;
    double squares = 0;
    for (size_t t = 0; t < routing->tokens; t++) {
        double weight = (double)routing->combine[t * S + slot];
        squares += weight * weight;
    }
    return sqrt(squares);
}

static void score_by_contribution(const cot_sample_view *view, double *scores)
{
    const size_t P = view->routing.slots_per_expert;
    for (size_t e = 0; e < view->routing.experts; e++) {
        scores[e] = 0;
        for (size_t slot = e * P; slot < (e + 1) * P; slot++)
            scores[e] += column_norm(&view->routing, slot) * (double)view->slot_norms[slot];
    }
}

/* Fisher and Yates. The words are numbered by place, so a sample's order depends on the seed, its
 * layer and its index alone. */
static void shuffle(uint64_t seed, const cot_routing *routing, size_t *experts)
{
    cot_stream stream = {.seed = seed,
                         .index = routing->sample,
                         .epoch = (uint32_t)routing->layer,
                         .purpose = COT_PURPOSE_SELECTION};
    uint32_t words[4];
    for (size_t e = 0; e < routing->experts; e++) experts[e] = e;
    for (size_t i = 0; i + 1 < routing->experts; i++) {
        if (i % 4 == 0) cot_rng_words(&stream, (uint32_t)(i / 4), words);
        size_t other = i + cot_rng_below(words[i % 4], routing->experts - i);
        size_t expert = experts[other];
        experts[other] = experts[i];
        experts[i] = expert;
    }
}

void cot_orderer_rank(cot_orderer *orderer, const cot_sample_view *view, size_t *experts)
{
    const size_t E = orderer->experts;
    COT_ASSERT(view->routing.experts == E);
    switch (orderer->order) {
    case COT_ORDER_RANDOM:
        shuffle(orderer->seed, &view->routing, experts);
        return;
    case COT_ORDER_COMMON:
        COT_ASSERT(orderer->mass != NULL);
        cot_order_by_score(E, orderer->mass + view->routing.layer * E, experts);
        return;
    case COT_ORDER_GREEDY:
        cot_greedy_rank(orderer->greedy, view, experts);
        return;
    case COT_ORDER_DISPATCH:
        score_by_dispatch(&view->routing, orderer->scores);
        break;
    case COT_ORDER_CONTRIBUTION:
        score_by_contribution(view, orderer->scores);
        break;
    default:
        cot_combine_mass(&view->routing, orderer->scores);
        break;
    }
    cot_order_by_score(E, orderer->scores, experts);
}
