#include "support/test.h"

#include <coterie/schedule.h>

#include <math.h>

/* All in double: equal to a few roundings. */
static const double tolerance = 1e-14;

static void constant(void **state)
{
    (void)state;
    cot_schedule schedule = {.kind = COT_CONSTANT};
    for (uint64_t step = 0; step < 100; step++)
        assert_true(cot_schedule_factor(&schedule, step, 100) == 1);
}

/* From 0 at the start: step s, which ends at s + 1, gets (s + 1) / warmup. */
static void warmup_is_linear(void **state)
{
    (void)state;
    for (int kind = COT_CONSTANT; kind <= COT_STEP; kind++) {
        cot_schedule schedule = {.kind = (cot_schedule_kind)kind,
                                 .warmup_steps = 10,
                                 .every = 1000,
                                 .factor = 0.5,
                                 .final = 0.25};
        for (uint64_t step = 0; step < 10; step++)
            assert_close_double(cot_schedule_factor(&schedule, step, 100), (double)(step + 1) / 10,
                                tolerance, 0);
        assert_true(cot_schedule_factor(&schedule, 9, 100) == 1);
        assert_true(cot_schedule_factor(&schedule, 10, 100) == 1);
    }
}

static void cosine(void **state)
{
    (void)state;
    cot_schedule schedule = {.kind = COT_COSINE, .warmup_steps = 20, .final = 0.1};
    const uint64_t total = 120;
    assert_close_double(cot_schedule_factor(&schedule, 20, total), 1, tolerance, 0);
    assert_close_double(cot_schedule_factor(&schedule, 70, total), 0.55, tolerance, 0);
    assert_close_double(cot_schedule_factor(&schedule, 45, total),
                        0.1 + 0.9 * 0.5 * (1 + sqrt(0.5)), tolerance, 0);
    assert_close_double(cot_schedule_factor(&schedule, total, total), 0.1, tolerance, 0);
    assert_close_double(cot_schedule_factor(&schedule, total + 50, total), 0.1, tolerance, 0);
    for (uint64_t step = 20; step < total; step++)
        assert_true(cot_schedule_factor(&schedule, step + 1, total) <
                    cot_schedule_factor(&schedule, step, total));
    /* A run that ends within the warm-up, and one with no warm-up. */
    assert_true(isfinite(cot_schedule_factor(&schedule, 25, 10)));
    schedule.warmup_steps = 0;
    assert_close_double(cot_schedule_factor(&schedule, 0, total), 1, tolerance, 0);
    assert_close_double(cot_schedule_factor(&schedule, 60, total), 0.55, tolerance, 0);
}

static void steps(void **state)
{
    (void)state;
    cot_schedule schedule = {.kind = COT_STEP, .warmup_steps = 5, .every = 10, .factor = 0.5};
    for (uint64_t step = 5; step < 100; step++)
        assert_close_double(cot_schedule_factor(&schedule, step, 100),
                            pow(0.5, (double)((step - 5) / 10)), tolerance, 0);
}

/* The factor is a function of the step alone: also far beyond what float or 32 bits count. */
static void far_steps(void **state)
{
    (void)state;
    cot_schedule schedule = {.kind = COT_COSINE};
    const uint64_t total = (uint64_t)1 << 40;
    assert_close_double(cot_schedule_factor(&schedule, total / 2, total), 0.5, 0, tolerance);
    assert_close_double(cot_schedule_factor(&schedule, total, total), 0, 0, tolerance);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(constant), cmocka_unit_test(warmup_is_linear), cmocka_unit_test(cosine),
    cmocka_unit_test(steps),    cmocka_unit_test(far_steps),
};

RUN_UNIT_TESTS(tests)
