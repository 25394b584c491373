#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/gradients.h>
#include <coterie/memory.h>
#include <coterie/shard.h>
#include <coterie/tree.h>

#include <math.h>
#include <string.h>

enum { EXPERTS = 5, PER_EXPERT = 6, REPLICATED = 23, GATHERED = 4, BATCHES = 3 };

typedef struct fixture {
    cot_comm *comm;
    cot_params *params;
    cot_param *replicated, *gathered, *experts;
    cot_gradients *gradients;
} fixture;

static void create(fixture *f, int replicas, bool ordered, size_t node_ranks)
{
    f->comm = comm_of_world(replicas);
    size_t members = (size_t)f->comm->group_size;
    size_t me = (size_t)f->comm->group_rank;
    f->params = cot_params_create(cot_shard_begin(EXPERTS, members, me),
                                  cot_shard_begin(EXPERTS, members, me + 1));
    f->experts = cot_params_add(f->params, &(cot_param_spec){.name = "experts",
                                                             .axes = "E,D",
                                                             .dims = {EXPERTS, PER_EXPERT},
                                                             .placement = COT_SHARDED});
    f->replicated = cot_params_add(
        f->params, &(cot_param_spec){.name = "w", .axes = "D", .dims = {REPLICATED}});
    f->gathered = cot_params_add(
        f->params, &(cot_param_spec){.name = "gathered", .axes = "D", .dims = {GATHERED}});
    cot_params_gather(f->params, f->gathered);
    cot_params_allocate(f->params);
    f->gradients = cot_gradients_create(f->comm, f->params,
                                        &(cot_gradients_options){ordered, node_ranks, BATCHES});
}

static void destroy(fixture *f)
{
    cot_gradients_destroy(&f->gradients);
    assert_null(f->gradients);
    cot_params_destroy(&f->params);
    cot_comm_destroy(&f->comm);
}

/* What a rank's backward pass over one micro-batch leaves for the replicated parameter. */
static void draw_share(size_t batch, size_t rank, cot_real *out)
{
    draw_normal(batch * 100 + rank, REPLICATED, out);
    for (size_t i = 0; i < REPLICATED; i++) out[i] *= (cot_real)(1 + (rank + i) % 3 * 300);
}

/* What a group adds to the experts' gradients in one micro-batch. */
static void draw_experts(size_t batch, size_t replica, cot_real *out)
{
    draw_normal(5000 + batch * 100 + replica, EXPERTS * PER_EXPERT, out);
}

static void step(fixture *f)
{
    const cot_param *experts = f->experts;
    for (size_t i = 0; i < experts->count; i++) experts->grad[i] = 1000; /* of the last step */
    cot_gradients_begin(f->gradients);
    for (size_t batch = 0; batch < BATCHES; batch++) {
        cot_real all[EXPERTS * PER_EXPERT];
        draw_share(batch, (size_t)f->comm->rank, f->replicated->grad);
        draw_experts(batch, (size_t)f->comm->replica, all);
        for (size_t i = 0; i < GATHERED; i++) f->gathered->grad[i] = (cot_real)(batch + i);
        for (size_t i = 0; i < experts->count; i++)
            experts->grad[i] += all[experts->first_row * PER_EXPERT + i];
        cot_gradients_add_batch(f->gradients);
    }
    cot_gradients_finish(f->gradients);
}

/* The tree over ranks for each micro-batch; micro-batches in their order. */
static void replicated_serially(size_t ranks, cot_real *sum)
{
    cot_real *parts = cot_alloc(ranks * REPLICATED, sizeof *parts);
    for (size_t batch = 0; batch < BATCHES; batch++) {
        for (size_t r = 0; r < ranks; r++) draw_share(batch, r, parts + r * REPLICATED);
        cot_tree_reduce(ranks, REPLICATED, parts);
        for (size_t i = 0; i < REPLICATED; i++) sum[i] = batch == 0 ? parts[i] : sum[i] + parts[i];
    }
    cot_free(parts);
}

/* Micro-batches in their order in each group; then the tree over the groups. */
static void experts_serially(size_t replicas, cot_real *sum)
{
    enum { N = EXPERTS * PER_EXPERT };
    cot_real *parts = cot_alloc(replicas * N, sizeof *parts);
    for (size_t q = 0; q < replicas; q++)
        for (size_t batch = 0; batch < BATCHES; batch++) {
            cot_real share[N];
            draw_experts(batch, q, share);
            for (size_t i = 0; i < N; i++) parts[q * N + i] += share[i];
        }
    cot_tree_reduce(replicas, N, parts);
    memcpy(sum, parts, N * sizeof *sum);
    cot_free(parts);
}

static bool close_to(const cot_real *a, const cot_real *b, size_t n)
{
    /* Some ten additions of numbers below 5 * 601. */
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= 10 * 5 * 601 * (double)COT_REAL_EPSILON))
            return false;
    return true;
}

static void check(int replicas, bool ordered, size_t node_ranks)
{
    if (rank_count() % replicas != 0) return;
    fixture f;
    cot_real want[REPLICATED];
    cot_real want_experts[EXPERTS * PER_EXPERT];
    create(&f, replicas, ordered, node_ranks);
    replicated_serially((size_t)rank_count(), want);
    experts_serially((size_t)replicas, want_experts);
    const cot_real *mine = want_experts + f.experts->first_row * PER_EXPERT;
    for (int repeat = 0; repeat < 2; repeat++) {
        step(&f);
        if (ordered) {
            assert_on_every_rank(same_bits(f.replicated->grad, want, REPLICATED));
            assert_on_every_rank(same_bits(f.experts->grad, mine, f.experts->count));
        }
        assert_on_every_rank(close_to(f.replicated->grad, want, REPLICATED));
        for (size_t i = 0; i < GATHERED; i++) /* micro-batches add, ranks do not */
            assert_true(f.gathered->grad[i] == (cot_real)(0 + 1 + 2 + BATCHES * i));
        assert_on_every_rank(close_to(f.experts->grad, mine, f.experts->count));
    }
    destroy(&f);
}

static void sums_run_in_the_promised_order(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= 4; replicas++)
        for (size_t node_ranks = 0; node_ranks < 3; node_ranks++) check(replicas, true, node_ranks);
}

static void without_order_to_rounding(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= 4; replicas++) check(replicas, false, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sums_run_in_the_promised_order),
    cmocka_unit_test(without_order_to_rounding),
};

RUN_MPI_TESTS(tests)
