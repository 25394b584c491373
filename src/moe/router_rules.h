/** What follows from a router's options, for both exchange plans. */
#ifndef COTERIE_MOE_ROUTER_RULES_H
#define COTERIE_MOE_ROUTER_RULES_H

#include <coterie/normalize.h>
#include <coterie/router.h>

static inline bool cot_router_normalizes(const cot_router_options *options)
{
    return options->normalize != COT_NORMALIZE_NONE;
}

static inline cot_l2 cot_router_l2_form(const cot_router_options *options)
{
    return options->normalize == COT_NORMALIZE_INPUTS ? COT_L2_MAX : COT_L2_SUM;
}

/** Both softmaxes replaced by constants: then the logits decide nothing. */
static inline bool cot_router_needs_logits(const cot_router_options *options)
{
    return !(options->uniform_dispatch && options->uniform_combine);
}

/** Whether Phi and the scale get gradients other than 0. */
static inline bool cot_router_learns(const cot_router_options *options)
{
    return cot_router_needs_logits(options) && !options->freeze;
}

#endif
