#include "run/operations.h"
#include "run/trainer.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/bench.h>
#include <coterie/forecast.h>

#include <string.h>

static const char recipe_text[] = "model: {experts: 12, slots: 2, expert_hidden: 5, "
                                  "patch_height: 14, patch_width: 14, expert_bias: true}\n"
                                  "data: {source: glyphs, train_samples: 300, test_samples: 40}\n"
                                  "train: {batch: 64}\n";

static cot_recipe *recipe_with(size_t count, const char *const *overrides)
{
    cot_recipe *recipe = NULL;
    assert_int_equal(cot_recipe_parse(recipe_text, "test", count, overrides, &recipe), COT_OK);
    return recipe;
}

static void parts_now(long parts[COT_MEMORY_PARTS])
{
    cot_memory_mark(COT_MEMORY_OTHER);
    for (int i = 0; i < COT_MEMORY_PARTS; i++) parts[i] = cot_memory_of((cot_memory_part)i);
}

/* A rank of this run takes what its sketch says, part by part, and does the same. */
static void a_sketch_takes_what_a_rank_takes(const cot_comm *world, const char *plan,
                                             const char *shared)
{
    const char *overrides[] = {plan, shared};
    long before[COT_MEMORY_PARTS];
    long real[COT_MEMORY_PARTS];
    long sketched[COT_MEMORY_PARTS];
    operations lists[2];
    cot_recipe *recipe = recipe_with(2, overrides);
    parts_now(before);
    trainer t = {.recipe = recipe};
    assert_int_equal(trainer_create(&t, world), COT_OK);
    trainer_stats_create(&t);
    parts_now(real);
    operations_of_step(t.experiment, world->size, &lists[0]);
    for (int i = 0; i < COT_MEMORY_PARTS; i++) real[i] -= before[i];

    parts_now(before);
    trainer s = {.recipe = recipe};
    cot_sketch_place place = {world->size, world->rank, 1};
    cot_memory_sketch(true);
    assert_int_equal(trainer_sketch(&s, t.experiment->dataset, &place), COT_OK);
    parts_now(sketched);
    operations_of_step(s.experiment, world->size, &lists[1]);
    trainer_destroy(&s);
    cot_memory_sketch(false);
    trainer_destroy(&t);
    cot_recipe_destroy(&recipe);
    for (int i = 0; i < COT_MEMORY_PARTS; i++) {
        /* Small objects differ: communicators, the recipe's text; malloc rounds each by 16 bytes.
         */
        const long small = 16384;
        long differs = sketched[i] - before[i] - real[i];
        if (i == COT_MEMORY_DATA) continue;
        if (differs < -small || differs > small)
            fail_msg("%s: %ld bytes, but %ld in a sketch", cot_memory_part_name((cot_memory_part)i),
                     real[i], sketched[i] - before[i]);
    }
    assert_int_equal(lists[0].count, lists[1].count);
    assert_int_equal(lists[0].chunks, lists[1].chunks);
    assert_int_equal(lists[0].most_chunks, lists[1].most_chunks);
    for (size_t i = 0; i < lists[0].count; i++) {
        const operation *a = &lists[0].list[i];
        const operation *b = &lists[1].list[i];
        assert_true(a->phase == b->phase && a->stretch == b->stretch && a->kernel == b->kernel &&
                    a->m == b->m && a->n == b->n && a->k == b->k && a->count == b->count);
    }
}

static void sketches(void **state)
{
    (void)state;
    cot_comm *world = comm_of_world(1);
    a_sketch_takes_what_a_rank_takes(world, "parallel.exchange=slots",
                                     "parallel.shared_memory=true");
    a_sketch_takes_what_a_rank_takes(world, "parallel.exchange=slots",
                                     "parallel.shared_memory=false");
    a_sketch_takes_what_a_rank_takes(world, "parallel.exchange=tokens",
                                     "parallel.shared_memory=true");
    a_sketch_takes_what_a_rank_takes(world, "parallel.exchange=tokens",
                                     "parallel.shared_memory=false");
    cot_comm_destroy(&world);
}

