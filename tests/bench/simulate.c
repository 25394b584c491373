/* The communication of one training step, on a simulated cluster.
 *
 * Compiled by SimGrid's smpicc together with the library's own exchange, gradient sums and norms,
 * which run unchanged, every rank a thread of one process. Arithmetic is not done: the time that it
 * would take passes on the simulated clock. tests/bench/simulate builds and runs this;
 * docs/scaling.md has the method. Prints one JSON object. */
#include "moe/columns.h"
#include "moe/gather.h"

#include <coterie/exchange.h>
#include <coterie/gradients.h>
#include <coterie/memory.h>
#include <coterie/norms.h>
#include <coterie/ordered_sum.h>
#include <coterie/shard.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the command line gives, as NAME=NUMBER. */
typedef struct setting {
    const char *name;
    double value;
} setting;

enum {
    SAMPLES, /* of a rank, b */
    EXPERTS,
    SLOTS, /* of an expert, P */
    TOKENS,
    WIDTH,
    HIDDEN,
    OUTPUTS, /* of the head */
    BY_TOKENS,
    NODE_RANKS, /* that share memory at the most; 0: all of a node */
    GFLOPS,     /* that a rank does */
    MERGES,     /* GB/s at which a rank adds up what arrived */
    SETTINGS
};

/* What a second can belong to. */
typedef enum phase { COMPUTE, EXCHANGE, MERGE, SUMS, PHASES } phase;

typedef struct rank_state {
    const cot_comm *comm;
    size_t here, batch; /* samples of this rank, and of all */
    size_t T, D, E, P, H, outputs;
    double flops, merge_bytes; /* a second */
    cot_exchange *exchange;    /* NULL: by tokens */
    cot_gather *x, *dy, *marks;
    cot_parts *numerators, *max, *sum;
    cot_columns *dphi;
    cot_group_batch group;
    size_t *begins;
    cot_params *params;
    cot_gradients *gradients;
    cot_norms *norms;
    cot_ordered_sum *scores;
    double last, seconds[PHASES];
} rank_state;

/* ---- the simulated clock ---- */

static void mark(rank_state *s, phase which)
{
    double now = MPI_Wtime();
    s->seconds[which] += now - s->last;
    s->last = now;
}

static void pass(double seconds)
{
    const double host_flops = 1e9; /* the speed of a host in the platform file */
    if (seconds > 0) smpi_execute_flops(seconds * host_flops);
}

/* Matrix products of so many multiply-adds, two operations each. */
static void multiply(rank_state *s, double multiply_adds)
{
    pass(2 * multiply_adds / s->flops);
    mark(s, COMPUTE);
}

static void merge(const rank_state *s, size_t numbers)
{
    pass((double)(numbers * sizeof(cot_real)) / s->merge_bytes);
}

/* ---- the step ---- */

/* Multiply-adds of this rank: of one product between tokens and slots, for its own samples and all
 * slots, or for all samples and its own slots; and of one of its experts' products. */
static size_t owned_slots(const rank_state *s)
{
    size_t ranks = (size_t)s->comm->size;
    return s->P * cot_shard_size(s->E, ranks, (size_t)s->comm->rank);
}

static double mixing(const rank_state *s)
{
    size_t rows = s->exchange != NULL ? s->here * s->E * s->P : s->batch * owned_slots(s);
    return (double)rows * (double)s->T * (double)s->D;
}

static double expert(const rank_state *s)
{
    return (double)(s->batch * owned_slots(s)) * (double)s->D * (double)s->H;
}

static double head(const rank_state *s)
{
    return 3 * (double)s->here * (double)(s->T * s->D) * (double)s->outputs;
}

/* Products by layer and pass: coterie/bench.h. The layer's input is the images. */
static void step_by_slots(rank_state *s)
{
    const double logits_and_dispatch = 2 * mixing(s);
    const double combine = mixing(s);
    multiply(s, logits_and_dispatch);
    cot_exchange_run(s->exchange, COT_LEG_INPUTS);
    mark(s, EXCHANGE);
    multiply(s, 2 * expert(s));
    cot_exchange_run(s->exchange, COT_LEG_OUTPUTS);
    mark(s, EXCHANGE);
    multiply(s, combine + head(s) + 2 * mixing(s));
    cot_exchange_run(s->exchange, COT_LEG_DOUTPUTS);
    mark(s, EXCHANGE);
    multiply(s, 4 * expert(s));
    cot_exchange_run(s->exchange, COT_LEG_DINPUTS);
    mark(s, EXCHANGE);
    multiply(s, 2 * mixing(s));
}

