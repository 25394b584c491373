#include "moe/tokens.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>

struct cot_soft_moe {
    cot_soft_moe_options options;
    cot_hidden_rows hidden;
    size_t index;
    size_t first_sample; /* index in the split of the first sample here, in the last pass */
    cot_router *router;
    cot_exchange *exchange;
    cot_expert_bank *bank;
    cot_tokens *tokens; /* NULL: the plan is slots */
    bool by_tokens;     /* the last pass went so */
    bool training;      /* and was for training */
    size_t part;        /* which of the step's the last pass for training was, ... */
    bool ends;          /* ... and whether the last */
    cot_ledger *ledger; /* of the last pass */
    uint8_t *kept;      /* [b,E] */
    size_t *used;       /* [E]: samples here that use each expert */
    bool has_kept;
};

cot_plan cot_plan_choose(cot_plan plan, const cot_moe_shape *shape)
{
    const size_t slots_per_token = 8;
    if (plan != COT_PLAN_AUTO) return plan;
    return shape->E * shape->P > slots_per_token * shape->T ? COT_PLAN_TOKENS : COT_PLAN_SLOTS;
}

const char *cot_plan_name(cot_plan plan)
{
    static const char *const names[] = {
        [COT_PLAN_SLOTS] = "slots", [COT_PLAN_TOKENS] = "tokens", [COT_PLAN_AUTO] = "auto"};
    return names[plan];
}

cot_soft_moe *cot_soft_moe_create(const cot_soft_moe_options *options, size_t index,
                                  const cot_batching *batching, const cot_comm *comm,
                                  cot_params *params)
{
    const cot_moe_shape *shape = &options->shape;
    size_t ranks = (size_t)comm->size;
    size_t rank = (size_t)comm->rank;
    size_t samples = cot_grains_capacity(batching->max_batch, batching->grains, ranks, rank);
    size_t grains = cot_shard_size(batching->grains, ranks, rank);
    size_t grain_capacity =
        cot_shard_size(batching->max_batch, batching->grains, batching->grains - 1);
    char prefix[32];
    snprintf(prefix, sizeof prefix, "moe.%zu", index);

    cot_soft_moe *layer = cot_alloc(1, sizeof *layer);
    layer->options = *options;
    layer->hidden = batching->hidden;
    layer->index = index;
    layer->ends = true;
    layer->router = cot_router_create(&options->router, shape, index, samples, grains,
                                      grain_capacity, params, prefix);
    cot_memory_mark(COT_MEMORY_ACTIVATIONS);
    layer->exchange = cot_exchange_create(comm, shape->E, shape->P, shape->D, batching->grains,
                                          batching->max_batch, batching->node_ranks);
    cot_exchange_set_chunks(layer->exchange, batching->chunks);
    cot_memory_mark(COT_MEMORY_SLOTS);
    layer->bank = cot_expert_bank_create(
        shape, options->activation, options->expert_bias, cot_exchange_owned_rows(layer->exchange),
        cot_exchange_expert_rows(layer->exchange), batching->hidden, params, prefix);
    cot_memory_mark(COT_MEMORY_ACTIVATIONS);
    if (cot_plan_choose(batching->plan, shape) == COT_PLAN_TOKENS) {
        layer->tokens =
            cot_tokens_create(options, index, batching, comm, layer->router, layer->bank);
        cot_params_gather(params, cot_router_phi(layer->router));
    }
    cot_memory_mark(COT_MEMORY_TOKENS);
    layer->kept = cot_alloc(samples * shape->E, sizeof *layer->kept);
    layer->used = cot_alloc(shape->E, sizeof *layer->used);
    return layer;
}

void cot_soft_moe_destroy(cot_soft_moe **layer_at)
{
    cot_soft_moe *layer = *layer_at;
    if (layer == NULL) return;
    cot_free(layer->used);
    cot_free(layer->kept);
    cot_tokens_destroy(&layer->tokens);
    cot_expert_bank_destroy(&layer->bank);
    cot_exchange_destroy(&layer->exchange);
    cot_router_destroy(&layer->router);
    cot_free(layer);
    *layer_at = NULL;
}

const cot_exchange *cot_soft_moe_exchange(const cot_soft_moe *layer)
{
    return layer->exchange;
}

void cot_soft_moe_set_chunks(cot_soft_moe *layer, size_t chunks)
{
    cot_exchange_set_chunks(layer->exchange, chunks);
}

cot_routing cot_soft_moe_routing(const cot_soft_moe *layer, size_t i)
{
    const cot_moe_shape *shape = &layer->options.shape;
    size_t first = i * shape->T * shape->E * shape->P;
    return (cot_routing){.sample = layer->first_sample + i,
                         .layer = layer->index,
                         .tokens = shape->T,
                         .experts = shape->E,
                         .slots_per_expert = shape->P,
                         .combine = cot_router_combine_weights(layer->router) + first,
                         .dispatch = cot_router_dispatch_weights(layer->router) + first};
}

