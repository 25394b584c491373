#include "support/test.h"

#include <coterie/clock.h>
#include <coterie/ledger.h>

#include <string.h>

/* The clock's numbers are seconds since the machine started, a difference of two rounds by less. */
static const double rounding = 1e-9;

/* Let the clock go on by a little, so that no stretch of time is empty. */
static void pass_time(void)
{
    double until = cot_seconds() + 1e-4;
    while (cot_seconds() < until) continue;
}

static cot_ledger_entry entry(const cot_ledger *ledger, size_t place, cot_phase phase)
{
    return cot_ledger_entries(ledger)[place * COT_PHASES + phase];
}

static void mark(cot_ledger *ledger, cot_phase phase)
{
    pass_time();
    cot_ledger_mark(ledger, phase);
}

static void send(cot_ledger *ledger, cot_phase phase, size_t bytes)
{
    pass_time();
    cot_ledger_sent(ledger, phase, bytes);
}

static void phases_add_up_to_the_time(void **state)
{
    (void)state;
    cot_ledger *ledger = cot_ledger_create(2);
    double before = cot_seconds();
    cot_ledger_start(ledger);
    double began = cot_seconds();
    for (int phase = 0; phase < COT_PHASES; phase++) mark(ledger, (cot_phase)phase);
    double ended = cot_seconds();
    mark(ledger, COT_PHASE_EXPERTS);
    double after = cot_seconds();
    double sum = 0;
    for (int phase = 0; phase < COT_PHASES; phase++) {
        double seconds = cot_ledger_seconds(ledger, (cot_phase)phase);
        assert_true(seconds >= 1e-4);
        sum += seconds;
    }
    assert_true(sum <= after - before + rounding && sum >= ended - began + 1e-4 - rounding);
    assert_true(cot_ledger_seconds(ledger, COT_PHASE_EXPERTS) >= 2e-4);
    cot_ledger_clear(ledger);
    assert_true(cot_ledger_seconds(ledger, COT_PHASE_EXPERTS) == 0);
    cot_ledger_destroy(&ledger);
    assert_null(ledger);
}

static void layers_are_told_apart(void **state)
{
    (void)state;
    cot_ledger *ledger = cot_ledger_create(2);
    assert_int_equal(cot_ledger_layers(ledger), 2);
    cot_ledger_start(ledger);
    mark(ledger, COT_PHASE_DATA);
    cot_ledger_enter(ledger, 0);
    mark(ledger, COT_PHASE_ROUTE);
    cot_ledger_enter(ledger, 1);
    mark(ledger, COT_PHASE_ROUTE);
    mark(ledger, COT_PHASE_ROUTE);
    cot_ledger_leave(ledger);
    mark(ledger, COT_PHASE_HEAD);
    cot_ledger_enter(ledger, 7); /* one that it has no entries for */
    mark(ledger, COT_PHASE_ROUTE);
    for (size_t place = 0; place <= 2; place++) {
        assert_true((entry(ledger, place, COT_PHASE_DATA).seconds > 0) == (place == 2));
        assert_true((entry(ledger, place, COT_PHASE_HEAD).seconds > 0) == (place == 2));
        assert_true(entry(ledger, place, COT_PHASE_ROUTE).seconds >= (place == 1 ? 2e-4 : 1e-4));
    }
    double sum = 0;
    for (size_t place = 0; place <= 2; place++)
        sum += entry(ledger, place, COT_PHASE_ROUTE).seconds;
    assert_true(sum == cot_ledger_seconds(ledger, COT_PHASE_ROUTE));
    cot_ledger_destroy(&ledger);
}

static void what_is_sent_is_exposed(void **state)
{
    (void)state;
    cot_ledger *ledger = cot_ledger_create(1);
    cot_ledger_start(ledger);
    cot_ledger_enter(ledger, 0);
    send(ledger, COT_PHASE_EXCHANGE, 1000);
    send(ledger, COT_PHASE_EXCHANGE, 24);
    cot_ledger_entry exchange = entry(ledger, 0, COT_PHASE_EXCHANGE);
    assert_true(exchange.bytes == 1024 && exchange.exposed == exchange.seconds);
    mark(ledger, COT_PHASE_EXCHANGE); /* of the phase, and not in communication */
    cot_ledger_entry more = entry(ledger, 0, COT_PHASE_EXCHANGE);
    assert_true(more.seconds > exchange.seconds && more.exposed == exchange.exposed);
    assert_true(more.bytes == 1024 && more.hidden == 0);
    assert_true(entry(ledger, 1, COT_PHASE_EXCHANGE).bytes == 0);
    cot_ledger_destroy(&ledger);
}

