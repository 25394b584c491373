#include "run/operations.h"

#include "math/fused.h"

#include <math.h>

static bool are_same(const operation *a, const operation *b)
{
    return a->phase == b->phase && a->stretch == b->stretch && a->kernel == b->kernel &&
           a->m == b->m && a->n == b->n && a->k == b->k;
}

void work_add(pass_work *w, cot_kernel kernel, double m, double n, double k, double count)
{
    operations *list = w->list;
    if (m <= 0 || n <= 0 || k <= 0 || count <= 0) return;
    const operation added = {w->phase, w->stretch, kernel, m, n, k, count * w->times};
    for (size_t i = 0; i < list->count; i++)
        if (are_same(&list->list[i], &added)) {
            list->list[i].count += added.count;
            return;
        }
    COT_ASSERT(list->count < OPERATIONS_MOST);
    list->list[list->count++] = added;
}

void work_far(pass_work *w, double numbers, double passes)
{
    work_add(w, (cot_kernel)OPERATION_FAR, numbers, 1, 1, passes);
}

void work_send(pass_work *w, const peers *to, double bytes)
{
    work_add(w, COT_KERNEL_MESSAGE, bytes, 1, 1, to->inside);
    work_add(w, COT_KERNEL_MESSAGE_BETWEEN, bytes, 1, 1, to->between);
}

void work_exchange(pass_work *w, double bytes)
{
    cot_phase before = w->phase;
    w->phase = COT_PHASE_EXCHANGE;
    if (w->shares)
        work_add(w, COT_KERNEL_BARRIER, log2(w->comm->group_size), 1, 1, 1);
    else
        work_send(w, &w->members, bytes);
    w->phase = before;
}

/* Weights of small experts are transposed, and their gradients back. */
void work_load_experts(pass_work *w, double finishes)
{
    const cot_moe_shape *shape = &w->moe->shape;
    if (cot_expert_bank_is_small(shape))
        work_add(w, COT_KERNEL_COPY, (double)(shape->D * shape->H), 1, 1,
                 (1 / w->times + 2 * finishes) * w->experts);
}

/* Of `ranks` ranks that are `stride` apart, with this one among them. */
static peers peers_of(const cot_comm *comm, int first, int ranks, int stride, int on_node)
{
    peers p = {0, 0};
    for (int i = 0; i < ranks; i++) {
        int rank = first + i * stride;
        if (rank == comm->rank) continue;
        if (rank / on_node == comm->rank / on_node)
            p.inside++;
        else
            p.between++;
    }
    return p;
}

/* ---- model ---- */

/* A linear layer on `rows` rows of each sample. */
static void linear_forward(pass_work *w, double rows, double in, double out, bool bias)
{
    double n = w->here * rows / w->grains;
    bool narrow = cot_linear_is_narrow((size_t)in, (size_t)out);
    if (narrow) work_add(w, COT_KERNEL_COPY, in * out, 1, 1, 2); /* transposed, there and back */
    work_add(w, narrow ? COT_KERNEL_GEMM_NT : COT_KERNEL_GEMM_NN, n, out, in, w->grains);
    if (bias) work_add(w, COT_KERNEL_ADD, n * out, 1, 1, w->grains);
}

static void linear_backward(pass_work *w, double rows, double in, double out, bool bias, bool input)
{
    double n = w->here * rows / w->grains;
    bool narrow = cot_linear_is_narrow((size_t)in, (size_t)out);
    work_add(w, COT_KERNEL_GEMM_TN, narrow ? out : in, narrow ? in : out, n, w->grains);
    work_add(w, COT_KERNEL_ADD, in * out, 1, 1, w->grains); /* the tree over grains */
    if (bias) work_add(w, COT_KERNEL_ADD, n * out, 1, 1, w->grains);
    cot_kernel back = narrow ? COT_KERNEL_GEMM_NN : COT_KERNEL_GEMM_NT;
    if (input) work_add(w, back, n, in, out, w->grains);
}

static void load_samples(pass_work *w, const cot_experiment *ex)
{
    const cot_dataset_info *info = cot_dataset_info_of(ex->dataset);
    const cot_model_options *model = &ex->recipe->model;
    const cot_moe_shape *shape = cot_model_shape(ex->model);
    double pixels = (double)(info->channels * info->height * info->width);
    double patch = pixels / (double)shape->T;
    double row = (double)model->patch_width;
    bool drawn = ex->recipe->data.source == COT_DATA_L2NORM;
    w->phase = COT_PHASE_DATA;
    work_add(w, drawn ? COT_KERNEL_NORMALS : COT_KERNEL_PIXELS, pixels, 1, 1, w->here);
    work_add(w, COT_KERNEL_COPY, row, 1, 1, pixels / row * w->here); /* cut into patches */
    if (model->embed == 0) return;
    linear_forward(w, (double)shape->T, patch, (double)shape->D, model->embed_bias);
    linear_backward(w, (double)shape->T, patch, (double)shape->D, model->embed_bias, false);
}