/* Let the selector choose for every sample here, and count those that use each expert. */
static void select_experts(cot_soft_moe *layer, const cot_grains *grains, cot_selector *selector)
{
    const size_t E = layer->options.shape.E;
    const size_t samples = cot_grains_size(grains);
    memset(layer->used, 0, E * sizeof *layer->used);
    for (size_t i = 0; i < samples; i++) {
        uint8_t *kept = layer->kept + i * E;
        cot_routing routing = cot_soft_moe_routing(layer, i);
        selector->select(selector, &routing, kept);
        for (size_t e = 0; e < E; e++) layer->used[e] += kept[e];
    }
}

/* Work for some of this rank's experts, whose rows these are. */
typedef void expert_work(cot_soft_moe *layer, const cot_bank_rows *rows);

static void forward_experts(cot_soft_moe *layer, const cot_bank_rows *rows)
{
    const cot_slot_buffers *slots = cot_exchange_buffers(layer->exchange);
    if (!layer->training && rows->slots->samples[0] > 0)
        cot_expert_bank_load_forward(layer->bank, rows->first_expert);
    cot_expert_bank_forward(layer->bank, rows, slots->owned_in, slots->owned_out);
}

static void backward_inputs(cot_soft_moe *layer, const cot_bank_rows *rows)
{
    const cot_slot_buffers *slots = cot_exchange_buffers(layer->exchange);
    cot_expert_bank_backward_inputs(layer->bank, rows, slots->owned_in, slots->owned_out);
}

static void backward_outputs(cot_soft_moe *layer, const cot_bank_rows *rows)
{
    const cot_slot_buffers *slots = cot_exchange_buffers(layer->exchange);
    cot_expert_bank_backward_outputs(layer->bank, rows, slots->owned_out);
}

static void backward_both(cot_soft_moe *layer, const cot_bank_rows *rows)
{
    backward_inputs(layer, rows);
    backward_outputs(layer, rows);
}

static void help_messages(void *exchange)
{
    cot_exchange_progress(exchange);
}

/* Expert by expert, with a look at the messages between products. */
static void work_on_chunk(cot_soft_moe *layer, size_t chunk, expert_work *work)
{
    cot_exchange *exchange = layer->exchange;
    const cot_slots *owned = cot_exchange_owned_slots(exchange);
    for (size_t e = cot_exchange_chunk_begin(exchange, chunk);
         e < cot_exchange_chunk_begin(exchange, chunk + 1); e++) {
        cot_slots one = {1, owned->slots_per_expert, owned->samples + e, owned->first + e};
        cot_bank_rows rows = {&one, e, owned->first[e] - owned->first[0], help_messages, exchange};
        work(layer, &rows);
    }
    cot_ledger_mark(layer->ledger, COT_PHASE_EXPERTS);
}

static void start(cot_soft_moe *layer, cot_leg leg, size_t first, size_t end)
{
    size_t bytes = cot_exchange_start(layer->exchange, leg, first, end);
    cot_ledger_sent(layer->ledger, COT_PHASE_EXCHANGE, bytes);
    if (cot_exchange_nodes(layer->exchange) == 1) return;
    for (size_t c = first; c < end; c++) cot_ledger_launched(layer->ledger, COT_PHASE_EXCHANGE);
}

static void finish(cot_soft_moe *layer, cot_leg leg, size_t first, size_t end)
{
    bool launched = cot_exchange_nodes(layer->exchange) > 1;
    for (size_t c = first; c < end; c++) {
        cot_exchange_finish(layer->exchange, leg, c);
        if (launched) cot_ledger_landed(layer->ledger, COT_PHASE_EXCHANGE);
    }
    cot_ledger_sent(layer->ledger, COT_PHASE_EXCHANGE, 0);
}

