/* Experts are really sharded: what a rank holds and what it sends is measured, by counting
 * allocations and through MPI's profiling interface. */
#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/optimizer.h>
#include <coterie/soft_moe.h>

#include <stdlib.h>

static size_t bytes_taken;

void *aligned_alloc(size_t alignment, size_t size)
{
    void *memory = NULL;
    bytes_taken += size;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

/* What goes over one communicator; and barriers over any. */
static struct {
    MPI_Comm comm;
    size_t messages, barriers, bytes_to_others, other_calls;
} counted;

int MPI_Isend(const void *buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request)
{
    if (comm == counted.comm) {
        int rank = 0;
        int type_size = 0;
        PMPI_Comm_rank(comm, &rank);
        PMPI_Type_size(type, &type_size);
        counted.messages++;
        if (to != rank) counted.bytes_to_others += (size_t)count * (size_t)type_size;
    }
    return PMPI_Isend(buffer, count, type, to, tag, comm, request);
}

int MPI_Barrier(MPI_Comm comm)
{
    counted.barriers += counted.comm != MPI_COMM_NULL;
    return PMPI_Barrier(comm);
}

int MPI_Allgatherv(const void *send, int send_count, MPI_Datatype send_type, void *receive,
                   const int *receive_counts, const int *displs, MPI_Datatype receive_type,
                   MPI_Comm comm)
{
    counted.other_calls += comm == counted.comm;
    return PMPI_Allgatherv(send, send_count, send_type, receive, receive_counts, displs,
                           receive_type, comm);
}

int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
    counted.other_calls += comm == counted.comm;
    return PMPI_Allreduce(send, receive, count, type, op, comm);
}

int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    counted.other_calls += comm == counted.comm;
    return PMPI_Bcast(buffer, count, type, root, comm);
}

int MPI_Send(const void *buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm)
{
    counted.other_calls += comm == counted.comm;
    return PMPI_Send(buffer, count, type, to, tag, comm);
}

/* Twelve of everything that is cut: equal shards on 1, 2, 3 and 4 ranks. */
enum { GRAINS = 12, T = 3, D = 10, E = 12, P = 2, H = 16, S = E * P, BATCH = 48 };

typedef struct fixture {
    cot_comm *comm;
    cot_params *params;
    cot_soft_moe *layer;
} fixture;

static void create(fixture *f, int replicas, size_t experts, size_t node_ranks)
{
    f->comm = comm_of_world(replicas);
    size_t members = (size_t)f->comm->group_size;
    size_t me = (size_t)f->comm->group_rank;
    f->params = cot_params_create(cot_shard_begin(experts, members, me),
                                  cot_shard_begin(experts, members, me + 1));
    cot_soft_moe_options options = {.shape = {T, D, experts, P, H},
                                    .router = {.normalize = COT_NORMALIZE_INPUTS},
                                    .expert_bias = true};
    cot_batching batching = {.max_batch = BATCH, .grains = GRAINS, .node_ranks = node_ranks};
    f->layer = cot_soft_moe_create(&options, 0, &batching, f->comm, f->params);
}

static void destroy(fixture *f)
{
    cot_soft_moe_destroy(&f->layer);
    cot_params_destroy(&f->params);
    cot_comm_destroy(&f->comm);
}

/* Bytes to other ranks in one step of the layer. */
static size_t bytes_of_step(fixture *f)
{
    enum { NUMBERS = BATCH * T * D };
    cot_real *arrays = cot_alloc(4 * (size_t)NUMBERS, sizeof *arrays);
    cot_pass pass = {.samples = BATCH, .training = true};
    draw_normal(1, 2 * (size_t)NUMBERS, arrays);
    counted.comm = f->comm->group;
    counted.messages = counted.barriers = counted.bytes_to_others = counted.other_calls = 0;
    cot_soft_moe_forward(f->layer, &pass, arrays, arrays + 2 * NUMBERS);
    cot_soft_moe_backward(f->layer, arrays + NUMBERS, arrays + 3 * NUMBERS);
    counted.comm = MPI_COMM_NULL;
    cot_free(arrays);
    return counted.bytes_to_others;
}

/* There and back, forward and backward: each time, a rank's B/R samples send S slots of D numbers
 * to the owners, all but one in R of them elsewhere, and so little is one message for each. */
static void a_step_sends_only_slots(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= rank_count(); replicas++) {
        if (rank_count() % replicas != 0) continue;
        fixture f;
        create(&f, replicas, E, 1);
        cot_params_allocate(f.params);
        cot_params_initialize(f.params, 1);
        size_t group = (size_t)f.comm->group_size;
        size_t samples = BATCH / (size_t)f.comm->size;
        size_t want = 4 * samples * (S - S / group) * D * sizeof(cot_real);
        assert_on_every_rank(bytes_of_step(&f) == want);
        assert_on_every_rank(counted.other_calls == 0);
        assert_on_every_rank(counted.messages == 4 * (group - 1) && counted.barriers == 0);
        destroy(&f);
    }
}