static void head(pass_work *w, const cot_experiment *ex)
{
    const cot_model_options *model = &ex->recipe->model;
    const cot_moe_shape *shape = cot_model_shape(ex->model);
    double numbers = (double)(shape->T * shape->D);
    double out = (double)ex->outputs;
    bool flat = model->pool == COT_POOL_FLATTEN;
    double in = flat ? numbers : (double)shape->D;
    w->phase = COT_PHASE_HEAD;
    if (!flat) work_add(w, COT_KERNEL_ADD, numbers, 1, 1, 2 * w->here);
    linear_forward(w, 1, in, out, model->head_bias);
    work_add(w, COT_KERNEL_SOFTMAX_ROWS, 1, out, 1, w->here); /* the loss */
    linear_backward(w, 1, in, out, model->head_bias, true);
}

static void layers(pass_work *w, const cot_experiment *ex)
{
    const cot_model_options *model = &ex->recipe->model;
    const cot_moe_shape *shape = cot_model_shape(ex->model);
    double numbers = w->here * (double)(shape->T * shape->D);
    bool by_tokens = cot_plan_choose(ex->batching.plan, shape) == COT_PLAN_TOKENS;
    for (size_t i = 0; i < model->layers; i++) {
        w->learns_input = i > 0 || model->embed > 0;
        if (by_tokens)
            work_by_tokens(w);
        else
            work_by_slots(w);
        w->phase = COT_PHASE_COMBINE;
        if (model->residual) work_add(w, COT_KERNEL_ADD, numbers, 1, 1, 1);
        w->phase = COT_PHASE_DISPATCH;
        if (model->residual && w->learns_input) work_add(w, COT_KERNEL_ADD, numbers, 1, 1, 1);
    }
}

/* ---- sums and update ---- */

/* By halving, and doubling on the way back: one partner at a time, who is of the node as often as
 * anyone else. */
static void sum_by_halves(pass_work *w, const peers *to, double ranks, double numbers)
{
    const peers partner = {to->inside / (ranks - 1), to->between / (ranks - 1)};
    for (double half = numbers / 2; half > numbers / ranks / 2; half /= 2) {
        work_send(w, &partner, half * sizeof(cot_real));
        work_send(w, &partner, half * sizeof(cot_real));
        work_add(w, COT_KERNEL_ADD, half, 1, 1, 1);
    }
}

/* Every rank copies its part, adds up a segment, and copies the sum. */
static void sum_in_shared_memory(pass_work *w, double ranks, double numbers)
{
    work_add(w, COT_KERNEL_COPY, numbers, 1, 1, 2);
    work_add(w, COT_KERNEL_ADD, numbers / ranks, 1, 1, ranks - 1);
    work_add(w, COT_KERNEL_COPY, numbers / ranks, 1, 1, 1);
    work_add(w, COT_KERNEL_BARRIER, log2(ranks), 1, 1, 2);
}

/* Reduce-scatter, additions, all-gather. */
void work_sum(pass_work *w, const peers *to, bool ordered, double ranks, double numbers)
{
    const size_t most = w->batching->node_ranks;
    if (ranks == 1) return;
    if (ordered && to->between == 0 && (most == 0 || ranks <= (double)most)) {
        sum_in_shared_memory(w, ranks, numbers);
        return;
    }
    if (exp2(floor(log2(ranks))) == ranks) {
        sum_by_halves(w, to, ranks, numbers);
        return;
    }
    work_send(w, to, numbers / ranks * sizeof(cot_real));
    work_send(w, to, numbers / ranks * sizeof(cot_real));
    work_add(w, COT_KERNEL_ADD, numbers / ranks, 1, 1, ranks - 1);
}

static void sums(pass_work *w, const cot_experiment *ex)
{
    const cot_comm *comm = ex->comm;
    double replicated = (double)cot_params_replicated_size(ex->params);
    double sharded = (double)cot_params_sharded_size(ex->params);
    double scores = (double)COT_SCORES * sizeof(double);
    double times = w->times;
    w->phase = COT_PHASE_SUMS;
    work_sum(w, &w->world, w->ordered, comm->size, (double)cot_params_summed_size(ex->params));
    if (times > 1) work_add(w, COT_KERNEL_ADD, replicated, 1, 1, 1);
    work_send(w, &w->world, scores);
    w->times = 1;
    if (times > 1) work_add(w, COT_KERNEL_COPY, replicated, 1, 1, 1);
    work_add(w, COT_KERNEL_COPY, sharded, 1, 1, 1); /* filled with 0 */
    work_sum(w, &w->replicas, w->ordered, comm->replica_count, sharded);
    double norms = 0;
    for (size_t i = 0; i < cot_params_count(ex->params); i++) {
        const cot_param *param = cot_params_at(ex->params, i);
        bool shard = param->placement == COT_SHARDED;
        double row = shard ? (double)param->row_size : (double)param->count;
        work_add(w, COT_KERNEL_DOT, row, 1, 1, shard ? (double)param->rows : 1);
        if (shard) norms += w->experts;
    }
    work_send(w, &w->members, norms * sizeof(double));
    w->times = times;
}

