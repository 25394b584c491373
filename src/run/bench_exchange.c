#include "run/bench_state.h"

#include <coterie/clock.h>
#include <coterie/exchange.h>
#include <coterie/experiment.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

const char *cot_exchange_kind_name(cot_exchange_kind kind)
{
    static const char *const names[] = {[COT_EXCHANGE_SHARED] = "shared",
                                        [COT_EXCHANGE_TWO_LEVEL] = "two-level",
                                        [COT_EXCHANGE_MESSAGES] = "messages"};
    return names[kind];
}

/* One size: every way for the same rows. */
typedef struct rivals {
    const cot_comm *comm;
    cot_exchange *ways[COT_EXCHANGE_KINDS]; /* NULL: not possible with these ranks */
    cot_real *home, *in, *out; /* the rivals' buffers, as the exchange's: [members, numbers] */
    size_t numbers;            /* for each pair of ranks */
} rivals;

static cot_exchange *create_exchange(const cot_comm *comm, const cot_moe_shape *shape,
                                     const cot_exchange_time *time, size_t grains,
                                     size_t node_ranks)
{
    size_t experts = time->experts * (size_t)comm->group_size;
    size_t batch = time->samples * (size_t)comm->size;
    cot_exchange *exchange =
        cot_exchange_create(comm, experts, shape->P, shape->D, grains, batch, node_ranks);
    cot_exchange_plan(exchange, batch);
    return exchange;
}

/* Memory that nobody has touched is slow the first time. */
static void touch(const rivals *r, cot_exchange *exchange)
{
    const cot_slot_buffers *buffers = cot_exchange_buffers(exchange);
    const cot_slots *slots = cot_exchange_home_slots(exchange);
    const size_t here = cot_grains_size(cot_exchange_home_grains(exchange));
    const size_t width = r->numbers * (size_t)r->comm->group_size /
                         (here * slots->experts * slots->slots_per_expert);
    for (size_t e = 0; e < slots->experts; e++)
        for (size_t p = 0; p < slots->slots_per_expert; p++)
            cot_fill(here * width, 1, buffers->home_in + cot_slots_row(slots, e, p, 0) * width);
    cot_exchange_run(exchange, COT_LEG_INPUTS);
    cot_exchange_run(exchange, COT_LEG_OUTPUTS);
}

/* The kind that it turned out to be; where expert groups differ, some share memory and some do
 * not. */
static cot_exchange_kind kind_of(const rivals *r, const cot_exchange *exchange)
{
    size_t nodes = cot_exchange_nodes(exchange);
    int kind = COT_EXCHANGE_TWO_LEVEL;
    if (nodes == (size_t)r->comm->group_size) kind = COT_EXCHANGE_MESSAGES;
    if (nodes == 1) kind = COT_EXCHANGE_SHARED;
    int range[2] = {kind, -kind};
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, range, 2, MPI_INT, MPI_MAX, r->comm->world));
    return range[0] == -range[1] ? (cot_exchange_kind)kind : COT_EXCHANGE_TWO_LEVEL;
}

static void add_way(rivals *r, cot_exchange *exchange)
{
    cot_exchange **place = &r->ways[kind_of(r, exchange)];
    if (*place != NULL) {
        cot_exchange_destroy(&exchange);
        return;
    }
    *place = exchange;
    touch(r, exchange);
}

/* Messages always; and what there is with nodes of at most `node_ranks` ranks, 0: the machines'. */
static rivals rivals_create(const cot_comm *comm, const cot_moe_shape *shape, size_t grains,
                            const cot_exchange_time *time, size_t node_ranks)
{
    rivals r = {.comm = comm, .numbers = time->bytes / sizeof(cot_real)};
    size_t all = r.numbers * (size_t)comm->group_size;
    r.home = cot_alloc(all, sizeof *r.home);
    r.in = cot_alloc(all, sizeof *r.in);
    r.out = cot_alloc(all, sizeof *r.out);
    cot_fill(all, 1, r.home);
    cot_fill(all, 1, r.out);
    add_way(&r, create_exchange(comm, shape, time, grains, 1));
    add_way(&r, create_exchange(comm, shape, time, grains, node_ranks));
    return r;
}

static void rivals_destroy(rivals *r)
{
    cot_free(r->out);
    cot_free(r->in);
    cot_free(r->home);
    for (int k = 0; k < COT_EXCHANGE_KINDS; k++) cot_exchange_destroy(&r->ways[k]);
}

