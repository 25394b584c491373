/* The grids of a machine profile, measured on all ranks at once. */
#include "run/bench_state.h"
#include "run/libraries.h"
#include "run/machine_kernels.h"

#include <coterie/blas.h>
#include <coterie/clock.h>
#include <coterie/h5.h>
#include <coterie/memory.h>
#include <coterie/shared.h>
#include <coterie/vector.h>
#include <coterie/version.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sizes of each kernel. No shape is one of a recipe that comes with the program. */
typedef struct grid {
    double axes[COT_MACHINE_AXES][COT_MACHINE_AXIS]; /* 0 ends an axis; an empty one is 1 */
} grid;

static const grid products = {
    {{1, 4, 14, 50, 180, 640}, {1, 4, 14, 50, 180, 640}, {1, 4, 14, 50, 180, 640}}};
static const grid mixing = {{{2, 6, 20, 64}, {3, 12, 48, 192, 768}, {32, 128, 512}}};
static const grid experts = {{{12, 48, 192, 768}, {32, 128, 512}, {1, 4, 14, 50, 180, 640}}};
static const grid fused = {{{16, 48}, {32, 128, 512}, {1, 3, 7, 11}}};
static const grid matrices = {{{1, 6, 36, 216}, {6, 48, 384}}};
static const grid vectors = {{{8, 64, 2048, 65536, 524288, 1048576, 2097152, 8388608}}};
static const grid updates = {{{128, 2048, 65536, 2097152}}};
static const grid pixels = {{{784}}}; /* of a glyph */
static const grid normals = {{{256}}};
static const grid barrier = {{{1}}}; /* in its place, log2 of the ranks at hand */
static const grid messages_of = {{{8, 512, 8192, 65536, 524288, 4194304}}};

static const grid *const grids[COT_KERNELS] = {
    [COT_KERNEL_GEMM_NN] = &products,
    [COT_KERNEL_GEMM_TN] = &products,
    [COT_KERNEL_GEMM_NT] = &products,
    [COT_KERNEL_TO_SLOTS] = &mixing,
    [COT_KERNEL_TO_TOKENS] = &mixing,
    [COT_KERNEL_TO_WEIGHTS] = &mixing,
    [COT_KERNEL_EXPERT_FORWARD] = &experts,
    [COT_KERNEL_EXPERT_BACKWARD] = &experts,
    [COT_KERNEL_FUSED_FORWARD] = &fused,
    [COT_KERNEL_FUSED_BACKWARD] = &fused,
    [COT_KERNEL_SOFTMAX_ROWS] = &matrices,
    [COT_KERNEL_SOFTMAX_ROWS_BACKWARD] = &matrices,
    [COT_KERNEL_SOFTMAX_COLS] = &matrices,
    [COT_KERNEL_SOFTMAX_COLS_BACKWARD] = &matrices,
    [COT_KERNEL_NORMALIZE_ROWS] = &matrices,
    [COT_KERNEL_NORMALIZE_ROWS_BACKWARD] = &matrices,
    [COT_KERNEL_NORMALIZE_COLS] = &matrices,
    [COT_KERNEL_NORMALIZE_COLS_BACKWARD] = &matrices,
    [COT_KERNEL_COPY] = &vectors,
    [COT_KERNEL_ADD] = &vectors,
    [COT_KERNEL_DOT] = &vectors,
    [COT_KERNEL_ROWS] = &vectors,
    [COT_KERNEL_SGD] = &updates,
    [COT_KERNEL_ADAM] = &updates,
    [COT_KERNEL_PIXELS] = &pixels,
    [COT_KERNEL_NORMALS] = &normals,
    [COT_KERNEL_BARRIER] = &barrier,
    [COT_KERNEL_MESSAGE] = &messages_of,
    [COT_KERNEL_MESSAGE_BETWEEN] = &messages_of,
};

static size_t points_of(const cot_rates *rates)
{
    return rates->counts[0] * rates->counts[1] * rates->counts[2];
}

static cot_rates rates_of(const grid *g)
{
    cot_rates rates = {0};
    for (size_t axis = 0; axis < COT_MACHINE_AXES; axis++) {
        memcpy(rates.axes[axis], g->axes[axis], sizeof rates.axes[axis]);
        if (rates.axes[axis][0] == 0) rates.axes[axis][0] = 1;
        while (rates.counts[axis] < COT_MACHINE_AXIS && rates.axes[axis][rates.counts[axis]] > 0)
            rates.counts[axis]++;
    }
    rates.seconds = cot_alloc(points_of(&rates), sizeof *rates.seconds);
    return rates;
}

static void sizes_at(const cot_rates *rates, size_t point, size_t sizes[COT_MACHINE_AXES])
{
    for (size_t axis = COT_MACHINE_AXES; axis-- > 0;) {
        sizes[axis] = (size_t)rates->axes[axis][point % rates->counts[axis]];
        point /= rates->counts[axis];
    }
}

