#include "support/test.h"

#include <coterie/suggest.h>

static void test_edit_distance(void **state)
{
    (void)state;
    assert_int_equal(cot_edit_distance("", ""), 0);
    assert_int_equal(cot_edit_distance("abc", ""), 3);
    assert_int_equal(cot_edit_distance("", "abc"), 3);
    assert_int_equal(cot_edit_distance("train", "train"), 0);
    assert_int_equal(cot_edit_distance("trian", "train"), 1);
    assert_int_equal(cot_edit_distance("tain", "train"), 1);
    assert_int_equal(cot_edit_distance("strain", "train"), 1);
    assert_int_equal(cot_edit_distance("brain", "train"), 1);
    assert_int_equal(cot_edit_distance("kitten", "sitting"), 3);
    /* A swapped pair is not edited again. */
    assert_int_equal(cot_edit_distance("ca", "abc"), 3);
}

static void test_long_words_are_far(void **state)
{
    (void)state;
    char word[200];
    for (size_t i = 0; i + 1 < sizeof word; i++) word[i] = 'a';
    word[sizeof word - 1] = '\0';
    assert_int_equal(cot_edit_distance(word, word), 398);
    assert_null(cot_nearest(word, (const char *const[]){"train"}, 1));
}

static void test_nearest(void **state)
{
    (void)state;
    const char *const names[] = {"train", "eval", "inspect", "data", "help"};
    assert_string_equal(cot_nearest("trian", names, 5), "train");
    assert_string_equal(cot_nearest("inspekt", names, 5), "inspect");
    assert_string_equal(cot_nearest("evl", names, 5), "eval");
    assert_string_equal(cot_nearest("data", names, 5), "data");
    assert_null(cot_nearest("nonsense", names, 5));
    assert_null(cot_nearest("", names, 5));
    assert_null(cot_nearest("train", names, 0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_edit_distance),
    cmocka_unit_test(test_long_words_are_far),
    cmocka_unit_test(test_nearest),
};

RUN_UNIT_TESTS(tests)