/* Inputs there, outputs back; NULL: by two plain all-to-alls. */
static double once(const rivals *r, cot_exchange *exchange)
{
    const int bytes = cot_comm_int(r->numbers * sizeof(cot_real));
    double started = bench_start(r->comm);
    if (exchange != NULL) {
        cot_exchange_run(exchange, COT_LEG_INPUTS);
        cot_exchange_run(exchange, COT_LEG_OUTPUTS);
    } else {
        COT_MPI(MPI_Alltoall(r->home, bytes, MPI_BYTE, r->in, bytes, MPI_BYTE, r->comm->group));
        COT_MPI(MPI_Alltoall(r->out, bytes, MPI_BYTE, r->home, bytes, MPI_BYTE, r->comm->group));
    }
    return cot_seconds() - started;
}

/* One after the other, into times [kinds + 1, rounds] unless NULL; round by round, so that what
 * disturbs one disturbs all. */
static void one_round(const rivals *r, size_t rounds, size_t round, double *times)
{
    for (size_t k = 0; k <= COT_EXCHANGE_KINDS; k++) {
        bool raw = k == COT_EXCHANGE_KINDS;
        if (!raw && r->ways[k] == NULL) continue;
        double seconds = once(r, raw ? NULL : r->ways[k]);
        if (times != NULL) times[k * rounds + round] = seconds;
    }
}

static void measure(const rivals *r, double seconds, cot_exchange_time *time)
{
    enum { LEAST = 5, RAW = COT_EXCHANGE_KINDS };
    double first = bench_start(r->comm);
    for (size_t i = 0; i < 2; i++) {
        first = cot_seconds();
        one_round(r, 1, 0, NULL);
    }
    time->rounds = bench_rounds(r->comm, seconds, cot_seconds() - first, LEAST);
    double *times = cot_alloc((RAW + 1) * time->rounds, sizeof *times);
    for (size_t i = 0; i < time->rounds; i++) one_round(r, time->rounds, i, times);
    for (int k = 0; k < COT_EXCHANGE_KINDS; k++) {
        time->has[k] = r->ways[k] != NULL;
        if (time->has[k])
            time->ways[k] = bench_slowest(r->comm, time->rounds, times + (size_t)k * time->rounds);
    }
    time->raw = bench_slowest(r->comm, time->rounds, times + RAW * time->rounds);
    cot_free(times);
}

static size_t between(size_t least, size_t value, size_t most)
{
    if (value < least) return least;
    return value > most ? most : value;
}

/* Samples and experts of one rank that make up about `bytes` for each pair: the recipe's samples as
 * far as its experts go, then more samples. */
static void choose_rows(const cot_moe_shape *shape, size_t members, size_t samples, size_t bytes,
                        cot_exchange_time *time)
{
    size_t row = shape->D * sizeof(cot_real);
    size_t slots = bytes / row / shape->P;
    size_t experts = shape->E / members > 0 ? shape->E / members : 1;
    time->experts = between(1, slots / (samples > 0 ? samples : 1), experts);
    time->samples = between(1, slots / time->experts, slots + 1);
    time->bytes = time->samples * time->experts * shape->P * row;
}

static cot_status check_ranks(const cot_experiment *ex)
{
    if (ex->comm->size == 1)
        return cot_fail(COT_E_USAGE, "bench exchange: one rank has nobody to exchange with; run it "
                                     "with 'mpirun -n 2' or more");
    if (ex->comm->group_size == 1)
        return cot_fail(COT_E_CONFIG,
                        "parallel.expert_replicas: with %zu on %d ranks every rank holds all the "
                        "experts and exchanges nothing; lower it",
                        ex->recipe->parallel.expert_replicas, ex->comm->size);
    return COT_OK;
}

static void measure_sizes(const cot_experiment *ex, double seconds,
                          cot_exchange_time times[COT_BENCH_SIZES])
{
    const size_t smallest = (size_t)64 << 10;
    const cot_moe_shape *shape = cot_model_shape(ex->model);
    const size_t ranks = (size_t)ex->comm->size;
    /* Every rank gets as many samples, and whole grains. */
    const size_t grains = ex->batching.grains % ranks == 0 ? ex->batching.grains : ranks;
    for (size_t i = 0; i < COT_BENCH_SIZES; i++) {
        cot_exchange_time *time = &times[i];
        *time = (cot_exchange_time){0};
        choose_rows(shape, (size_t)ex->comm->group_size, ex->batching.max_batch / ranks,
                    smallest << i, time);
        rivals r = rivals_create(ex->comm, shape, grains, time, ex->batching.node_ranks);
        measure(&r, seconds / COT_BENCH_SIZES, time);
        rivals_destroy(&r);
    }
}

cot_status cot_bench_exchange(const cot_comm *world, const cot_recipe *recipe, double seconds,
                              cot_exchange_time times_out[COT_BENCH_SIZES])
{
    cot_experiment *ex = NULL;
    COT_TRY(cot_experiment_create(world, recipe, &ex));
    cot_status status = check_ranks(ex);
    if (status == COT_OK) measure_sizes(ex, seconds, times_out);
    cot_experiment_destroy(&ex);
    return cot_comm_agree(world, status);
}
