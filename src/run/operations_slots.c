/* A Soft MoE layer by slots: src/moe/{router,mix,expert_bank,exchange}.c. */
#include "moe/router_rules.h"
#include "run/operations.h"

typedef struct sizes {
    double T, D, S, H, P;
    double n;           /* tokens of a grain */
    double home, owned; /* numbers of slot rows at the samples' home, and at the experts' owner */
} sizes;

static sizes sizes_of(const pass_work *w)
{
    const cot_moe_shape *shape = &w->moe->shape;
    sizes s = {.T = (double)shape->T,
               .D = (double)shape->D,
               .S = (double)(shape->E * shape->P),
               .H = (double)shape->H,
               .P = (double)shape->P};
    s.n = w->grains > 0 ? w->here / w->grains * s.T : 0;
    s.home = w->here * s.S * s.D;
    s.owned = w->group * w->experts * s.P * s.D;
    return s;
}

/* Slot rows of this rank's samples to one rank's experts. */
static void send_slots(pass_work *w, const sizes *s)
{
    work_exchange(w, w->here * w->experts * s->P * s->D * sizeof(cot_real));
}

static void route(pass_work *w, const sizes *s)
{
    const cot_router_options *router = &w->moe->router;
    w->phase = COT_PHASE_ROUTE;
    if (cot_router_normalizes(router)) {
        work_add(w, COT_KERNEL_NORMALIZE_COLS, s->D, s->S, 1, 1);
        work_add(w, COT_KERNEL_NORMALIZE_ROWS, w->here * s->T, s->D, 1, 1);
    }
    if (!cot_router_needs_logits(router)) return;
    work_add(w, COT_KERNEL_GEMM_NN, s->n, s->S, s->D, w->grains);
    if (router->noise > 0) work_add(w, COT_KERNEL_NORMALS, s->T * s->S, 1, 1, w->here);
    if (!router->uniform_dispatch) work_add(w, COT_KERNEL_SOFTMAX_COLS, s->T, s->S, 1, w->here);
    if (!router->uniform_combine) work_add(w, COT_KERNEL_SOFTMAX_ROWS, s->T, s->S, 1, w->here);
}

static void forward(pass_work *w, const sizes *s)
{
    route(w, s);
    w->phase = COT_PHASE_DISPATCH;
    work_add(w, COT_KERNEL_TO_SLOTS, s->T, s->S, s->D, w->here);
    work_far(w, s->home, 2); /* what is written is fetched first */
    w->stretch = STRETCH_FORWARD;
    send_slots(w, s);
    w->phase = COT_PHASE_EXPERTS;
    work_load_experts(w, 1 / w->times);
    work_add(w, COT_KERNEL_EXPERT_FORWARD, w->group * s->P, s->D, s->H, w->experts);
    work_far(w, s->owned, 3);
    send_slots(w, s);
    w->stretch = STRETCH_ALONE;
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_TO_TOKENS, s->T, s->S, s->D, w->here);
    work_far(w, s->home, 1);
}

static void combine_backward(pass_work *w, const sizes *s)
{
    w->phase = COT_PHASE_COMBINE;
    work_add(w, COT_KERNEL_COPY, s->n * s->S, 1, 1, w->grains);
    if (!w->moe->router.uniform_combine) {
        work_add(w, COT_KERNEL_TO_WEIGHTS, s->T, s->S, s->D, w->here);
        work_add(w, COT_KERNEL_SOFTMAX_ROWS_BACKWARD, s->n, s->S, 1, w->grains);
    }
    work_add(w, COT_KERNEL_TO_SLOTS, s->T, s->S, s->D, w->here);
    work_far(w, s->home, 2); /* read and written, grain by grain */
}

/* Gradients of Phi and the scale: a leaf for each grain, and their tree. */
static void phi_backward(pass_work *w, const sizes *s)
{
    work_add(w, COT_KERNEL_GEMM_TN, s->D, s->S, s->n, w->grains);
    work_add(w, COT_KERNEL_ADD, s->D * s->S, 1, 1, w->grains);
    if (!cot_router_normalizes(&w->moe->router)) return;
    work_add(w, COT_KERNEL_COPY, s->D * s->S, 1, 1, 3 * w->grains); /* dot, scale and fill */
    work_add(w, COT_KERNEL_NORMALIZE_COLS_BACKWARD, s->D, s->S, 1, w->grains);
}

static void dispatch_backward(pass_work *w, const sizes *s)
{
    const cot_router_options *router = &w->moe->router;
    w->phase = COT_PHASE_DISPATCH;
    work_far(w, s->home, 1);
    if (!router->uniform_dispatch) {
        work_add(w, COT_KERNEL_TO_WEIGHTS, s->T, s->S, s->D, w->here);
        work_add(w, COT_KERNEL_SOFTMAX_COLS_BACKWARD, s->T, s->S, 1, w->here);
    }
    if (cot_router_learns(router)) phi_backward(w, s);
    if (!w->learns_input) return;
    work_add(w, COT_KERNEL_TO_TOKENS, s->T, s->S, s->D, w->here);
    if (cot_router_needs_logits(router))
        work_add(w, COT_KERNEL_GEMM_NT, s->n, s->D, s->S, w->grains);
    if (cot_router_normalizes(router))
        work_add(w, COT_KERNEL_NORMALIZE_ROWS_BACKWARD, s->n, s->D, 1, w->grains);
}

/* One of an expert's four products, the gradient of its second weights, may wait until all the
 * others' results are on their way home. */
static void experts_backward(pass_work *w, const sizes *s)
{
    const double late = 1.0 / 4;
    const double rows = w->group * s->P;
    bool recomputed = w->batching->hidden == COT_HIDDEN_RECOMPUTED;
    w->phase = COT_PHASE_EXPERTS;
    if (recomputed) work_add(w, COT_KERNEL_GEMM_NN, rows, s->H, s->D, w->experts);
    if (recomputed || w->shares) {
        work_add(w, COT_KERNEL_EXPERT_BACKWARD, rows, s->D, s->H, w->experts);
    } else {
        work_add(w, COT_KERNEL_EXPERT_BACKWARD, rows, s->D, s->H, (1 - late) * w->experts);
        w->stretch = STRETCH_LATE;
        work_add(w, COT_KERNEL_EXPERT_BACKWARD, rows, s->D, s->H, late * w->experts);
        w->stretch = STRETCH_BACKWARD;
    }
    work_far(w, s->owned, 3); /* inputs, and gradients there and back */
}

void work_by_slots(pass_work *w)
{
    const sizes s = sizes_of(w);
    forward(w, &s);
    combine_backward(w, &s);
    w->stretch = STRETCH_BACKWARD;
    send_slots(w, &s);
    experts_backward(w, &s);
    send_slots(w, &s);
    w->stretch = STRETCH_ALONE;
    dispatch_backward(w, &s);
}
