#include "run/bench_state.h"

#include <coterie/clock.h>
#include <coterie/exchange.h>
#include <coterie/experiment.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

/* One size: three ways for the same rows. */
typedef struct rivals {
    const cot_comm *comm;
    cot_exchange *messages, *shared; /* shared NULL: memory cannot be */
    cot_real *send, *arrived;        /* [members, numbers] */
    size_t numbers;                  /* for each pair of ranks */
} rivals;

static cot_exchange *create_exchange(const cot_comm *comm, const cot_moe_shape *shape,
                                     const cot_exchange_time *time, size_t grains, bool messages)
{
    size_t experts = time->experts * (size_t)comm->group_size;
    size_t batch = time->samples * (size_t)comm->size;
    cot_exchange *exchange =
        cot_exchange_create(comm, experts, shape->P, shape->D, grains, batch, messages);
    cot_exchange_plan(exchange, batch);
    return exchange;
}

/* Memory that nobody has touched is slow the first time. */
static void touch(const rivals *r, cot_exchange *exchange)
{
    const cot_slot_buffers *buffers = cot_exchange_buffers(exchange);
    size_t home = r->numbers * (size_t)r->comm->group_size;
    if (!cot_exchange_is_shared(exchange)) cot_fill(home, 1, buffers->home_in);
    cot_exchange_inputs_to_owners(exchange);
    cot_exchange_outputs_to_homes(exchange);
}

static rivals rivals_create(const cot_comm *comm, const cot_moe_shape *shape, size_t grains,
                            const cot_exchange_time *time)
{
    rivals r = {.comm = comm, .numbers = time->bytes / sizeof(cot_real)};
    size_t all = r.numbers * (size_t)comm->group_size;
    r.messages = create_exchange(comm, shape, time, grains, true);
    r.shared = create_exchange(comm, shape, time, grains, false);
    if (!cot_exchange_is_shared(r.shared)) cot_exchange_destroy(&r.shared);
    r.send = cot_alloc(all, sizeof *r.send);
    r.arrived = cot_alloc(all, sizeof *r.arrived);
    cot_fill(all, 1, r.send);
    touch(&r, r.messages);
    if (r.shared != NULL) touch(&r, r.shared);
    return r;
}

static void rivals_destroy(rivals *r)
{
    cot_free(r->arrived);
    cot_free(r->send);
    cot_exchange_destroy(&r->shared);
    cot_exchange_destroy(&r->messages);
}

/* Inputs there, outputs back; NULL: by two plain all-to-alls. */
static double once(const rivals *r, cot_exchange *exchange)
{
    const int bytes = cot_comm_int(r->numbers * sizeof(cot_real));
    double started = bench_start(r->comm);
    if (exchange != NULL) {
        cot_exchange_inputs_to_owners(exchange);
        cot_exchange_outputs_to_homes(exchange);
    } else {
        COT_MPI(
            MPI_Alltoall(r->send, bytes, MPI_BYTE, r->arrived, bytes, MPI_BYTE, r->comm->group));
        COT_MPI(
            MPI_Alltoall(r->arrived, bytes, MPI_BYTE, r->send, bytes, MPI_BYTE, r->comm->group));
    }
    return cot_seconds() - started;
}

/* One after the other, round by round, so that what disturbs one disturbs all. */
static void measure(const rivals *r, double seconds, cot_exchange_time *time)
{
    enum { LEAST = 5 };
    double first = bench_start(r->comm);
    for (size_t i = 0; i < 2; i++) {
        first = cot_seconds();
        (void)once(r, r->messages);
        (void)once(r, NULL);
        if (r->shared != NULL) (void)once(r, r->shared);
    }
    time->rounds = bench_rounds(r->comm, seconds, cot_seconds() - first, LEAST);
    double *times = cot_alloc(3 * time->rounds, sizeof *times);
    double *messages = times;
    double *raw = times + time->rounds;
    double *shared = times + 2 * time->rounds;
    for (size_t i = 0; i < time->rounds; i++) {
        messages[i] = once(r, r->messages);
        raw[i] = once(r, NULL);
        if (r->shared != NULL) shared[i] = once(r, r->shared);
    }
    time->messages = bench_slowest(r->comm, time->rounds, messages);
    time->raw = bench_slowest(r->comm, time->rounds, raw);
    time->has_shared = r->shared != NULL;
    if (time->has_shared) time->shared = bench_slowest(r->comm, time->rounds, shared);
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
        rivals r = rivals_create(ex->comm, shape, grains, time);
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
