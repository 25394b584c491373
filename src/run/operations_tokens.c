/* A Soft MoE layer by tokens:
 * src/moe/{tokens,tokens_unit,fused_experts,projected,partial,gather}.c. */
#include "math/fused.h"
#include "moe/projected.h"
#include "moe/router_rules.h"
#include "moe/tokens_rules.h"
#include "run/operations.h"

#include <math.h>

/* One unit: a block of experts and a grain of the group's samples. */
typedef struct unit {
    double T, D, H, P;
    double experts, slots;    /* of a block */
    double columns, columnar; /* slots that logits are made of together, and how often in a grain */
    double samples, n;        /* of a grain, and their tokens */
    double blocks, units;     /* that have experts */
    double grains;            /* of the group */
    double all;               /* slots of this rank */
    double runs, run;         /* of blocks that go through the experts together, and slots of one */
    double here, group;       /* numbers of the tokens of this rank's samples, and of the group's */
    double pieces, piece;     /* that the experts of a grain are cut into, and the slots of one */
    cot_tokens_way way;
} unit;

static size_t largest_grain(const pass_work *w)
{
    const size_t G = w->batching->grains;
    return cot_shard_size(w->batching->max_batch, G, G - 1);
}

/* Runs of blocks that fit the cache together, or a block in pieces. */
static void cut_experts(const pass_work *w, unit *u)
{
    const cot_moe_shape *shape = &w->moe->shape;
    const size_t grain = largest_grain(w);
    const bool joined = cot_tokens_join(shape, grain, (size_t)w->experts);
    const double at_once = (double)cot_tokens_piece(shape, grain, (size_t)w->experts);
    if (u->blocks == 0) return;
    bool merges = joined && u->way == COT_TOKENS_BY_SLOTS && at_once > u->experts;
    double together = merges ? floor(at_once / u->experts) : 1;
    u->runs = ceil(u->blocks / together);
    u->run = u->all / u->runs;
    u->pieces = u->runs * ceil(w->experts / u->runs / at_once);
    u->piece = u->all / u->pieces;
    u->columns = joined ? u->all : u->slots;
    u->columnar = joined ? 1 : u->blocks;
}

static unit unit_of(const pass_work *w)
{
    const cot_moe_shape *shape = &w->moe->shape;
    const double G = (double)w->batching->grains;
    unit u = {.T = (double)shape->T,
              .D = (double)shape->D,
              .H = (double)shape->H,
              .P = (double)shape->P,
              .way = cot_tokens_way_of(shape, largest_grain(w))};
    u.blocks = ceil(G / w->comm->group_size);
    if (u.blocks > w->experts) u.blocks = w->experts;
    u.experts = u.blocks > 0 ? w->experts / u.blocks : 0;
    u.slots = u.experts * u.P;
    u.samples = w->group / w->group_grains;
    u.n = u.samples * u.T;
    u.units = u.blocks * w->group_grains;
    u.here = w->here * u.T * u.D;
    u.group = w->group * u.T * u.D;
    u.grains = w->group_grains;
    u.all = w->experts * u.P;
    cut_experts(w, &u);
    return u;
}

/* Rows of `numbers` for each of this rank's samples to all of the group, or as many from each. */
static void send_rows(pass_work *w, double numbers)
{
    if (w->comm->group_size > 1) work_exchange(w, w->here * numbers * sizeof(cot_real));
}

/* The members' parts become one, in this rank's samples. */
static void merge_members(pass_work *w, const unit *u)
{
    work_add(w, COT_KERNEL_ADD, u->T * u->D, 1, 1, w->here * (w->comm->group_size - 1));
}

/* Projected experts: wide products, and passes over [T,H E] of every sample. */
static void projected_product(pass_work *w, const unit *u, cot_kernel kernel, double m, double n,
                              double k)
{
    work_add(w, kernel, m, n, k, u->units);
}