static void update(pass_work *w, const cot_experiment *ex)
{
    bool sgd = ex->recipe->optimizer.kind == COT_SGD;
    w->phase = COT_PHASE_UPDATE;
    w->times = 1;
    for (size_t i = 0; i < cot_params_count(ex->params); i++) {
        const cot_param *param = cot_params_at(ex->params, i);
        if (!param->frozen)
            work_add(w, sgd ? COT_KERNEL_SGD : COT_KERNEL_ADAM, (double)param->count, 1, 1, 1);
    }
}

void operations_of_step(const cot_experiment *ex, int ranks_on_node, operations *list_out)
{
    const cot_comm *comm = ex->comm;
    const cot_recipe *recipe = ex->recipe;
    const cot_batching *batching = &ex->batching;
    const cot_soft_moe_options moe = {.shape = *cot_model_shape(ex->model),
                                      .router = recipe->model.router,
                                      .activation = recipe->model.activation,
                                      .expert_bias = recipe->model.expert_bias};
    cot_grains here = cot_grains_of(batching->max_batch, batching->grains, (size_t)comm->size,
                                    (size_t)comm->rank);
    cot_grains group = cot_grains_of(batching->max_batch, batching->grains,
                                     (size_t)comm->replica_count, (size_t)comm->replica);
    int first = comm->replica * comm->group_size;
    list_out->count = 0;
    list_out->chunks = batching->chunks;
    list_out->most_chunks = (moe.shape.E + (size_t)comm->group_size - 1) / (size_t)comm->group_size;
    pass_work w = {
        .list = list_out,
        .times = (double)ex->parts,
        .moe = &moe,
        .comm = comm,
        .batching = batching,
        .shares = comm->group_size > 1 &&
                  cot_exchange_nodes(cot_soft_moe_exchange(cot_model_layer(ex->model, 0))) == 1,
        .here = (double)cot_grains_size(&here),
        .grains = (double)(here.end - here.first),
        .group = (double)cot_grains_size(&group),
        .group_grains = (double)(group.end - group.first),
        .experts =
            (double)cot_shard_size(moe.shape.E, (size_t)comm->group_size, (size_t)comm->group_rank),
        .world = peers_of(comm, 0, comm->size, 1, ranks_on_node),
        .members = peers_of(comm, first, comm->group_size, 1, ranks_on_node),
        .replicas =
            peers_of(comm, comm->group_rank, comm->replica_count, comm->group_size, ranks_on_node),
        .ordered = recipe->parallel.reproducible};
    load_samples(&w, ex);
    layers(&w, ex);
    head(&w, ex);
    sums(&w, ex);
    update(&w, ex);
}

/* ---- what they come to ---- */

static bool is_message(cot_kernel kernel)
{
    return kernel == COT_KERNEL_MESSAGE || kernel == COT_KERNEL_MESSAGE_BETWEEN;
}

cot_kernel operations_unknown(const operations *list, const cot_machine *machine)
{
    for (size_t i = 0; i < list->count; i++) {
        cot_kernel kernel = list->list[i].kernel;
        if ((int)kernel == OPERATION_FAR) kernel = COT_KERNEL_ROWS;
        if (!cot_machine_knows(machine, kernel)) return kernel;
    }
    return COT_KERNELS;
}

void operations_bytes(const operations *list, double bytes_out[COT_PHASES])
{
    for (int i = 0; i < COT_PHASES; i++) bytes_out[i] = 0;
    for (size_t i = 0; i < list->count; i++) {
        const operation *o = &list->list[i];
        if (is_message(o->kernel)) bytes_out[o->phase] += o->count * o->m;
    }
}

/* Multiply-adds of one kernel, where it is a product or made of products. */
static double multiply_adds(const operation *o)
{
    double product = o->m * o->n * o->k;
    if (o->kernel <= COT_KERNEL_TO_WEIGHTS) return product;
    if (o->kernel == COT_KERNEL_EXPERT_FORWARD) return 2 * product;
    if (o->kernel == COT_KERNEL_FUSED_FORWARD) return 2 * o->m * o->n * (COT_FUSED_TOKENS + o->k);
    if (o->kernel == COT_KERNEL_FUSED_BACKWARD) return 5 * o->m * o->n * (COT_FUSED_TOKENS + o->k);
    return o->kernel == COT_KERNEL_EXPERT_BACKWARD ? 4 * product : 0;
}

double operations_products(const operations *list)
{
    double sum = 0;
    for (size_t i = 0; i < list->count; i++)
        sum += list->list[i].count * multiply_adds(&list->list[i]);
    return sum;
}
