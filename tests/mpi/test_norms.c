#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/norms.h>
#include <coterie/shard.h>

#include <math.h>
#include <string.h>

enum { EXPERTS = 7, PER_EXPERT = 37, REPLICATED = 50, PARAMS = 4 };

typedef struct side {
    cot_comm *comm;
    cot_params *params;
    cot_norms *norms;
} side;

/* Registered in this order: sharded, replicated, sharded, and one that is frozen. */
static void create(side *s, cot_comm *comm)
{
    size_t members = (size_t)comm->group_size;
    size_t me = (size_t)comm->group_rank;
    s->comm = comm;
    s->params = cot_params_create(cot_shard_begin(EXPERTS, members, me),
                                  cot_shard_begin(EXPERTS, members, me + 1));
    cot_param_spec sharded = {.name = "w1",
                              .axes = "E,D",
                              .dims = {EXPERTS, PER_EXPERT},
                              .placement = COT_SHARDED,
                              .init = COT_INIT_NORMAL,
                              .init_scale = 3};
    cot_param_spec replicated = {
        .name = "phi", .axes = "D", .dims = {REPLICATED}, .init = COT_INIT_NORMAL, .init_scale = 1};
    cot_params_add(s->params, &sharded);
    cot_params_add(s->params, &replicated);
    sharded.name = "w2";
    sharded.dims[1] = 1;
    cot_params_add(s->params, &sharded);
    replicated.name = "frozen";
    replicated.frozen = true;
    cot_params_add(s->params, &replicated);
    cot_params_allocate(s->params);
    cot_params_initialize(s->params, 5);
    s->norms = cot_norms_create(comm, s->params);
    cot_norms_measure(s->norms, cot_params_values(s->params));
}

static void destroy(side *s)
{
    cot_norms_destroy(&s->norms);
    assert_null(s->norms);
    cot_params_destroy(&s->params);
    cot_comm_destroy(&s->comm);
}

static size_t entries(size_t i)
{
    return i == 0 || i == 2 ? EXPERTS : 1;
}

static bool equal(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Also on three ranks, and with replicas: an expert's norm does not depend on who holds it. */
static void same_bits_on_any_ranks(void **state)
{
    (void)state;
    side alone;
    create(&alone, comm_of_self());
    for (int replicas = 1; replicas <= rank_count(); replicas++) {
        if (rank_count() % replicas != 0) continue;
        side all;
        bool same = true;
        create(&all, comm_of_world(replicas));
        for (size_t i = 0; i < PARAMS; i++)
            for (size_t e = 0; e < entries(i); e++)
                same = same && equal(cot_norms_squares(all.norms, i, e),
                                     cot_norms_squares(alone.norms, i, e));
        assert_on_every_rank(same);
        assert_on_every_rank(equal(cot_norms_total(all.norms), cot_norms_total(alone.norms)));
        destroy(&all);
    }
    destroy(&alone);
}

/* Every expert once, and the frozen parameter not at all; in double, so to a few roundings. */
static void total_is_the_norm_of_all(void **state)
{
    (void)state;
    side alone;
    side all;
    create(&alone, comm_of_self());
    create(&all, comm_of_world(1));
    double squares = 0;
    for (size_t i = 0; i < 3; i++) {
        const cot_param *param = cot_params_at(alone.params, i);
        for (size_t j = 0; j < param->count; j++) squares += pow((double)param->value[j], 2);
    }
    assert_on_every_rank(fabs(cot_norms_total(all.norms) / sqrt(squares) - 1) < 1e-13);
    cot_norms_fault fault;
    assert_on_every_rank(!cot_norms_find_fault(all.norms, &fault));
    destroy(&all);
    destroy(&alone);
}

static int owner_of(size_t expert)
{
    for (int r = 0;; r++)
        if (cot_shard_begin(EXPERTS, (size_t)rank_count(), (size_t)r + 1) > expert) return r;
}

/* One number that is not finite in one expert, on the rank that owns it. */
static void a_fault_is_named(void **state)
{
    (void)state;
    const cot_real bad[] = {(cot_real)NAN, (cot_real)INFINITY, (cot_real)-INFINITY};
    side s;
    create(&s, comm_of_world(1));
    for (size_t i = 0; i < 3; i += 2)
        for (size_t expert = 0; expert < EXPERTS; expert++) {
            const cot_param *param = cot_params_at(s.params, i);
            bool here = expert >= param->first_row && expert < param->first_row + param->rows;
            cot_real *at = param->value + (expert - param->first_row) * param->row_size;
            cot_real before = here ? *at : 0;
            if (here) *at = bad[expert % 3];
            cot_norms_measure(s.norms, cot_params_values(s.params));
            cot_norms_fault fault = {0};
            bool found = cot_norms_find_fault(s.norms, &fault);
            assert_on_every_rank(found && fault.param == param);
            assert_on_every_rank(fault.expert == expert && fault.rank == owner_of(expert));
            assert_on_every_rank(!isfinite(cot_norms_total(s.norms)));
            if (here) *at = before;
        }
    cot_norms_measure(s.norms, cot_params_values(s.params));
    cot_norms_fault fault;
    assert_on_every_rank(!cot_norms_find_fault(s.norms, &fault));
    destroy(&s);
}

static void an_expert_is_named_before_a_replicated_parameter(void **state)
{
    (void)state;
    side s;
    create(&s, comm_of_world(1));
    cot_params_find(s.params, "phi")->value[3] = (cot_real)NAN;
    cot_param *w2 = cot_params_find(s.params, "w2");
    if (w2->count > 0) w2->value[0] = (cot_real)NAN;
    cot_norms_measure(s.norms, cot_params_values(s.params));
    cot_norms_fault fault = {0};
    assert_on_every_rank(cot_norms_find_fault(s.norms, &fault));
    assert_on_every_rank(strcmp(fault.param->name, "w2") == 0);
    assert_on_every_rank(fault.expert == 0 && fault.rank == 0);
    destroy(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_bits_on_any_ranks),
    cmocka_unit_test(total_is_the_norm_of_all),
    cmocka_unit_test(a_fault_is_named),
    cmocka_unit_test(an_expert_is_named_before_a_replicated_parameter),
};

RUN_MPI_TESTS(tests)
