#include "support/files.h"
#include "support/test.h"

#include <coterie/h5.h>
#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>

enum { EXPERTS = 3, RECORDS = 2 };

static void create(cot_h5_file *file, const char *path, const cot_h5_shape *shape, const void *data)
{
    assert_int_equal(cot_h5_create_dataset(file, path, shape), COT_OK);
    assert_int_equal(cot_h5_write_rows(file, path, shape->type, 0, shape->dims[0], data), COT_OK);
}

static void create_dimension(cot_h5_file *file, const char *path, size_t size)
{
    static const int64_t counted[] = {0, 1, 2};
    cot_h5_shape shape = {.type = COT_H5_INT64,
                          .axis_count = 1,
                          .dims = {size},
                          .chunk_rows = 4,
                          .extensible = strcmp(path, "/record") == 0};
    create(file, path, &shape, counted);
    assert_int_equal(cot_h5_make_dimension(file, path), COT_OK);
}

/* A file with the dimensions record and expert, mass over both, and one data set in a group; what
 * the digest must not see is `backwards`. */
static void write_file(const char *path, const char *axes, bool backwards)
{
    static const double mass[] = {0.5, 0.25, 0.125, 1, 2, 3};
    const cot_h5_shape shape = {.type = COT_H5_FLOAT64,
                                .axis_count = 2,
                                .dims = {RECORDS, EXPERTS},
                                .chunk_rows = 4,
                                .extensible = true};
    const cot_h5_shape line = {.type = COT_H5_FLOAT64,
                               .axis_count = 1,
                               .dims = {RECORDS},
                               .extensible = true,
                               .chunk_rows = 1};
    cot_h5_file *file = NULL;
    assert_int_equal(cot_h5_create(NULL, path, &file), COT_OK);
    if (backwards) create_dimension(file, "/other", RECORDS);
    if (backwards) create_dimension(file, "/expert", EXPERTS);
    create_dimension(file, "/record", RECORDS);
    if (!backwards) create_dimension(file, "/expert", EXPERTS);
    if (!backwards) create_dimension(file, "/other", RECORDS);
    create(file, "/mass", &shape, mass);
    assert_int_equal(cot_h5_name_axes(file, "/mass", axes), COT_OK);
    assert_int_equal(cot_h5_create_group(file, "/group"), COT_OK);
    create(file, "/group/sum", &line, mass);
    assert_int_equal(cot_h5_name_axes(file, "/group/sum", "record"), COT_OK);
    assert_int_equal(cot_h5_set_text(file, "/mass", "units", "1"), COT_OK);
    assert_int_equal(cot_h5_finish(&file), COT_OK);
}

static void assert_axes(const cot_h5_file *file, const char *dataset, const char *expected)
{
    char *axes = NULL;
    assert_int_equal(cot_h5_axes_of(file, dataset, &axes), COT_OK);
    assert_string_equal(axes, expected);
    cot_free(axes);
}

static void axes_have_the_names_given(void **unused)
{
    (void)unused;
    cot_h5_file *file = NULL;
    char *none = NULL;
    char *path = path_of("named.h5");
    write_file(path, "record,expert", false);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_axes(file, "/mass", "record,expert");
    assert_axes(file, "/group/sum", "record");
    assert_axes(file, "/expert", "");
    assert_failure(cot_h5_axes_of(file, "/nothing", &none), COT_E_DATA, "/nothing");
    cot_h5_close(&file);
    cot_free(path);
}

/* The attributes that tie data sets to dimensions are none of our kinds, and no error either. */
static void references_are_of_another_kind(void **unused)
{
    (void)unused;
    cot_h5_file *file = NULL;
    cot_h5_value value = {0};
    char *path = path_of("kinds.h5");
    write_file(path, "record,expert", false);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_get_value(file, "/mass", "DIMENSION_LIST", &value), COT_OK);
    assert_int_equal(value.type, COT_H5_OTHER);
    cot_h5_value_free(&value);
    assert_int_equal(cot_h5_get_value(file, "/record", "REFERENCE_LIST", &value), COT_OK);
    assert_int_equal(value.type, COT_H5_OTHER);
    cot_h5_value_free(&value);
    cot_h5_close(&file);
    cot_free(path);
}

