#include <coterie/expert_order.h>
#include <coterie/memory.h>
#include <coterie/status.h>

#include <string.h>

typedef struct chooser {
    size_t experts, keep;
    double share; /* of the mass; 0: `keep` says how many */
    cot_orderer *orderer;
    double *mass;  /* [E] */
    size_t *order; /* [E] */
} chooser;

size_t cot_keep_for_mass(size_t experts, const double *mass, const size_t *order, double share)
{
    /* The total adds up in the same order, so that all of it is reached in spite of rounding. */
    double total = 0;
    for (size_t place = 0; place < experts; place++) total += mass[order[place]];
    double reached = 0;
    for (size_t place = 0; place < experts; place++) {
        reached += mass[order[place]];
        if (reached >= share * total) return place + 1;
    }
    return experts;
}

static void choose(cot_selector *selector, const cot_routing *routing, uint8_t *kept)
{
    chooser *context = selector->context;
    const size_t E = context->experts;
    const cot_sample_view view = {.routing = *routing};
    cot_orderer_rank(context->orderer, &view, context->order);
    size_t keep = context->keep;
    if (context->share > 0) {
        cot_combine_mass(routing, context->mass);
        keep = cot_keep_for_mass(E, context->mass, context->order, context->share);
    }
    memset(kept, 0, E);
    for (size_t place = 0; place < keep; place++) kept[context->order[place]] = 1;
}

static void destroy(cot_selector *selector)
{
    chooser *context = selector->context;
    cot_free(context->order);
    cot_free(context->mass);
    cot_orderer_destroy(&context->orderer);
    cot_free(context);
}

static cot_selector *create(cot_order order, uint64_t seed, size_t experts, size_t keep,
                            double share)
{
    chooser *context = cot_alloc(1, sizeof *context);
    *context = (chooser){experts,
                         keep,
                         share,
                         cot_orderer_create(order, seed, experts, 0),
                         cot_alloc(experts, sizeof(double)),
                         cot_alloc(experts, sizeof(size_t))};
    cot_selector *selector = cot_alloc(1, sizeof *selector);
    *selector = (cot_selector){choose, destroy, context};
    return selector;
}

cot_selector *cot_selector_order(cot_order order, uint64_t seed, size_t experts, size_t keep)
{
    COT_ASSERT(cot_order_needs_routing_only(order) && order != COT_ORDER_COMMON);
    COT_ASSERT(keep >= 1 && keep <= experts);
    if (order == COT_ORDER_COMBINE) return cot_selector_combine(experts, keep);
    return create(order, seed, experts, keep, 0);
}

cot_selector *cot_selector_common(const double *mass, size_t experts, size_t keep)
{
    COT_ASSERT(keep >= 1 && keep <= experts);
    cot_selector *selector = create(COT_ORDER_COMMON, 0, experts, keep, 0);
    cot_orderer_set_mass(((chooser *)selector->context)->orderer, mass);
    return selector;
}

cot_selector *cot_selector_mass(size_t experts, double mass)
{
    COT_ASSERT(mass > 0 && mass <= 1);
    return create(COT_ORDER_COMBINE, 0, experts, 0, mass);
}
