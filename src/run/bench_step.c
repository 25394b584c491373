#include "run/bench_state.h"
#include "run/trainer.h"

#include <coterie/blas.h>
#include <coterie/memory.h>

#include <float.h>

enum { ROUNDS = 10, WARM_UP = 4, PEAK_SIZE = 2048, COLUMNS = COT_PHASES + 2 };

/* A step's times, by phase and then these. */
enum { COLUMN_STEP = COT_PHASES, COLUMN_BUSY };

typedef struct recorder {
    trainer *t;
    size_t samples;         /* of a whole batch */
    size_t count, capacity; /* steps measured */
    double *times;          /* [COLUMNS, capacity] */
    cot_real *a, *b, *c;    /* [PEAK_SIZE, PEAK_SIZE] */
    double product;         /* seconds of the fastest product, on the slowest rank */
} recorder;

static recorder recorder_create(trainer *t)
{
    const size_t numbers = (size_t)PEAK_SIZE * PEAK_SIZE;
    recorder r = {.t = t,
                  .samples = cot_sampler_batch_size(t->sampler, 0),
                  .a = cot_alloc(numbers, sizeof(cot_real)),
                  .b = cot_alloc(numbers, sizeof(cot_real)),
                  .c = cot_alloc(numbers, sizeof(cot_real)),
                  .product = DBL_MAX};
    for (size_t i = 0; i < numbers; i++) {
        r.a[i] = (cot_real)(i % 7) - 3;
        r.b[i] = (cot_real)(i % 5) - 2;
    }
    return r;
}

static void recorder_destroy(recorder *r)
{
    cot_free(r->times);
    cot_free(r->c);
    cot_free(r->b);
    cot_free(r->a);
}

/* One training step, and what it took on this rank. */
static cot_status step(recorder *r, double *seconds_out, bool *whole_out)
{
    trainer *t = r->t;
    step_result result;
    if (t->state.progress.batch == cot_sampler_batches(t->sampler)) trainer_next_epoch(t);
    *whole_out = cot_sampler_batch_size(t->sampler, t->state.progress.batch) == r->samples;
    cot_ledger_clear(t->ledger);
    double started = cot_seconds();
    COT_TRY(trainer_step(t, &result));
    *seconds_out = cot_seconds() - started;
    return COT_OK;
}

static void record(recorder *r, double seconds)
{
    double phases[COT_PHASES];
    for (size_t i = 0; i < COT_PHASES; i++) {
        phases[i] = cot_ledger_seconds(r->t->ledger, (cot_phase)i);
        r->times[i * r->capacity + r->count] = phases[i];
    }
    r->times[COLUMN_STEP * r->capacity + r->count] = seconds;
    r->times[COLUMN_BUSY * r->capacity + r->count] =
        seconds - phases[COT_PHASE_EXCHANGE] - phases[COT_PHASE_SUMS];
    r->count++;
}

/* The peak: all ranks multiply at once, and the slowest counts. */
static void multiply(recorder *r)
{
    const size_t n = PEAK_SIZE;
    double started = bench_start(r->t->comm);
    cot_gemm(COT_N, COT_N, n, n, n, 1, r->a, n, r->b, n, 0, r->c, n);
    double seconds = cot_seconds() - started;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, r->t->comm->world));
    if (seconds < r->product) r->product = seconds;
}

/* A product, a step that brings its own data back into the caches, and steps that count. An epoch's
 * last batch, where it is smaller, does not. */
static cot_status round_of_steps(recorder *r, size_t steps)
{
    double seconds = 0;
    bool whole = false;
    multiply(r);
    COT_TRY(step(r, &seconds, &whole));
    for (size_t done = 0; done < steps;) {
        COT_TRY(step(r, &seconds, &whole));
        if (!whole) continue;
        record(r, seconds);
        done++;
    }
    return COT_OK;
}

static cot_status measure(recorder *r, double seconds)
{
    double fastest = DBL_MAX;
    for (size_t i = 0; i < WARM_UP || r->t->tuner != NULL; i++) {
        double last = 0;
        bool whole = false;
        COT_TRY(step(r, &last, &whole));
        if (last < fastest) fastest = last;
    }
    size_t steps = bench_rounds(r->t->comm, seconds / ROUNDS, fastest, 2);
    r->capacity = ROUNDS * steps;
    r->times = cot_alloc(COLUMNS * r->capacity, sizeof *r->times);
    for (size_t round = 0; round < ROUNDS; round++) COT_TRY(round_of_steps(r, steps));
    return COT_OK;
}

/* Every rank's spread; the one with the longest median, and whose it is. */
static cot_rank_time slowest(const recorder *r, size_t column)
{
    const cot_comm *comm = r->t->comm;
    cot_rank_time time = {cot_spread_of(r->count, r->times + column * r->capacity), 0};
    struct {
        double median;
        int rank;
    } longest = {time.seconds.median, comm->rank};
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &longest, 1, MPI_DOUBLE_INT, MPI_MAXLOC, comm->world));
    time.rank = longest.rank;
    COT_MPI(MPI_Bcast(&time.seconds, sizeof time.seconds, MPI_BYTE, time.rank, comm->world));
    return time;
}

static void summarize(const recorder *r, cot_step_bench *bench)
{
    const cot_experiment *ex = r->t->experiment;
    const cot_recipe *recipe = r->t->recipe;
    const cot_comm *comm = r->t->comm;
    const size_t patch = recipe->model.patch_height * recipe->model.patch_width *
                         cot_dataset_info_of(ex->dataset)->channels;
    const double product = 2.0 * PEAK_SIZE * PEAK_SIZE * PEAK_SIZE;
    bench->samples = r->samples;
    bench->steps = r->count;
    bench->exchange = cot_experiment_exchange(ex);
    bench->shares_memory =
        cot_exchange_nodes(cot_soft_moe_exchange(cot_model_layer(ex->model, 0))) == 1;
    bench->flop = cot_flop_of_step(&recipe->model, cot_model_shape(ex->model), patch, ex->outputs,
                                   r->samples);
    for (size_t i = 0; i < COT_PHASES; i++) bench->phases[i] = slowest(r, i);
    bench->busy = slowest(r, COLUMN_BUSY);
    bench->seconds = bench_slowest(comm, r->count, r->times + COLUMN_STEP * r->capacity);
    bench->peak = comm->size * product / r->product;
}

cot_status cot_bench_step(const cot_comm *world, const cot_recipe *recipe, double seconds,
                          cot_step_bench *bench_out)
{
    trainer t = {.recipe = recipe};
    cot_status status = trainer_create(&t, world);
    if (status != COT_OK) goto destroy_trainer;
    recorder r = recorder_create(&t);
    status = measure(&r, seconds);
    if (status == COT_OK) summarize(&r, bench_out);
    recorder_destroy(&r);

destroy_trainer:
    trainer_destroy(&t);
    return status;
}