static void work_hides_what_is_under_way(void **state)
{
    (void)state;
    cot_ledger *ledger = cot_ledger_create(1);
    cot_ledger_start(ledger);
    cot_ledger_enter(ledger, 0);
    mark(ledger, COT_PHASE_DISPATCH);
    cot_ledger_launched(ledger, COT_PHASE_EXCHANGE);
    cot_ledger_launched(ledger, COT_PHASE_EXCHANGE);
    mark(ledger, COT_PHASE_EXPERTS);
    double hidden = entry(ledger, 0, COT_PHASE_EXPERTS).seconds;
    assert_true(entry(ledger, 0, COT_PHASE_EXCHANGE).hidden == hidden); /* two at once count once */
    send(ledger, COT_PHASE_EXCHANGE, 8);
    cot_ledger_landed(ledger, COT_PHASE_EXCHANGE);
    assert_true(entry(ledger, 0, COT_PHASE_EXCHANGE).hidden == hidden); /* waiting hides nothing */
    mark(ledger, COT_PHASE_EXPERTS); /* the second is still under way */
    hidden = entry(ledger, 0, COT_PHASE_EXPERTS).seconds;
    assert_close_double(entry(ledger, 0, COT_PHASE_EXCHANGE).hidden, hidden, 1e-12, 0);
    send(ledger, COT_PHASE_EXCHANGE, 8);
    cot_ledger_landed(ledger, COT_PHASE_EXCHANGE);
    mark(ledger, COT_PHASE_COMBINE);
    assert_close_double(entry(ledger, 0, COT_PHASE_EXCHANGE).hidden, hidden, 1e-12, 0);
    assert_true(entry(ledger, 0, COT_PHASE_EXCHANGE).bytes == 16);
    assert_true(entry(ledger, 0, COT_PHASE_SUMS).hidden == 0);
    cot_ledger_destroy(&ledger);
}

/* ---- the course of events ---- */

static void step_of_two_phases(cot_ledger *ledger)
{
    cot_ledger_start(ledger);
    mark(ledger, COT_PHASE_DATA);
    mark(ledger, COT_PHASE_DATA);
    cot_ledger_enter(ledger, 0);
    mark(ledger, COT_PHASE_EXPERTS);
    cot_ledger_leave(ledger);
    cot_ledger_finish(ledger);
}

static void events_are_nested_in_steps(void **state)
{
    (void)state;
    size_t count = 1;
    cot_ledger *ledger = cot_ledger_create(1);
    step_of_two_phases(ledger);
    (void)cot_ledger_events(ledger, &count);
    assert_int_equal(count, 0); /* not asked for yet */
    cot_ledger_trace(ledger, 2, 100);
    for (int i = 0; i < 3; i++) step_of_two_phases(ledger);
    const cot_ledger_event *events = cot_ledger_events(ledger, &count);
    assert_int_equal(count, 2 * 3); /* marks that follow each other are one; the third is no more */
    for (const cot_ledger_event *e = events; e < events + count; e += 3) {
        assert_true(e[0].phase == COT_PHASE_DATA && e[0].layer == -1);
        assert_true(e[1].phase == COT_PHASE_EXPERTS && e[1].layer == 0);
        assert_true(e[2].phase == COT_PHASES && e[2].layer == -1);
        assert_true(e[0].begin == e[2].begin && e[0].end == e[1].begin && e[1].end == e[2].end);
        assert_true(e[0].end - e[0].begin >= 2e-4 - rounding);
        assert_false(e[0].aside || e[1].aside || e[2].aside);
    }
    assert_true(events[3].begin >= events[2].end);
    cot_ledger_destroy(&ledger);
}