static void unknown_dimensions_are_refused(void **unused)
{
    (void)unused;
    cot_h5_file *file = NULL;
    const cot_h5_shape line = {.type = COT_H5_INT64, .axis_count = 1, .dims = {2}};
    static const int64_t data[] = {7, 8};
    char *path = path_of("unknown.h5");
    assert_int_equal(cot_h5_create(NULL, path, &file), COT_OK);
    create(file, "/x", &line, data);
    assert_failure(cot_h5_name_axes(file, "/x", "nothing"), COT_E_IO, "/x cannot be given");
    assert_failure(cot_h5_name_axes(file, "/y", "x"), COT_E_IO, "/y");
    assert_failure(cot_h5_make_dimension(file, "/y"), COT_E_IO, "/y");
    assert_failure(cot_h5_resize(file, "/y", 3), COT_E_IO, "/y");
    assert_failure(cot_h5_resize(file, "/x", 3), COT_E_IO, "/x"); /* it is not extensible */
    assert_int_equal(cot_h5_finish(&file), COT_OK);
    cot_free(path);
}

/* ---- a copy that goes on ---- */

static void extend(const char *path, const char *original)
{
    static const double more[] = {4, 5, 6};
    static const int64_t number = 2;
    cot_h5_file *file = NULL;
    assert_int_equal(cot_h5_create_copy(path, original, &file), COT_OK);
    assert_string_equal(cot_h5_path(file), path);
    assert_int_equal(cot_h5_resize(file, "/record", 3), COT_OK);
    assert_int_equal(cot_h5_resize(file, "/mass", 3), COT_OK);
    assert_int_equal(cot_h5_write_rows(file, "/record", COT_H5_INT64, 2, 1, &number), COT_OK);
    assert_int_equal(cot_h5_write_rows(file, "/mass", COT_H5_FLOAT64, 2, 1, more), COT_OK);
    assert_int_equal(cot_h5_set_text(file, "/mass", "units", "something longer"), COT_OK);
    assert_int_equal(cot_h5_finish(&file), COT_OK);
}

static void a_copy_goes_on(void **unused)
{
    (void)unused;
    double mass[9] = {0};
    char *units = NULL;
    cot_h5_file *file = NULL;
    char *original = path_of("original.h5");
    char *path = path_of("copy.h5");
    write_file(original, "record,expert", false);
    extend(path, original);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/mass", COT_H5_FLOAT64, 0, 3, mass), COT_OK);
    assert_true(mass[2] == 0.125 && mass[3] == 1 && mass[6] == 4 && mass[8] == 6);
    assert_int_equal(cot_h5_get_text(file, "/mass", "units", &units), COT_OK);
    assert_string_equal(units, "something longer");
    assert_axes(file, "/mass", "record,expert");
    cot_h5_close(&file);
    assert_int_equal(cot_h5_open(original, &file), COT_OK);
    assert_failure(cot_h5_read_rows(file, "/mass", COT_H5_FLOAT64, 0, 3, mass), COT_E_DATA,
                   "has no rows");
    cot_h5_close(&file);
    cot_free(units);
    cot_free(path);
    cot_free(original);
}

static void what_cannot_be_copied_is_refused(void **unused)
{
    (void)unused;
    cot_h5_file *file = NULL;
    char *nothing = path_of("nothing.h5");
    char *path = path_of("refused.h5");
    char *below = cot_strprintf("%s/below.h5", path);
    assert_failure(cot_h5_create_copy(path, nothing, &file), COT_E_NOINPUT, nothing);
    FILE *text = fopen(path, "w");
    fputs("a text\n", text);
    fclose(text);
    assert_failure(cot_h5_create_copy(nothing, path, &file), COT_E_DATA, path);
    assert_failure(cot_h5_create_copy(below, path, &file), COT_E_CREATE, below);
    assert_null(file);
    cot_free(below);
    cot_free(path);
    cot_free(nothing);
}

/* ---- digest ---- */

static void digest_sees_names_and_no_places(void **unused)
{
    (void)unused;
    char digests[3][COT_DIGEST_SIZE];
    static const char *const axes[] = {"record,expert", "record,expert", "other,expert"};
    for (int i = 0; i < 3; i++) {
        char *path = cot_strprintf("%s/digest%d.h5", test_folder(), i);
        write_file(path, axes[i], i == 1);
        assert_digest(path, digests[i]);
        cot_free(path);
    }
    assert_string_equal(digests[0], digests[1]);
    assert_string_not_equal(digests[0], digests[2]);
}

static void damage_is_noticed(void **unused)
{
    (void)unused;
    char *path = path_of("damaged.h5");
    write_file(path, "record,expert", false);
    assert_true(assert_damage_shows(path, 5) > 0);
    cot_free(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(axes_have_the_names_given),
    cmocka_unit_test(references_are_of_another_kind),
    cmocka_unit_test(unknown_dimensions_are_refused),
    cmocka_unit_test(a_copy_goes_on),
    cmocka_unit_test(what_cannot_be_copied_is_refused),
    cmocka_unit_test(digest_sees_names_and_no_places),
    cmocka_unit_test(damage_is_noticed),
};

RUN_UNIT_TESTS(tests)
