#include <coterie/bench.h>

/* What the backward pass of a layer has to find out. */
typedef struct needs {
    bool logits;  /* the forward pass computes them */
    bool dphi;    /* Phi learns */
    bool dlogits; /* something wants their gradient */
    bool dinput;  /* the layer's input is not the images */
} needs;

static needs needs_of(const cot_router_options *router, bool dinput)
{
    needs n = {.logits = !(router->uniform_dispatch && router->uniform_combine), .dinput = dinput};
    n.dphi = n.logits && !router->freeze;
    n.dlogits = n.dphi || (n.logits && dinput);
    return n;
}

/* Products of T S D multiply-adds a sample. */
static int mixing_products(const cot_router_options *router, const needs *n)
{
    int forward = 2 + n->logits;
    int dcombine = n->dlogits && !router->uniform_combine;
    int ddispatch = n->dlogits && !router->uniform_dispatch;
    int dslot_outputs = 1;
    int dinput = n->dinput + (n->dinput && n->logits);
    return forward + dcombine + ddispatch + dslot_outputs + n->dphi + dinput;
}

/* Products of S D H multiply-adds a sample: two forward; of both weights, of the hidden values; of
 * the slot inputs, where the tokens or the dispatch weights want it. */
static int expert_products(const cot_router_options *router, const needs *n)
{
    bool dslot_inputs = n->dinput || (n->dlogits && !router->uniform_dispatch);
    return 5 + dslot_inputs;
}

static double layer(const cot_router_options *router, const cot_moe_shape *shape, bool dinput)
{
    needs n = needs_of(router, dinput);
    double slots = (double)shape->E * (double)shape->P;
    double width = (double)shape->D;
    return mixing_products(router, &n) * (double)shape->T * slots * width +
           expert_products(router, &n) * slots * width * (double)shape->H;
}

cot_flop cot_flop_of_step(const cot_model_options *model, const cot_moe_shape *shape,
                          size_t patch_width, size_t outputs, size_t samples)
{
    const double flop = 2 * (double)samples; /* a multiply-add is two */
    bool embeds = model->embed > 0;
    size_t head = (model->pool == COT_POOL_FLATTEN ? shape->T : 1) * shape->D;
    cot_flop sum = {0};
    if (embeds) sum.embed = flop * 2 * (double)shape->T * (double)patch_width * (double)shape->D;
    for (size_t i = 0; i < model->layers; i++)
        sum.layers += flop * layer(&model->router, shape, embeds || i > 0);
    sum.head = flop * 3 * (double)head * (double)outputs;
    return sum;
}