/* Products of all ranks together, by slots, are those that bench counts as needed. */
static void products_add_up(void **state)
{
    (void)state;
    const char *const cases[][2] = {{"model.embed=0", "model.layers=1"},
                                    {"model.embed=24", "model.layers=2"},
                                    {"router.freeze=true", "model.layers=1"},
                                    {"router.uniform_combine=true", "model.layers=1"},
                                    {"train.accumulate=4", "model.layers=1"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int ranks = 1; ranks <= 4; ranks *= 2) {
            const char *overrides[] = {cases[i][0], cases[i][1], "parallel.exchange=slots"};
            cot_recipe *recipe = recipe_with(3, overrides);
            cot_dataset *dataset = NULL;
            double products = 0;
            double wanted = 0;
            assert_int_equal(cot_dataset_create(&recipe->data, &dataset), COT_OK);
            for (int rank = 0; rank < ranks; rank++) {
                operations list;
                cot_experiment *ex = NULL;
                cot_sketch_place place = {ranks, rank, 1};
                assert_int_equal(cot_experiment_sketch(recipe, dataset, &place, &ex), COT_OK);
                operations_of_step(ex, ranks, &list);
                products += 2 * operations_products(&list);
                cot_flop flop =
                    cot_flop_of_step(&recipe->model, cot_model_shape(ex->model), 196, 10, 64);
                wanted = flop.embed + flop.layers + flop.head;
                cot_experiment_destroy(&ex);
            }
            /* With a frozen router nothing wants the gradients of weights and slot inputs, but they
             * are computed all the same. */
            bool frozen = recipe->model.router.freeze;
            if (frozen)
                assert_true(products >= wanted);
            else
                assert_close_double(products, wanted, 1e-12, 0);
            cot_dataset_destroy(&dataset);
            cot_recipe_destroy(&recipe);
        }
}

/* Messages: slots of all experts elsewhere, four times a layer; tokens to all. */
static void bytes_follow_from_the_shapes(void **state)
{
    (void)state;
    const char *overrides[] = {"parallel.shared_memory=false"};
    cot_recipe *recipe = recipe_with(1, overrides);
    cot_choice choice;
    assert_int_equal(cot_forecast_run(recipe, &(cot_site){4, 2, NULL}, &choice), COT_OK);
    const cot_forecast *slots = &choice.exchanges[COT_PLAN_SLOTS];
    const cot_forecast *tokens = &choice.exchanges[COT_PLAN_TOKENS];
    const double b = 16;
    const double T = 4;
    const double D = 196;
    const double away = 3.0 / 4;
    assert_close_double(slots->bytes[COT_PHASE_EXCHANGE], 4 * sizeof(cot_real) * b * 24 * away * D,
                        1e-12, 0);
    const double columns = 24.0 / 4 * D; /* of the gradient of Phi, to all */
    assert_close_double(tokens->bytes[COT_PHASE_EXCHANGE],
                        3 * sizeof(cot_real) * (b * (3 * T * D + 4 * T) + columns), 1e-12, 0);
    /* What needs no sum by tokens: half of all, and half of that, there and back. */
    assert_close_double(slots->bytes[COT_PHASE_SUMS] - tokens->bytes[COT_PHASE_SUMS],
                        2 * 0.75 * 24 * D * sizeof(cot_real), 1e-12, 0);
    assert_false(choice.has_best);
    assert_false(slots->shares_memory);
    assert_int_equal(choice.asked.settings.exchange, COT_PLAN_SLOTS);
    cot_recipe_destroy(&recipe);
}

/* Parts of a batch use the same memory one after the other, and are told. */
static void parts_share_memory(void **state)
{
    (void)state;
    const char *const cut[] = {"train.accumulate=1", "train.accumulate=4", "train.accumulate=0"};
    const size_t parts[] = {1, 4, 0};                              /* 0: as many as suit it */
    const double rows_each = 256.0 * 256 * 196 * sizeof(cot_real); /* of slots, in or out */
    for (size_t i = 0; i < 3; i++) {
        const char *overrides[] = {cut[i],
                                   "train.batch=256",
                                   "model.experts=128",
                                   "model.expert_hidden=64",
                                   "parallel.exchange=slots",
                                   "train.epochs=1"};
        cot_recipe *recipe = recipe_with(6, overrides);
        cot_choice choice;
        assert_int_equal(cot_forecast_run(recipe, &(cot_site){1, 1, NULL}, &choice), COT_OK);
        const cot_forecast *slots = &choice.exchanges[COT_PLAN_SLOTS];
        assert_int_equal(slots->parts, choice.asked.parts);
        if (parts[i] > 0)
            assert_int_equal(slots->parts, parts[i]);
        else
            assert_true(slots->parts > 1);
        /* Tables of experts come on top, less than a hundredth. */
        assert_close_double((double)slots->memory[COT_MEMORY_SLOTS],
                            2 * rows_each / (double)slots->parts, 1e-2, 0);
        cot_recipe_destroy(&recipe);
    }
}

/* ---- overlap ---- */

/* A machine where kernels take `work` and messages `bytes` seconds for each unit of their size. */
static cot_machine even_machine(double work, double bytes)
{
    cot_machine machine = {.cores = 2, .ranks = 2, .nodes = 2, .base_bytes = 1};
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) {
        cot_rates *rates = &machine.rates[kernel];
        for (int axis = 0; axis < COT_MACHINE_AXES; axis++) {
            rates->counts[axis] = 1;
            rates->axes[axis][0] = 1;
        }
        rates->seconds = cot_alloc(1, sizeof *rates->seconds);
        rates->seconds[0] = kernel >= COT_KERNEL_MESSAGE ? bytes : work;
    }
    return machine;
}

/* Seconds of the phase `exchange`, by slots, on two ranks. */
static double exposed(const char *chunks, int nodes, double work, double bytes, double *experts)
{
    const char *overrides[] = {"parallel.exchange=slots", "parallel.shared_memory=false", chunks};
    cot_recipe *recipe = recipe_with(3, overrides);
    cot_machine machine = even_machine(work, bytes);
    cot_choice choice;
    if (nodes == 1) machine.cores = 1;
    assert_int_equal(cot_forecast_run(recipe, &(cot_site){2, nodes, &machine}, &choice), COT_OK);
    assert_true(choice.asked.has_seconds);
    *experts = choice.asked.seconds[COT_PHASE_EXPERTS];
    cot_machine_free(&machine);
    cot_recipe_destroy(&recipe);
    return choice.asked.seconds[COT_PHASE_EXCHANGE];
}