/* ---- kernels ---- */

static bool computes(int kernel)
{
    return kernel < COT_KERNEL_BARRIER;
}

/* All points of one kernel, on all ranks at once; the slowest rank counts. */
static void measure_grid(const cot_comm *world, const machine_arena *arena, cot_kernel kernel,
                         double seconds, cot_rates *rates)
{
    const size_t points = points_of(rates);
    machine_arena_warm(arena);
    for (size_t i = 0; i < points; i++) {
        size_t sizes[COT_MACHINE_AXES];
        sizes_at(rates, i, sizes);
        COT_MPI(MPI_Barrier(world->world));
        rates->seconds[i] =
            machine_time_kernel(arena, kernel, sizes[0], sizes[1], sizes[2], seconds);
    }
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, rates->seconds, cot_comm_int(points), MPI_DOUBLE, MPI_MAX,
                          world->world));
}

static void measure_kernels(const cot_comm *world, const machine_arena *arena, double seconds,
                            cot_machine *machine)
{
    size_t points = 0;
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) {
        if (!computes(kernel)) continue;
        machine->rates[kernel] = rates_of(grids[kernel]);
        points += points_of(&machine->rates[kernel]);
    }
    for (int kernel = 0; kernel < COT_KERNELS; kernel++)
        if (computes(kernel))
            measure_grid(world, arena, (cot_kernel)kernel, seconds / (double)points,
                         &machine->rates[kernel]);
}

/* Bytes/s of adding one array to another, both larger than the caches: two read, one written. */
static double bandwidth(const cot_comm *world, bool alone)
{
    enum { NUMBERS = 8 << 20, ROUNDS = 3, PASSES = 3 };
    cot_real *x = cot_alloc(2 * NUMBERS, sizeof *x);
    double fastest = DBL_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        double started = bench_start(world);
        if (world->rank == 0 || !alone) cot_add(NUMBERS, x, x + NUMBERS);
        double seconds = cot_seconds() - started;
        if (seconds < fastest) fastest = seconds;
    }
    cot_free(x);
    if (alone) COT_MPI(MPI_Bcast(&fastest, 1, MPI_DOUBLE, 0, world->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &fastest, 1, MPI_DOUBLE, MPI_MAX, world->world));
    return PASSES * NUMBERS * sizeof *x / fastest;
}

/* ---- messages ---- */

/* Seconds of a round on the slowest rank. */
static double typical_round(const cot_comm *world, double seconds, void (*round)(void *context),
                            void *context)
{
    enum { LEAST = 10 };
    double first = bench_start(world);
    round(context);
    round(context);
    size_t rounds = bench_rounds(world, seconds, (cot_seconds() - first) / 2, LEAST);
    double *times = cot_alloc(rounds, sizeof *times);
    for (size_t i = 0; i < rounds; i++) {
        double started = bench_start(world);
        round(context);
        times[i] = cot_seconds() - started;
    }
    double typical = bench_slowest(world, rounds, times).median;
    cot_free(times);
    return typical;
}

typedef struct messages {
    MPI_Comm comm;
    int size, bytes;
    char *send, *arrived;
} messages;

static void send_to_all(void *context)
{
    const messages *m = context;
    COT_MPI(MPI_Alltoall(m->send, m->bytes, MPI_BYTE, m->arrived, m->bytes, MPI_BYTE, m->comm));
}

/* Of one message to every other rank of `comm`, for each of them. */
static void measure_messages(const cot_comm *world, MPI_Comm comm, cot_kernel kernel,
                             double seconds, cot_machine *machine)
{
    cot_rates *rates = &machine->rates[kernel];
    const double most_memory = 64 << 20;
    messages m = {.comm = comm};
    *rates = rates_of(grids[kernel]);
    COT_MPI(MPI_Comm_size(comm, &m.size));
    int largest_comm = m.size;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &largest_comm, 1, MPI_INT, MPI_MAX, world->world));
    while (rates->counts[0] > 1 &&
           rates->axes[0][rates->counts[0] - 1] * largest_comm > most_memory)
        rates->counts[0]--;
    const size_t points = points_of(rates);
    size_t largest = (size_t)rates->axes[0][points - 1] * (size_t)m.size;
    m.send = cot_alloc(largest, 1);
    m.arrived = cot_alloc(largest, 1);
    for (size_t i = 0; i < points; i++) {
        m.bytes = (int)rates->axes[0][i];
        rates->seconds[i] =
            typical_round(world, seconds / (double)points, send_to_all, &m) / (m.size - 1);
    }
    cot_free(m.arrived);
    cot_free(m.send);
}

static void meet(void *context)
{
    cot_shared_meet(context);
}