static void step_by_tokens(rank_state *s)
{
    cot_gather_run(s->x, s->begins);
    mark(s, EXCHANGE);
    multiply(s, 3 * mixing(s) + 2 * expert(s));
    cot_parts_run(s->numerators, &s->group);
    cot_parts_run(s->max, &s->group);
    cot_parts_run(s->sum, &s->group);
    mark(s, EXCHANGE);
    merge(s, (size_t)s->comm->group_size * s->here * s->T * (s->D + 2));
    mark(s, MERGE);
    multiply(s, head(s));
    cot_gather_run(s->dy, s->begins);
    cot_gather_run(s->marks, s->begins);
    mark(s, EXCHANGE);
    multiply(s, 4 * mixing(s) + 4 * expert(s));
    cot_columns_run(s->dphi, cot_params_at(s->params, 0)->grad);
    mark(s, EXCHANGE);
}

static void sum_gradients(rank_state *s)
{
    enum { SCORES = 3 };
    double scores[SCORES] = {0};
    cot_gradients_begin(s->gradients);
    cot_gradients_add_batch(s->gradients);
    merge(s, cot_params_summed_size(s->params));
    cot_ordered_sum_doubles(s->scores, SCORES, scores);
    cot_gradients_finish(s->gradients);
    cot_norms_measure(s->norms, cot_params_grads(s->params));
    mark(s, SUMS);
}

/* ---- creation ---- */

static void create_params(rank_state *s, bool by_tokens, size_t node_ranks)
{
    size_t ranks = (size_t)s->comm->group_size;
    size_t me = (size_t)s->comm->group_rank;
    s->params =
        cot_params_create(cot_shard_begin(s->E, ranks, me), cot_shard_begin(s->E, ranks, me + 1));
    const cot_param_spec specs[] = {
        {.name = "moe.0.phi", .axes = "D,E,P", .dims = {s->D, s->E, s->P}},
        {.name = "moe.0.scale", .axes = "1", .dims = {1}},
        {.name = "moe.0.experts.w1",
         .axes = "E,D,H",
         .dims = {s->E, s->D, s->H},
         .placement = COT_SHARDED},
        {.name = "moe.0.experts.w2",
         .axes = "E,H,D",
         .dims = {s->E, s->H, s->D},
         .placement = COT_SHARDED},
        {.name = "head.w", .axes = "I,O", .dims = {s->T * s->D, s->outputs}}};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) cot_params_add(s->params, &specs[i]);
    if (by_tokens) cot_params_gather(s->params, cot_params_at(s->params, 0));
    cot_params_allocate(s->params);
    s->gradients =
        cot_gradients_create(s->comm, s->params, &(cot_gradients_options){true, node_ranks, 1});
    s->norms = cot_norms_create(s->comm, s->params);
    s->scores = cot_ordered_sum_create(s->comm->world, 0, true, 1);
}

static void create_gathers(rank_state *s, size_t grains, size_t node_ranks)
{
    const cot_comm *c = s->comm;
    const size_t T = s->T;
    const size_t D = s->D;
    s->begins = cot_alloc((size_t)c->group_size + 1, sizeof *s->begins);
    s->group = cot_group_batch_of(c, s->batch, grains, s->begins);
    s->x = cot_gather_create(c, s->batch, T * D, node_ranks);
    s->dy = cot_gather_create(c, s->batch, T * D, node_ranks);
    s->marks = cot_gather_create(c, s->batch, 2 * T, node_ranks);
    s->numerators = cot_parts_create(c, s->batch, s->here, T * D, node_ranks);
    s->max = cot_parts_create(c, s->batch, s->here, T, node_ranks);
    s->sum = cot_parts_create(c, s->batch, s->here, T, node_ranks);
    s->dphi = cot_columns_create(c, D, s->E, s->P, node_ranks);
}

