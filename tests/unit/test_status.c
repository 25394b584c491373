#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/status.h>

#include <string.h>

static void the_first_failure_is_kept(void **state)
{
    (void)state;
    assert_null(cot_failure());
    assert_int_equal(cot_fail(COT_E_DATA, "%s: line %d", "file", 3), COT_E_DATA);
    assert_int_equal(cot_fail(COT_E_IO, "a consequence"), COT_E_IO);
    assert_string_equal(cot_failure(), "file: line 3");
    cot_failure_clear();
    assert_null(cot_failure());
    assert_int_equal(cot_fail(COT_E_CONFIG, "the next"), COT_E_CONFIG);
    assert_failure(COT_E_CONFIG, COT_E_CONFIG, "the next");
    assert_null(cot_failure());
}

static void a_long_message_is_cut(void **state)
{
    (void)state;
    char *name = cot_strprintf("%5000d", 1);
    assert_int_equal(cot_fail(COT_E_DATA, "start%s", name), COT_E_DATA);
    assert_true(strlen(cot_failure()) > 500 && strlen(cot_failure()) < 5000);
    assert_failure(COT_E_DATA, COT_E_DATA, "start ");
    cot_free(name);
}

static cot_status two_steps(cot_status first, int *reached)
{
    COT_TRY(first);
    *reached = 1;
    return COT_OK;
}

static void try_returns_early(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(two_steps(COT_E_IO, &reached), COT_E_IO);
    assert_int_equal(reached, 0);
    assert_int_equal(two_steps(COT_OK, &reached), COT_OK);
    assert_int_equal(reached, 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_first_failure_is_kept),
    cmocka_unit_test(a_long_message_is_cut),
    cmocka_unit_test(try_returns_early),
};

RUN_UNIT_TESTS(tests)