static void measure_barrier(const cot_comm *world, MPI_Comm node, int size, double seconds,
                            cot_machine *machine)
{
    cot_rates *rates = &machine->rates[COT_KERNEL_BARRIER];
    cot_shared *shared = cot_shared_create(node, 1);
    int everywhere = shared != NULL;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &everywhere, 1, MPI_INT, MPI_MIN, world->world));
    if (!everywhere) {
        cot_shared_destroy(&shared);
        return;
    }
    *rates = rates_of(grids[COT_KERNEL_BARRIER]);
    rates->axes[0][0] = log2(size);
    rates->seconds[0] = typical_round(world, seconds, meet, shared);
    cot_shared_destroy(&shared);
}

/* Between nodes only where all have as many ranks. */
void machine_measure_messages(const cot_comm *world, double seconds, cot_machine *machine)
{
    MPI_Comm node;
    MPI_Comm across; /* the ranks of one place on all nodes */
    int size = 0;
    int place = 0;
    COT_MPI(MPI_Comm_split_type(world->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    COT_MPI(MPI_Comm_size(node, &size));
    COT_MPI(MPI_Comm_rank(node, &place));
    COT_MPI(MPI_Comm_split(world->world, place, world->rank, &across));
    int nodes = 0;
    int least = size;
    COT_MPI(MPI_Comm_size(across, &nodes));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &nodes, 1, MPI_INT, MPI_MAX, world->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_INT, MPI_MIN, world->world));
    machine->nodes = (size_t)nodes;
    bool even = least * nodes == world->size;
    if (least > 1) {
        measure_barrier(world, node, size, seconds / 10, machine);
        measure_messages(world, node, COT_KERNEL_MESSAGE, seconds, machine);
    }
    if (nodes > 1 && even)
        measure_messages(world, across, COT_KERNEL_MESSAGE_BETWEEN, seconds, machine);
    COT_MPI(MPI_Comm_free(&across));
    COT_MPI(MPI_Comm_free(&node));
}

/* ---- the profile ---- */

static char *share_text(const cot_comm *world, const char *text)
{
    return cot_comm_broadcast_text(world, text);
}

static void describe(const cot_comm *world, cot_machine *machine)
{
    char host[256] = "";
    char written[COT_TIMESTAMP_SIZE];
    gethostname(host, sizeof host - 1);
    cot_timestamp(written);
    machine->host = share_text(world, host);
    machine->build = share_text(world, cot_build());
    machine->blas_core = share_text(world, cot_blas_core());
    machine->written = share_text(world, written);
    machine->ranks = (size_t)world->size;
    unsigned long numbers[] = {(unsigned long)sysconf(_SC_NPROCESSORS_ONLN), cot_memory_resident()};
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, numbers, 2, MPI_UNSIGNED_LONG, MPI_MAX, world->world));
    machine->cores = numbers[0];
    machine->base_bytes = numbers[1];
}

enum { MOST_VISITS = 7 };

/* Barriers, say, need memory to share, which may be there one time and not the next. */
static bool all_know(size_t count, const cot_machine *visits, cot_kernel kernel)
{
    for (size_t v = 0; v < count; v++)
        if (!cot_machine_knows(&visits[v], kernel)) return false;
    return true;
}

/* Of the visits, each point's median. */
static void settle(size_t count, const cot_machine *visits, cot_machine *machine)
{
    double times[MOST_VISITS];
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) {
        cot_rates *rates = &machine->rates[kernel];
        if (!all_know(count, visits, (cot_kernel)kernel)) continue;
        *rates = visits[0].rates[kernel];
        rates->seconds = cot_alloc(points_of(rates), sizeof *rates->seconds);
        for (size_t point = 0; point < points_of(rates); point++) {
            for (size_t v = 0; v < count; v++) times[v] = visits[v].rates[kernel].seconds[point];
            rates->seconds[point] = cot_spread_of(count, times).median;
        }
    }
}

/* All of it several times over, so that what disturbs the machine for a while does not stay; once
 * for those in a hurry. */
void cot_machine_measure(const cot_comm *world, double seconds, cot_machine *machine_out)
{
    const double kernels = 0.8;
    const double hurry = 1; /* seconds */
    const size_t count = seconds < hurry ? 1 : MOST_VISITS;
    const double each = seconds / (double)count;
    const size_t largest = (size_t)8 << 20; /* of the grids */
    cot_machine machine = {0};
    cot_machine visits[MOST_VISITS] = {0};
    libraries_touch(world);
    describe(world, &machine);
    machine.alone = bandwidth(world, true);
    machine.together = bandwidth(world, false);
    machine_arena arena = machine_arena_create(largest);
    for (size_t v = 0; v < count; v++) {
        machine_measure_messages(world, each * (1 - kernels) / 3, &visits[v]);
        measure_kernels(world, &arena, each * kernels, &visits[v]);
    }
    machine_arena_destroy(&arena);
    machine.nodes = visits[0].nodes;
    settle(count, visits, &machine);
    for (size_t v = 0; v < count; v++) cot_machine_free(&visits[v]);
    *machine_out = machine;
}
