/* Every number tells which rank wrote it, for which sample. */
#include "moe/gather.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>

enum { WIDTH = 3, GRAINS = 8, MOST = 21 };

typedef struct fixture {
    cot_comm *comm;
    size_t *begins;
} fixture;

static void create(fixture *f, int replicas)
{
    f->comm = comm_of_world(replicas);
    f->begins = cot_alloc((size_t)f->comm->group_size + 1, sizeof *f->begins);
}

static void destroy(fixture *f)
{
    cot_free(f->begins);
    cot_comm_destroy(&f->comm);
}

static size_t capacity(int parts, int part)
{
    return cot_grains_capacity(MOST, GRAINS, (size_t)parts, (size_t)part);
}

/* The group's sample i of the batch number `round`, as written by a member. */
static cot_real tag(size_t round, size_t member, size_t i, size_t k)
{
    return (cot_real)(round * 10000 + member * 1000 + i * 10 + k);
}

static size_t member_of(const cot_group_batch *batch, size_t i)
{
    size_t m = 0;
    while (batch->begins[m + 1] <= i) m++;
    return m;
}

static void samples_belong_to_one_rank_each(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= rank_count(); replicas++) {
        if (rank_count() % replicas != 0) continue;
        fixture f;
        create(&f, replicas);
        for (size_t samples = 0; samples <= MOST; samples++) {
            cot_group_batch b = cot_group_batch_of(f.comm, samples, GRAINS, f.begins);
            unsigned long here = b.here;
            COT_MPI(
                MPI_Allreduce(MPI_IN_PLACE, &here, 1, MPI_UNSIGNED_LONG, MPI_SUM, f.comm->group));
            size_t me = (size_t)f.comm->group_rank;
            assert_on_every_rank(here == b.samples && b.begins[0] == 0);
            assert_on_every_rank(b.begin == b.begins[me] && b.here == b.begins[me + 1] - b.begin);
            assert_on_every_rank(b.begins[f.comm->group_size] == b.samples);
        }
        destroy(&f);
    }
}

static const size_t batches[] = {MOST, 9, 1, MOST};

static void check_gather(int replicas, bool messages)
{
    fixture f;
    create(&f, replicas);
    cot_gather *gather = cot_gather_create(f.comm, capacity(f.comm->replica_count, f.comm->replica),
                                           WIDTH, messages ? 1 : 0);
    cot_real *rows = cot_gather_rows(gather);
    for (size_t round = 0; round < sizeof batches / sizeof batches[0]; round++) {
        cot_group_batch b = cot_group_batch_of(f.comm, batches[round], GRAINS, f.begins);
        for (size_t i = b.begin; i < b.begin + b.here; i++)
            for (size_t k = 0; k < WIDTH; k++)
                rows[i * WIDTH + k] = tag(round, (size_t)f.comm->group_rank, i, k);
        cot_gather_run(gather, b.begins);
        bool right = true;
        for (size_t i = 0; i < b.samples; i++)
            for (size_t k = 0; k < WIDTH; k++)
                right = right && rows[i * WIDTH + k] == tag(round, member_of(&b, i), i, k);
        assert_on_every_rank(right);
        cot_gather_wait(gather);
    }
    cot_gather_destroy(&gather);
    assert_null(gather);
    destroy(&f);
}

static void check_parts(int replicas, bool messages)
{
    fixture f;
    create(&f, replicas);
    cot_parts *parts =
        cot_parts_create(f.comm, capacity(f.comm->replica_count, f.comm->replica),
                         capacity(f.comm->size, f.comm->rank), WIDTH, messages ? 1 : 0);
    for (size_t round = 0; round < sizeof batches / sizeof batches[0]; round++) {
        cot_group_batch b = cot_group_batch_of(f.comm, batches[round], GRAINS, f.begins);
        cot_real *own = cot_parts_own(parts);
        for (size_t i = 0; i < b.samples; i++)
            for (size_t k = 0; k < WIDTH; k++)
                own[i * WIDTH + k] = tag(round, (size_t)f.comm->group_rank, i, k);
        cot_parts_run(parts, &b);
        bool right = true;
        for (size_t m = 0; m < (size_t)f.comm->group_size; m++) {
            cot_real *theirs = cot_parts_of(parts, &b, m);
            for (size_t i = 0; i < b.here; i++)
                for (size_t k = 0; k < WIDTH; k++) {
                    right = right && theirs[i * WIDTH + k] == tag(round, m, b.begin + i, k);
                    theirs[i * WIDTH + k] = -1; /* the home may */
                }
        }
        assert_on_every_rank(right);
        COT_MPI(MPI_Barrier(f.comm->group)); /* as the passes have: before the next is written */
    }
    cot_parts_destroy(&parts);
    assert_null(parts);
    destroy(&f);
}

static void all_replicas(void (*check)(int replicas, bool messages))
{
    for (int replicas = 1; replicas <= rank_count(); replicas++)
        for (int messages = 0; messages < 2 && rank_count() % replicas == 0; messages++)
            check(replicas, messages);
}

static void rows_reach_all_ranks(void **state)
{
    (void)state;
    all_replicas(check_gather);
}

static void parts_reach_their_home(void **state)
{
    (void)state;
    all_replicas(check_parts);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(samples_belong_to_one_rank_each),
    cmocka_unit_test(rows_reach_all_ranks),
    cmocka_unit_test(parts_reach_their_home),
};

RUN_MPI_TESTS(tests)