/* What goes on while experts compute is not counted: never more than there is of either, and
 * nothing where ranks take turns. */
static void experts_hide_messages(void **state)
{
    (void)state;
    const double work = 1e-9;
    const double messages = 4 * sizeof(cot_real) * 32.0 * 12 * 196; /* of four legs, bytes */
    const double tight = 1e-9;
    double experts = 0;
    /* Little work: all of it hides as much, but that of the first leg back in one chunk. */
    double much = exposed("parallel.chunks=4", 2, work, 1e-3, &experts);
    assert_close_double(messages * 1e-3 - much, experts, 0, tight * messages);
    double one = exposed("parallel.chunks=1", 2, work, 1e-3, &experts);
    assert_true(messages * 1e-3 - one > 0.1 * experts);
    assert_true(messages * 1e-3 - one < 0.3 * experts);
    /* Much work: the first chunk's way there is left, and forward the last one's way home. */
    double least = exposed("parallel.chunks=2", 2, work, 1e-15, &experts);
    assert_close_double(least, messages * 1e-15 * 3 / (4 * 2), tight, 0);
    least = exposed("parallel.chunks=6", 2, work, 1e-15, &experts);
    assert_close_double(least, messages * 1e-15 * 3 / (4 * 6), tight, 0);
    assert_close_double(exposed("parallel.chunks=100", 2, work, 1e-15, &experts), least, tight, 0);
    /* As many as the tuner may take: 4 of an owner's 6. */
    assert_close_double(exposed("parallel.chunks=0", 2, work, 1e-15, &experts),
                        messages * 1e-15 * 3 / (4 * 4), tight, 0);
    /* Two ranks on one core. */
    assert_close_double(exposed("parallel.chunks=4", 1, work, 1e-3, &experts), 2 * messages * 1e-3,
                        tight, 0);
}

/* A run far larger than this machine is planned without its memory. */
static void large_runs_take_nothing_here(void **state)
{
    (void)state;
    const char *overrides[] = {"model.expert_hidden=200000", "model.embed=4096",
                               "model.experts=1000", "train.batch=65536", "parallel.grains=1024"};
    cot_recipe *recipe = recipe_with(5, overrides);
    cot_choice choice;
    size_t before = cot_memory_resident();
    assert_int_equal(cot_forecast_run(recipe, &(cot_site){64, 8, NULL}, &choice), COT_OK);
    assert_true(choice.asked.memory_total > (size_t)100 << 30);
    assert_true(cot_memory_resident() < before + ((size_t)256 << 20));
    cot_recipe_destroy(&recipe);
}

static void replicas_must_divide(void **state)
{
    (void)state;
    const char *overrides[] = {"parallel.expert_replicas=3"};
    cot_recipe *recipe = recipe_with(1, overrides);
    cot_choice choice;
    assert_int_equal(cot_forecast_run(recipe, &(cot_site){4, 1, NULL}, &choice), COT_E_CONFIG);
    assert_non_null(strstr(cot_failure(), "expert_replicas"));
    cot_failure_clear();
    cot_recipe_destroy(&recipe);
}

/* Left to measurement, the plan is one of both, on every rank the same, and the reason is told. */
static void check_chosen_by_timing(const char *shared)
{
    const char *overrides[] = {"parallel.reproducible=false", "parallel.exchange=auto", shared};
    cot_recipe *recipe = recipe_with(3, overrides);
    cot_comm *world = comm_of_world(1);
    cot_experiment *ex = NULL;
    assert_int_equal(cot_experiment_create(world, recipe, &ex), COT_OK);
    bool settled = ex->batching.plan == COT_PLAN_SLOTS || ex->batching.plan == COT_PLAN_TOKENS;
    assert_on_every_rank(settled && strstr(ex->why, "as timed here") != NULL);
    assert_int_equal(cot_comm_agree_text(world, "the plan", cot_experiment_exchange(ex)), COT_OK);
    cot_experiment_destroy(&ex);
    cot_comm_destroy(&world);
    cot_recipe_destroy(&recipe);
}

/* By messages, slots are tried in several numbers of chunks. */
static void chosen_by_timing(void **state)
{
    (void)state;
    check_chosen_by_timing("parallel.shared_memory=true");
    check_chosen_by_timing("parallel.shared_memory=false");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sketches),
    cmocka_unit_test(products_add_up),
    cmocka_unit_test(bytes_follow_from_the_shapes),
    cmocka_unit_test(parts_share_memory),
    cmocka_unit_test(experts_hide_messages),
    cmocka_unit_test(large_runs_take_nothing_here),
    cmocka_unit_test(replicas_must_divide),
    cmocka_unit_test(chosen_by_timing),
};

RUN_MPI_TESTS(tests)