static void steps_that_do_not_fit_are_left_out_whole(void **state)
{
    (void)state;
    size_t count = 0;
    cot_ledger *ledger = cot_ledger_create(1);
    for (size_t capacity = 0; capacity < 10; capacity++) {
        cot_ledger_trace(ledger, 5, capacity);
        for (int i = 0; i < 4; i++) step_of_two_phases(ledger);
        (void)cot_ledger_events(ledger, &count);
        assert_int_equal(count, capacity / 3 * 3);
    }
    cot_ledger_destroy(&ledger);
}

/* Of a step that broke off nothing is left. */
static void steps_that_do_not_end_are_left_out(void **state)
{
    (void)state;
    size_t count = 0;
    cot_ledger *ledger = cot_ledger_create(1);
    cot_ledger_trace(ledger, 5, 100);
    cot_ledger_start(ledger);
    mark(ledger, COT_PHASE_UPDATE);
    step_of_two_phases(ledger);
    const cot_ledger_event *events = cot_ledger_events(ledger, &count);
    assert_int_equal(count, 3);
    assert_int_equal(events[0].phase, COT_PHASE_DATA);
    cot_ledger_destroy(&ledger);
}

static void what_is_under_way_is_an_event_beside(void **state)
{
    (void)state;
    size_t count = 0;
    cot_ledger *ledger = cot_ledger_create(1);
    cot_ledger_trace(ledger, 1, 100);
    cot_ledger_start(ledger);
    mark(ledger, COT_PHASE_DISPATCH);
    cot_ledger_launched(ledger, COT_PHASE_EXCHANGE);
    mark(ledger, COT_PHASE_EXPERTS);
    cot_ledger_launched(ledger, COT_PHASE_EXCHANGE);
    send(ledger, COT_PHASE_EXCHANGE, 8);
    cot_ledger_landed(ledger, COT_PHASE_EXCHANGE);
    cot_ledger_landed(ledger, COT_PHASE_EXCHANGE);
    cot_ledger_finish(ledger);
    const cot_ledger_event *e = cot_ledger_events(ledger, &count);
    assert_int_equal(count, 5);
    assert_true(e[3].aside && e[3].phase == COT_PHASE_EXCHANGE);
    assert_true(e[3].begin == e[1].begin && e[3].end >= e[2].end);
    cot_ledger_destroy(&ledger);
}

static void no_ledger_is_fine(void **state)
{
    (void)state;
    cot_ledger *none = NULL;
    cot_ledger_start(NULL);
    cot_ledger_enter(NULL, 0);
    cot_ledger_leave(NULL);
    cot_ledger_mark(NULL, COT_PHASE_DATA);
    cot_ledger_sent(NULL, COT_PHASE_EXCHANGE, 1);
    cot_ledger_launched(NULL, COT_PHASE_EXCHANGE);
    cot_ledger_landed(NULL, COT_PHASE_EXCHANGE);
    cot_ledger_finish(NULL);
    cot_ledger_destroy(&none);
}

static void phases_have_names_and_kinds(void **state)
{
    (void)state;
    size_t communicating = 0;
    size_t of_layer = 0;
    for (int i = 0; i < COT_PHASES; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(cot_phase_name((cot_phase)i), cot_phase_name((cot_phase)j));
        communicating += cot_phase_communicates((cot_phase)i);
        of_layer += cot_phase_is_of_layer((cot_phase)i);
    }
    assert_int_equal(communicating, 2);
    assert_int_equal(of_layer, 5);
    assert_true(cot_phase_communicates(COT_PHASE_SUMS) && cot_phase_is_of_layer(COT_PHASE_COMBINE));
    assert_false(cot_phase_is_of_layer(COT_PHASE_DATA) || cot_phase_is_of_layer(COT_PHASE_HEAD));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(phases_add_up_to_the_time),
    cmocka_unit_test(layers_are_told_apart),
    cmocka_unit_test(what_is_sent_is_exposed),
    cmocka_unit_test(work_hides_what_is_under_way),
    cmocka_unit_test(events_are_nested_in_steps),
    cmocka_unit_test(steps_that_do_not_fit_are_left_out_whole),
    cmocka_unit_test(steps_that_do_not_end_are_left_out),
    cmocka_unit_test(what_is_under_way_is_an_event_beside),
    cmocka_unit_test(no_ledger_is_fine),
    cmocka_unit_test(phases_have_names_and_kinds),
};

RUN_UNIT_TESTS(tests)