static void projected_passes(pass_work *w, const unit *u, double passes)
{
    work_add(w, COT_KERNEL_ADD, u->T * u->H * u->experts, 1, 1, passes * u->samples * u->units);
}

/* W1, W2 or their gradients from the experts' order to that of the wide products, or back. */
static void projected_weights(pass_work *w, const unit *u, double times)
{
    work_add(w, COT_KERNEL_COPY, 2 * u->D * u->H * u->experts, 1, 1, 2 * times * u->blocks);
}

static void projected_forward(pass_work *w, const unit *u)
{
    const double wide = u->H * u->experts;
    projected_weights(w, u, 1 / w->times);
    projected_product(w, u, COT_KERNEL_GEMM_NN, u->n, wide, u->D); /* U = X W1 */
    projected_product(w, u, COT_KERNEL_GEMM_NN, u->n, u->D, wide); /* N = (Cmb h) W2 */
    projected_passes(w, u, 3);
}

static void projected_backward(pass_work *w, const unit *u)
{
    const double wide = u->H * u->experts;
    projected_weights(w, u, 1);
    if (w->batching->hidden == COT_HIDDEN_RECOMPUTED) {
        projected_product(w, u, COT_KERNEL_GEMM_NN, u->n, wide, u->D);
        projected_passes(w, u, 1);
    }
    projected_product(w, u, COT_KERNEL_GEMM_NT, u->n, wide, u->D); /* dA = dY W2^T */
    projected_passes(w, u, 6);
    projected_product(w, u, COT_KERNEL_GEMM_TN, wide, u->D, u->n); /* dW2 */
    projected_product(w, u, COT_KERNEL_GEMM_TN, u->D, wide, u->n); /* dW1 */
    if (w->learns_input) projected_product(w, u, COT_KERNEL_GEMM_NT, u->n, u->D, wide);
}

/* Fused experts: all slots of a grain, whose samples fill whole vectors. */
static void fused_slots(pass_work *w, const unit *u, cot_kernel kernel, double share)
{
    const double lanes = COT_FUSED_LANES;
    work_add(w, kernel, lanes * ceil(u->samples / lanes), u->D, u->H,
             share * u->all * w->group_grains);
}

static void fused_forward(pass_work *w, const unit *u)
{
    w->phase = COT_PHASE_DISPATCH;
    work_add(w, COT_KERNEL_COPY, u->T * u->D, 1, 1, 2 * w->group); /* tokens into rows and lanes */
    w->phase = COT_PHASE_EXPERTS;
    work_add(w, COT_KERNEL_COPY, u->D * u->H, 1, 1, w->experts / w->times); /* W2, transposed */
    fused_slots(w, u, COT_KERNEL_FUSED_FORWARD, 1);
    if (fmod(u->samples, COT_FUSED_LANES) == 0) return;
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_COPY, u->T * u->D, 1, 1, w->group); /* numerators out of lanes */
}

static void fused_backward(pass_work *w, const unit *u)
{
    const double again = u->T / (2 * (u->T + u->H)); /* the tokens' part of a forward pass */
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_COPY, u->T * u->D, 1, 1, 2 * w->group); /* and their gradients */
    w->phase = COT_PHASE_EXPERTS;
    if (w->batching->hidden == COT_HIDDEN_RECOMPUTED)
        fused_slots(w, u, COT_KERNEL_FUSED_FORWARD, 0.5);
    fused_slots(w, u, COT_KERNEL_FUSED_BACKWARD, 1);
    if (w->learns_input) {
        fused_slots(w, u, COT_KERNEL_FUSED_FORWARD, again);
        work_add(w, COT_KERNEL_COPY, u->T * u->D, 1, 1, w->group * u->blocks); /* out of lanes */
    }
    work_add(w, COT_KERNEL_COPY, u->D * u->H, 1, 1, 2 * w->experts); /* the gradient of W1 */
}