/* Where ranks share a node's memory, the same four times are barriers, and nothing is sent. */
static void inside_a_node_nothing_moves(void **state)
{
    (void)state;
    fixture f;
    create(&f, 1, E, 0);
    cot_params_allocate(f.params);
    cot_params_initialize(f.params, 1);
    assert_on_every_rank(bytes_of_step(&f) == 0);
    assert_on_every_rank(counted.messages == 0 && counted.other_calls == 0);
    assert_on_every_rank(counted.barriers == (rank_count() > 1 ? 4 : 0));
    destroy(&f);
}

/* Pairs of ranks are nodes: what is for the other rank of a pair is not sent, and what is for
 * another pair goes in one message of both ranks. */
static void nodes_send_one_message(void **state)
{
    (void)state;
    if (rank_count() != 4) return;
    fixture f;
    create(&f, 1, E, 2);
    cot_params_allocate(f.params);
    cot_params_initialize(f.params, 1);
    unsigned long sum[2] = {bytes_of_step(&f)};
    sum[1] = counted.messages;
    assert_on_every_rank(counted.other_calls == 0 && counted.barriers > 0);
    COT_MPI(PMPI_Allreduce(MPI_IN_PLACE, sum, 2, MPI_UNSIGNED_LONG, MPI_SUM, MPI_COMM_WORLD));
    assert_on_every_rank(sum[0] == 4 * (unsigned long)BATCH * (S / 2) * D * sizeof(cot_real));
    assert_on_every_rank(sum[1] == 4 * 2);
    destroy(&f);
}

/* With unequal shards, all that goes out is still the slots of experts that are not here. */
static void unequal_shards_send_no_more(void **state)
{
    (void)state;
    fixture f;
    enum { EXPERTS = 7 };
    create(&f, 1, EXPERTS, 1);
    cot_params_allocate(f.params);
    cot_params_initialize(f.params, 1);
    size_t ranks = (size_t)f.comm->size;
    size_t me = (size_t)f.comm->rank;
    size_t samples = BATCH / ranks;
    size_t own = cot_shard_size(EXPERTS, ranks, me);
    /* To the owners twice; and as an owner, what came from others, back twice. */
    size_t slots = 2 * samples * (EXPERTS - own) + 2 * (BATCH - samples) * own;
    assert_on_every_rank(bytes_of_step(&f) == slots * P * D * sizeof(cot_real));
    destroy(&f);
}

static size_t elements(const cot_params *params, cot_placement placement)
{
    size_t sum = 0;
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_param *param = cot_params_at(params, i);
        if (param->placement == placement) sum += param->dims[0] * param->row_size;
    }
    return sum;
}

/* Values, gradients and two moments: memory taken for them is that of the shard (and the replicated
 * parameters), and the group's shards make up the whole. */
static void a_rank_holds_its_shard_only(void **state)
{
    (void)state;
    const size_t slack = 1024; /* the optimizer itself, and padding to cache lines */
    const cot_optimizer_options adam = {.kind = COT_ADAM};
    const size_t numbers_of_experts[] = {E, 7, 2};
    for (int i = 0; i < 3; i++) {
        fixture f;
        size_t experts = numbers_of_experts[i];
        size_t per_expert = D * H + H + H * D + D;
        create(&f, 1, experts, 1);
        size_t own = cot_shard_size(experts, (size_t)f.comm->size, (size_t)f.comm->rank);
        size_t replicated = elements(f.params, COT_REPLICATED);
        size_t before = bytes_taken;
        cot_params_allocate(f.params);
        cot_optimizer *optimizer = cot_optimizer_create(&adam, f.params);
        size_t taken = bytes_taken - before;
        size_t shard = 4 * own * per_expert * sizeof(cot_real);
        size_t rest = 4 * replicated * sizeof(cot_real);
        assert_on_every_rank(taken >= shard + rest && taken <= shard + rest + slack);
        assert_on_every_rank(cot_params_sharded_size(f.params) == own * per_expert);
        assert_on_every_rank(cot_params_replicated_size(f.params) == replicated);
        assert_on_every_rank(cot_optimizer_moments(optimizer) == 2);
        unsigned long sum = cot_params_sharded_size(f.params);
        COT_MPI(PMPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_UNSIGNED_LONG, MPI_SUM, f.comm->group));
        assert_on_every_rank(sum == elements(f.params, COT_SHARDED));
        assert_on_every_rank(sum == experts * per_expert);
        cot_optimizer_destroy(&optimizer);
        destroy(&f);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_sends_only_slots),     cmocka_unit_test(inside_a_node_nothing_moves),
    cmocka_unit_test(nodes_send_one_message),      cmocka_unit_test(unequal_shards_send_no_more),
    cmocka_unit_test(a_rank_holds_its_shard_only),
};

RUN_MPI_TESTS(tests)
