/* Which subsets a study looks at, and which it cannot. */
#include "run/specializer.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>

/* ---- subset sizes ---- */

static cot_keeps choose_sizes(const cot_specialize_options *options, size_t experts)
{
    enum { BITS = 64, PARTS = 4 }; /* E/8, E/4, E/2 and E */
    const size_t list = options->keep == COT_KEEP_LIST ? options->keep_count : 0;
    const size_t sweep = options->keep == COT_KEEP_SWEEP ? experts : 0;
    cot_keeps keeps = {.sizes = cot_alloc(list + sweep + BITS + PARTS, sizeof(size_t))};
    for (size_t i = 0; i < list; i++) cot_keeps_add(&keeps, options->keeps[i]);
    for (size_t k = 1; k <= sweep; k++) cot_keeps_add(&keeps, k);
    cot_keeps_add(&keeps, experts);
    if (options->keep == COT_KEEP_POWERS) {
        for (size_t k = 1; k < experts; k *= 2) cot_keeps_add(&keeps, k);
        for (size_t part = 2; part <= 8 && part <= experts; part *= 2)
            cot_keeps_add(&keeps, experts / part);
    }
    return keeps;
}

static cot_status check_sizes(const cot_specialize_options *options, size_t experts)
{
    if (options->keep != COT_KEEP_LIST) return COT_OK;
    for (size_t i = 0; i < options->keep_count; i++)
        if (options->keeps[i] < 1 || options->keeps[i] > experts)
            return cot_fail(COT_E_USAGE, "--keep: %zu is not between 1 and the model's %zu experts",
                            options->keeps[i], experts);
    return COT_OK;
}

/* ---- what a model allows ---- */

static cot_status choose_orders(const cot_specialize_options *options, size_t layers,
                                specialize_plan *plan)
{
    for (int order = 0; order < COT_ORDERS; order++) {
        plan->orders[order] = options->orders[order];
        if (!plan->orders[order] || layers == 1) continue;
        if (cot_order_needs_routing_only((cot_order)order)) continue;
        if (!options->orders_where_possible)
            return cot_fail(COT_E_USAGE,
                            "--select %s: it looks at single experts' outputs, which a model of "
                            "%zu Soft MoE layers mixes again; use combine, dispatch, random, "
                            "common or mass",
                            cot_order_name((cot_order)order), layers);
        plan->orders[order] = false;
    }
    return COT_OK;
}

static cot_status refuse_subsets(size_t experts, size_t keep, size_t count, size_t limit)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", count);
    return cot_fail(COT_E_USAGE,
                    "--select exhaustive: with E = %zu experts, K = %zu has C(E,K) = %s subsets, "
                    "over the limit of %zu; name smaller K with --keep, raise --subset-limit, or "
                    "use --select all, which leaves such K out",
                    experts, keep, count == SIZE_MAX ? "over 10^19" : text, limit);
}

static cot_status choose_exhaustive(const cot_specialize_options *options, size_t experts,
                                    size_t layers, specialize_plan *plan)
{
    const bool asked = options->exhaustive == COT_EXHAUSTIVE;
    if (asked && layers > 1)
        return cot_fail(COT_E_USAGE,
                        "--select exhaustive: every subset would be a pass of its own through a "
                        "model of %zu Soft MoE layers; use combine, dispatch, random, common or "
                        "mass",
                        layers);
    for (size_t i = 0; asked && i < plan->keeps.count; i++) {
        size_t count = cot_subset_count(experts, plan->keeps.sizes[i]);
        if (count > options->subset_limit)
            return refuse_subsets(experts, plan->keeps.sizes[i], count, options->subset_limit);
    }
    plan->exhaustive = options->exhaustive != COT_EXHAUSTIVE_NOT && layers == 1;
    return COT_OK;
}

cot_status specialize_plan_create(const cot_specialize_options *options, size_t experts,
                                  size_t layers, specialize_plan *plan_out)
{
    specialize_plan plan = {0};
    COT_TRY(check_sizes(options, experts));
    COT_TRY(choose_orders(options, layers, &plan));
    plan.keeps = choose_sizes(options, experts);
    cot_status status = choose_exhaustive(options, experts, layers, &plan);
    if (status == COT_OK)
        *plan_out = plan;
    else
        specialize_plan_free(&plan);
    return status;
}

void specialize_plan_free(specialize_plan *plan)
{
    cot_free(plan->keeps.sizes);
    *plan = (specialize_plan){0};
}

char *specialize_selectors(const specializer *s)
{
    char text[128] = "";
    for (int order = 0; order < COT_ORDERS; order++) {
        if (!s->plan.orders[order]) continue;
        strcat(strcat(text, text[0] != '\0' ? " " : ""), cot_order_name((cot_order)order));
    }
    if (s->plan.exhaustive) strcat(strcat(text, text[0] != '\0' ? " " : ""), "exhaustive");
    if (s->options->mass_count > 0) strcat(strcat(text, text[0] != '\0' ? " " : ""), "mass");
    return cot_strdup(text);
}