static void mixing(pass_work *w, const unit *u, cot_kernel kernel)
{
    work_add(w, kernel, u->T, u->piece, u->D, u->samples * u->pieces * u->grains);
}

static void experts_forward(pass_work *w, const unit *u)
{
    w->phase = COT_PHASE_EXPERTS;
    if (u->way == COT_TOKENS_PROJECTED) {
        projected_forward(w, u);
        return;
    }
    if (u->way == COT_TOKENS_FUSED) {
        fused_forward(w, u);
        return;
    }
    work_load_experts(w, 1);
    w->phase = COT_PHASE_DISPATCH;
    mixing(w, u, COT_KERNEL_TO_SLOTS);
    w->phase = COT_PHASE_EXPERTS;
    work_add(w, COT_KERNEL_EXPERT_FORWARD, u->samples * u->P, u->D, u->H, u->experts * u->units);
    w->phase = COT_PHASE_COMBINE;
    mixing(w, u, COT_KERNEL_TO_TOKENS);
}

static void experts_backward(pass_work *w, const unit *u)
{
    const double rows = u->samples * u->P;
    w->phase = COT_PHASE_EXPERTS;
    if (u->way == COT_TOKENS_PROJECTED) {
        projected_backward(w, u);
        return;
    }
    if (u->way == COT_TOKENS_FUSED) {
        fused_backward(w, u);
        return;
    }
    w->phase = COT_PHASE_DISPATCH;
    mixing(w, u, COT_KERNEL_TO_SLOTS);
    mixing(w, u, COT_KERNEL_TO_WEIGHTS);
    if (w->learns_input) mixing(w, u, COT_KERNEL_TO_TOKENS);
    w->phase = COT_PHASE_COMBINE;
    mixing(w, u, COT_KERNEL_TO_WEIGHTS);
    mixing(w, u, COT_KERNEL_TO_SLOTS);
    w->phase = COT_PHASE_EXPERTS;
    if (w->batching->hidden == COT_HIDDEN_RECOMPUTED) /* for the outputs, and for the gradients */
        work_add(w, COT_KERNEL_GEMM_NN, rows, u->H, u->D, 2 * u->experts * u->units);
    work_add(w, COT_KERNEL_GEMM_NN, rows, u->D, u->H, u->experts * u->units); /* outputs again */
    work_add(w, COT_KERNEL_EXPERT_BACKWARD, rows, u->D, u->H, u->experts * u->units);
}

/* Normalized at home, or by all where only the logits are made of them so. */
static void tell_tokens(pass_work *w, const unit *u)
{
    const cot_normalize normalize = w->moe->router.normalize;
    if (normalize != COT_NORMALIZE_INPUTS) {
        w->phase = COT_PHASE_EXCHANGE;
        work_add(w, COT_KERNEL_COPY, u->here, 1, 1, 1);
    }
    send_rows(w, u->T * u->D);
    w->phase = COT_PHASE_ROUTE;
    if (normalize != COT_NORMALIZE_NONE)
        work_add(w, COT_KERNEL_NORMALIZE_ROWS,
                 (normalize == COT_NORMALIZE_INPUTS ? w->here : w->group) * u->T, u->D, 1, 1);
}

static void forward(pass_work *w, const unit *u)
{
    const cot_router_options *router = &w->moe->router;
    tell_tokens(w, u);
    if (cot_router_normalizes(router))
        work_add(w, COT_KERNEL_NORMALIZE_COLS, u->D, u->all, 1, 1 / w->times);
    work_add(w, COT_KERNEL_COPY, u->D * u->all, 1, 1, 1 / w->times);
    if (cot_router_needs_logits(router)) {
        work_add(w, COT_KERNEL_GEMM_NN, u->n, u->columns, u->D, u->columnar * u->grains);
        if (router->noise > 0) work_add(w, COT_KERNEL_NORMALS, u->T * u->all, 1, 1, w->group);
        if (!router->uniform_dispatch)
            work_add(w, COT_KERNEL_SOFTMAX_COLS, u->T, u->all, 1, w->group);
    }
    work_add(w, COT_KERNEL_SOFTMAX_ROWS, u->n, u->all, 1, u->grains);
    experts_forward(w, u);
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_ADD, u->T * u->D, 1, 1, w->group * (u->blocks - 1));
    send_rows(w, u->T * u->D);
    send_rows(w, u->T);
    send_rows(w, u->T);
    merge_members(w, u);
    work_add(w, COT_KERNEL_COPY, u->here, 1, 1, 2);
}

