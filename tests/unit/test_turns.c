#include "run/turns.h"
#include "support/test.h"

enum { WAYS = 3, RUNS = TURNS * TURN_RUNS };

/* What each way takes, run by run, and how often it ran. */
typedef struct script {
    double usual[WAYS];
    double moments[WAYS][RUNS]; /* 0: as usual */
    size_t runs[WAYS];
} script;

static double play(void *context, size_t i)
{
    script *s = context;
    assert_true(s->runs[i] < RUNS);
    double moment = s->moments[i][s->runs[i]++];
    return moment > 0 ? moment : s->usual[i];
}

static void the_lowest_median_wins(void **state)
{
    (void)state;
    script s = {.usual = {3, 2, 2.5}};
    turn_taker ways[WAYS] = {{0}};
    s.moments[0][5] = 1; /* once the fastest of all */
    turns_take(WAYS, ways, play, &s);
    assert_int_equal(turns_fastest(ways, 0, WAYS), 1);
    assert_int_equal(turns_fastest(ways, 2, WAYS), 2);
    assert_int_equal(turns_fastest(ways, 0, 1), 0);
    assert_true(ways[0].typical == 3 && ways[0].fastest == 1);
    for (size_t i = 0; i < WAYS; i++) {
        assert_int_equal(s.runs[i], RUNS);
        assert_false(ways[i].is_out);
    }
}

/* The first run of a turn, on cold caches, is not among the times. */
static void first_runs_do_not_count(void **state)
{
    (void)state;
    script s = {.usual = {2, 3, 4}};
    turn_taker ways[WAYS] = {{0}};
    for (size_t turn = 0; turn < TURNS; turn++) s.moments[0][turn * TURN_RUNS] = 1000;
    turns_take(WAYS, ways, play, &s);
    assert_int_equal(ways[0].timed, TURN_TIMES);
    for (size_t k = 0; k < TURN_TIMES; k++) assert_true(ways[0].seconds[k] == 2);
}

/* Nobody is put out for a bad moment, which leaves a run of the turn as it should be. */
static void bad_moments_put_nobody_out(void **state)
{
    (void)state;
    script s = {.usual = {2, 3, 3}};
    turn_taker ways[WAYS] = {{.kind = 0}, {.kind = 1}, {.kind = 1}};
    s.moments[0][1] = s.moments[0][2] = 50; /* its median after a turn is one of these */
    turns_take(WAYS, ways, play, &s);
    assert_int_equal(s.runs[0], RUNS);
    assert_int_equal(turns_fastest(ways, 0, WAYS), 0);
}

static void what_takes_over_twice_as_long_is_out(void **state)
{
    (void)state;
    script s = {.usual = {1, 2.1, 2}};
    turn_taker ways[WAYS] = {{0}};
    turns_take(WAYS, ways, play, &s);
    assert_true(ways[1].is_out);
    assert_int_equal(s.runs[1], TURN_RUNS);
    assert_false(ways[2].is_out);
    assert_int_equal(s.runs[2], RUNS);
}

/* It is seen as soon as the faster one had its turn, whichever of the two is first. */
static void the_slow_one_may_be_first(void **state)
{
    (void)state;
    script s = {.usual = {9, 1, 1.5}};
    turn_taker ways[WAYS] = {{0}};
    turns_take(WAYS, ways, play, &s);
    assert_int_equal(s.runs[0], TURN_RUNS);
    assert_int_equal(turns_fastest(ways, 0, WAYS), 1);
}

/* Times of a spell in which all are slow are no reason to take what was put out before it. */
static void what_is_out_does_not_win(void **state)
{
    (void)state;
    script s = {.usual = {3, 2.1, 3.5}};
    turn_taker ways[WAYS] = {{0}};
    for (size_t k = 0; k < TURN_RUNS; k++) s.moments[0][k] = 1;
    turns_take(WAYS, ways, play, &s);
    assert_true(ways[1].is_out);
    assert_true(ways[0].typical > ways[1].typical);
    assert_int_equal(turns_fastest(ways, 0, WAYS), 0);
    assert_int_equal(turns_fastest(ways, 1, 2), 1); /* which is all there is */
}

/* With one way go those of its kind behind it, but only because of a way of another kind. */
static void a_kind_is_out_together(void **state)
{
    (void)state;
    script s = {.usual = {1, 9, 3}};
    turn_taker ways[WAYS] = {{.kind = 0}, {.kind = 1}, {.kind = 1}};
    turns_take(WAYS, ways, play, &s);
    assert_int_equal(s.runs[0], RUNS);
    assert_int_equal(s.runs[1], TURN_RUNS);
    assert_int_equal(s.runs[2], 0);
    assert_int_equal(turns_fastest(ways, 1, WAYS), 1);

    script t = {.usual = {3, 2, 9}};
    turn_taker again[WAYS] = {{.kind = 0}, {.kind = 1}, {.kind = 1}};
    turns_take(WAYS, again, play, &t);
    assert_int_equal(t.runs[0], RUNS);
    assert_int_equal(t.runs[1], RUNS);
    assert_int_equal(t.runs[2], TURN_RUNS);
}

/* A slow way says nothing of those in front of it. */
static void those_in_front_stay(void **state)
{
    (void)state;
    script s = {.usual = {1, 1.05, 2.2}};
    turn_taker ways[WAYS] = {{.kind = 0}, {.kind = 1}, {.kind = 1}};
    turns_take(WAYS, ways, play, &s);
    assert_false(ways[1].is_out);
    assert_int_equal(s.runs[1], RUNS);
    assert_int_equal(s.runs[2], TURN_RUNS);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_lowest_median_wins),
    cmocka_unit_test(first_runs_do_not_count),
    cmocka_unit_test(bad_moments_put_nobody_out),
    cmocka_unit_test(what_takes_over_twice_as_long_is_out),
    cmocka_unit_test(the_slow_one_may_be_first),
    cmocka_unit_test(what_is_out_does_not_win),
    cmocka_unit_test(a_kind_is_out_together),
    cmocka_unit_test(those_in_front_stay),
};

RUN_UNIT_TESTS(tests)
