#include "support/test.h"

#include <coterie/status.h>
#include <coterie/variable.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t keeps[] = {1, 2, 4};
static const int64_t other_keeps[] = {1, 2, 3};
static const cot_dimension expert = {"expert", 5, COT_H5_INT64, NULL, "expert"};
static const cot_dimension keep = {"keep", 3, COT_H5_INT64, keeps, "experts kept"};
static const double numbers[5];
static const cot_variable mass = {"combine_mass", "expert", "1", "mass", COT_H5_FLOAT64, numbers};

static void finds_what_was_added(void **state)
{
    (void)state;
    cot_catalog catalog = {0};
    assert_null(cot_catalog_dimension(&catalog, "expert"));
    assert_null(cot_catalog_variable(&catalog, "combine_mass"));
    cot_catalog_add_dimension(&catalog, &expert);
    cot_catalog_add_dimension(&catalog, &keep);
    cot_catalog_add(&catalog, &mass);
    assert_int_equal(catalog.dimension_count, 2);
    assert_int_equal(catalog.variable_count, 1);
    assert_ptr_equal(cot_catalog_dimension(&catalog, "keep")->values, keeps);
    assert_ptr_equal(cot_catalog_variable(&catalog, "combine_mass")->data, numbers);
    assert_null(cot_catalog_dimension(&catalog, "exper"));
    assert_null(cot_catalog_variable(&catalog, "combine_mass_by_class"));
}

/* Two modules may bring the same dimension. */
static void the_same_dimension_is_there_once(void **state)
{
    (void)state;
    const int64_t copy[] = {1, 2, 4};
    cot_dimension again = keep;
    cot_catalog catalog = {0};
    again.values = copy;
    cot_catalog_add_dimension(&catalog, &expert);
    cot_catalog_add_dimension(&catalog, &keep);
    cot_catalog_add_dimension(&catalog, &again);
    cot_catalog_add_dimension(&catalog, &expert);
    assert_int_equal(catalog.dimension_count, 2);
}

static void add_other_size(cot_catalog *catalog)
{
    cot_dimension other = expert;
    other.size = 6;
    cot_catalog_add_dimension(catalog, &other);
}

static void add_other_values(cot_catalog *catalog)
{
    cot_dimension other = keep;
    other.values = other_keeps;
    cot_catalog_add_dimension(catalog, &other);
}

static void add_variable_again(cot_catalog *catalog)
{
    cot_catalog_add(catalog, &mass);
}

static int exit_code_of(void (*add)(cot_catalog *catalog))
{
    pid_t child = fork();
    if (child == 0) {
        cot_catalog catalog = {0};
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(1);
        cot_catalog_add_dimension(&catalog, &expert);
        cot_catalog_add_dimension(&catalog, &keep);
        cot_catalog_add(&catalog, &mass);
        add(&catalog);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void contradictions_are_bugs(void **state)
{
    (void)state;
    assert_int_equal(exit_code_of(add_other_size), COT_E_INTERNAL);
    assert_int_equal(exit_code_of(add_other_values), COT_E_INTERNAL);
    assert_int_equal(exit_code_of(add_variable_again), COT_E_INTERNAL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(finds_what_was_added),
    cmocka_unit_test(the_same_dimension_is_there_once),
    cmocka_unit_test(contradictions_are_bugs),
};

RUN_UNIT_TESTS(tests)