/* From the gradients of the weights to those of logits, Phi and tokens. */
static void logits_backward(pass_work *w, const unit *u)
{
    const cot_router_options *router = &w->moe->router;
    if (!cot_router_needs_logits(router)) return;
    w->phase = COT_PHASE_ROUTE;
    if (!router->uniform_combine)
        work_add(w, COT_KERNEL_SOFTMAX_ROWS_BACKWARD, u->n, u->run, 1, u->runs * u->grains);
    if (!router->uniform_dispatch)
        work_add(w, COT_KERNEL_SOFTMAX_COLS_BACKWARD, u->T, u->run, 1, w->group * u->runs);
    if (w->learns_input) work_add(w, COT_KERNEL_GEMM_NT, u->n, u->D, u->slots, u->units);
    if (!cot_router_learns(router)) return;
    work_add(w, COT_KERNEL_GEMM_TN, u->D, u->run, u->n, u->runs * u->grains);
    work_add(w, COT_KERNEL_COPY, u->D * u->all, 1, 1, 3); /* dot, scale and fill */
    if (cot_router_normalizes(router))
        work_add(w, COT_KERNEL_NORMALIZE_COLS_BACKWARD, u->D, u->all, 1, 1);
}

static void inputs_backward(pass_work *w, const unit *u)
{
    bool apart = w->moe->router.normalize == COT_NORMALIZE_LOGITS;
    double arrays = apart ? 2 : 1;
    if (!w->learns_input) return;
    w->phase = COT_PHASE_DISPATCH;
    work_add(w, COT_KERNEL_ADD, u->T * u->D, 1, 1, arrays * w->group * (u->blocks - 1));
    for (int i = 0; i < (apart ? 2 : 1); i++) {
        send_rows(w, u->T * u->D);
        merge_members(w, u);
    }
    work_add(w, COT_KERNEL_COPY, u->here, 1, 1, 1);
    if (cot_router_normalizes(&w->moe->router))
        work_add(w, COT_KERNEL_NORMALIZE_ROWS_BACKWARD, w->here * u->T, u->D, 1, 1);
}

/* Columns of Phi's gradient: summed over replicas, and gathered. */
static void gather_phi(pass_work *w)
{
    const cot_moe_shape *shape = &w->moe->shape;
    const double all = (double)(shape->D * shape->E * shape->P);
    const double own = w->experts * (double)(shape->D * shape->P);
    w->phase = COT_PHASE_EXCHANGE;
    work_sum(w, &w->replicas, true, w->comm->replica_count, own);
    if (w->comm->group_size == 1) return;
    work_exchange(w, own * sizeof(cot_real));
    w->phase = COT_PHASE_ROUTE;
    work_add(w, COT_KERNEL_COPY, all, 1, 1, 1);
}

void work_by_tokens(pass_work *w)
{
    const unit u = unit_of(w);
    forward(w, &u);
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_COPY, u.here, 1, 1, 2); /* dY, and dY . Y */
    send_rows(w, u.T * u.D);
    send_rows(w, 2 * u.T);
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_COPY, u.n * u.slots, 1, 1, u.units);
    experts_backward(w, &u);
    logits_backward(w, &u);
    inputs_backward(w, &u);
    if (cot_router_learns(&w->moe->router))
        gather_phi(w);
    else if (w->shares)
        work_exchange(w, 0); /* nobody writes the next tokens before all are done */
}