static void create(rank_state *s, const cot_comm *comm, const setting *set)
{
    *s = (rank_state){.comm = comm,
                      .here = (size_t)set[SAMPLES].value,
                      .T = (size_t)set[TOKENS].value,
                      .D = (size_t)set[WIDTH].value,
                      .E = (size_t)set[EXPERTS].value,
                      .P = (size_t)set[SLOTS].value,
                      .H = (size_t)set[HIDDEN].value,
                      .outputs = (size_t)set[OUTPUTS].value,
                      .flops = 1e9 * set[GFLOPS].value,
                      .merge_bytes = 1e9 * set[MERGES].value};
    size_t grains = (size_t)comm->size; /* one a rank */
    size_t node_ranks = (size_t)set[NODE_RANKS].value;
    s->batch = s->here * grains;
    bool by_tokens = set[BY_TOKENS].value > 0;
    create_params(s, by_tokens, node_ranks);
    if (by_tokens) {
        create_gathers(s, grains, node_ranks);
        return;
    }
    s->exchange = cot_exchange_create(comm, s->E, s->P, s->D, grains, s->batch, node_ranks);
    cot_exchange_plan(s->exchange, s->batch);
}

static void destroy(rank_state *s)
{
    cot_exchange_destroy(&s->exchange);
    cot_columns_destroy(&s->dphi);
    cot_parts_destroy(&s->sum);
    cot_parts_destroy(&s->max);
    cot_parts_destroy(&s->numerators);
    cot_gather_destroy(&s->marks);
    cot_gather_destroy(&s->dy);
    cot_gather_destroy(&s->x);
    cot_free(s->begins);
    cot_ordered_sum_destroy(&s->scores);
    cot_norms_destroy(&s->norms);
    cot_gradients_destroy(&s->gradients);
    cot_params_destroy(&s->params);
}

/* ---- one step ---- */

static void simulate(rank_state *s)
{
    COT_MPI(MPI_Barrier(s->comm->world));
    double started = MPI_Wtime();
    s->last = started;
    if (s->exchange != NULL)
        step_by_slots(s);
    else
        step_by_tokens(s);
    sum_gradients(s);
    double all[PHASES + 1];
    memcpy(all, s->seconds, sizeof s->seconds);
    all[PHASES] = s->last - started;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, all, PHASES + 1, MPI_DOUBLE, MPI_MAX, s->comm->world));
    if (s->comm->rank == 0)
        printf("{\"compute\": %.9g, \"exchange\": %.9g, \"merge\": %.9g, \"sums\": %.9g, "
               "\"step\": %.9g}\n",
               all[COMPUTE], all[EXCHANGE], all[MERGE], all[SUMS], all[PHASES]);
}

static cot_status parse(int count, char **words, setting *set)
{
    for (int i = 1; i < count; i++) {
        char *equals = strchr(words[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - words[i]) : 0;
        size_t k = 0;
        while (k < SETTINGS &&
               (strlen(set[k].name) != length || strncmp(set[k].name, words[i], length) != 0))
            k++;
        if (k == SETTINGS) return cot_fail(COT_E_USAGE, "'%s' is no setting", words[i]);
        set[k].value = strtod(equals + 1, NULL);
    }
    return COT_OK;
}

int main(int argc, char **argv)
{
    setting set[SETTINGS] = {{"samples", 4},    {"experts", 128}, {"slots", 1},    {"tokens", 4},
                             {"width", 196},    {"hidden", 6},    {"outputs", 10}, {"by_tokens", 0},
                             {"node_ranks", 0}, {"gflops", 50},   {"merges", 30}};
    cot_comm *comm = NULL;
    rank_state state;
    COT_MPI(MPI_Init(&argc, &argv));
    cot_status status = cot_comm_create(MPI_COMM_WORLD, 1, &comm);
    if (status == COT_OK) status = cot_comm_agree(comm, parse(argc, argv, set));
    if (status == COT_OK) {
        create(&state, comm, set);
        simulate(&state);
        destroy(&state);
    }
    cot_comm_destroy(&comm);
    MPI_Finalize();
    return (int)status;
}