static void forward_by_slots(cot_soft_moe *layer, const cot_pass *pass, const cot_real *x,
                             cot_real *y)
{
    cot_router *router = layer->router;
    cot_exchange *exchange = layer->exchange;
    const cot_grains grains = cot_exchange_grains_of(exchange, pass->samples);
    layer->first_sample = pass->first + cot_grains_begin(&grains);
    cot_router_route(router, &grains, pass->noise, x);
    layer->has_kept = pass->selector != NULL;
    if (layer->has_kept) select_experts(layer, &grains, pass->selector);
    cot_ledger_mark(pass->ledger, COT_PHASE_ROUTE);
    if (layer->has_kept)
        cot_exchange_plan_kept(exchange, pass->samples, layer->used);
    else
        cot_exchange_plan(exchange, pass->samples);
    cot_ledger_sent(pass->ledger, COT_PHASE_EXCHANGE, 0);
    const uint8_t *kept = cot_soft_moe_kept(layer);
    const cot_slot_buffers *slots = cot_exchange_buffers(exchange);
    const cot_slots *home = cot_exchange_home_slots(exchange);
    cot_router_dispatch(router, &grains, home, kept, slots->home_in);
    cot_ledger_mark(pass->ledger, COT_PHASE_DISPATCH);
    const size_t chunks = cot_exchange_chunks(exchange);
    start(layer, COT_LEG_INPUTS, 0, chunks);
    if (pass->training && pass->part == 0) cot_expert_bank_load(layer->bank);
    cot_ledger_mark(layer->ledger, COT_PHASE_EXPERTS);
    for (size_t c = 0; c < chunks; c++) {
        finish(layer, COT_LEG_INPUTS, c, c + 1);
        work_on_chunk(layer, c, forward_experts);
        start(layer, COT_LEG_OUTPUTS, c, c + 1);
    }
    finish(layer, COT_LEG_OUTPUTS, 0, chunks);
    cot_real *norms = pass->slot_norms;
    if (norms != NULL)
        norms += layer->index * cot_grains_size(&grains) * layer->options.shape.E *
                 layer->options.shape.P;
    cot_router_combine(router, &grains, home, kept, slots->home_out, y,
                       kept == NULL ? norms : NULL);
    cot_ledger_mark(pass->ledger, COT_PHASE_COMBINE);
}

/* A part that is left out would leave its successors other weights, or gradients unfinished. */
static void begin_part(cot_soft_moe *layer, const cot_pass *pass)
{
    COT_ASSERT(pass->part == (layer->ends ? 0 : layer->part + 1));
    layer->part = pass->part;
    layer->ends = pass->part + 1 >= pass->parts;
}

void cot_soft_moe_forward(cot_soft_moe *layer, const cot_pass *pass, const cot_real *x, cot_real *y)
{
    if (pass->training) begin_part(layer, pass);
    layer->training = pass->training;
    layer->by_tokens = pass->training && layer->tokens != NULL;
    layer->ledger = pass->ledger;
    if (layer->by_tokens)
        cot_tokens_forward(layer->tokens, pass, x, y);
    else
        forward_by_slots(layer, pass, x, y);
}

static void backward_by_slots(cot_soft_moe *layer, const cot_real *dy, cot_real *dx)
{
    cot_router *router = layer->router;
    cot_exchange *exchange = layer->exchange;
    COT_ASSERT(layer->training && !layer->has_kept);
    const cot_grains *grains = cot_exchange_home_grains(exchange);
    const cot_slots *home = cot_exchange_home_slots(exchange);
    const cot_slot_buffers *slots = cot_exchange_buffers(exchange);
    cot_router_combine_backward(router, grains, home, dy, slots->home_out);
    cot_ledger_mark(layer->ledger, COT_PHASE_COMBINE);
    const size_t chunks = cot_exchange_chunks(exchange);
    const bool waits = cot_exchange_nodes(exchange) > 1 && layer->hidden == COT_HIDDEN_KEPT;
    start(layer, COT_LEG_DOUTPUTS, 0, chunks);
    for (size_t c = 0; c < chunks; c++) {
        finish(layer, COT_LEG_DOUTPUTS, c, c + 1);
        work_on_chunk(layer, c, waits ? backward_inputs : backward_both);
        start(layer, COT_LEG_DINPUTS, c, c + 1);
    }
    /* Half of the gradients of the weights can wait until all is on its way home. */
    for (size_t c = 0; waits && c < chunks; c++) work_on_chunk(layer, c, backward_outputs);
    if (layer->ends)
        cot_expert_bank_finish(layer->bank, 0, cot_expert_bank_params(layer->bank).w1->rows);
    cot_ledger_mark(layer->ledger, COT_PHASE_EXPERTS);
    finish(layer, COT_LEG_DINPUTS, 0, chunks);
    cot_router_dispatch_backward(router, grains, home, slots->home_in, dx);
    cot_ledger_mark(layer->ledger, COT_PHASE_DISPATCH);
}

void cot_soft_moe_backward(cot_soft_moe *layer, const cot_real *dy, cot_real *dx)
{
    if (layer->by_tokens)
        cot_tokens_backward(layer->tokens, dy, dx);
    else
        backward_by_slots(layer, dy, dx);
}

const cot_real *cot_soft_moe_slot_output(const cot_soft_moe *layer, size_t i, size_t s)
{
    const size_t P = layer->options.shape.P;
    const cot_slots *slots = cot_exchange_home_slots(layer->exchange);
    COT_ASSERT(!layer->has_kept);
    return cot_exchange_buffers(layer->exchange)->home_out +
           cot_slots_row(slots, s / P, s % P, i) * layer->options.shape.D;
}

const uint8_t *cot_soft_moe_kept(const cot_soft_moe *layer)
{
    return layer->has_kept ? layer->kept : NULL;
}
