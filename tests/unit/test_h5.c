#include "support/files.h"
#include "support/test.h"

#include <coterie/h5.h>
#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 6, WIDTH = 5 };

/* ---- a file with some of everything ---- */

typedef struct variant {
    size_t chunk_rows; /* of the first data set */
    bool backwards;    /* objects are created in the other order */
    uint64_t step;     /* an attribute that counts */
    const char *host;  /* one that does not */
    double time;       /* below /timing */
    float last;        /* the last element of /params/w */
} variant;

static const variant plain = {.chunk_rows = 1, .step = 3, .host = "here", .time = 1.5, .last = 2};

static void write_weights(cot_h5_file *file, const variant *v)
{
    float w[ROWS * WIDTH];
    for (int i = 0; i < ROWS * WIDTH; i++) w[i] = (float)i / 4;
    w[ROWS * WIDTH - 1] = v->last;
    cot_h5_shape shape = {COT_H5_FLOAT32, 2, {ROWS, WIDTH}, v->chunk_rows, false};
    assert_int_equal(cot_h5_create_dataset(file, "/params/w", &shape), COT_OK);
    assert_int_equal(cot_h5_write_rows(file, "/params/w", COT_H5_FLOAT32, 0, 2, w), COT_OK);
    assert_int_equal(
        cot_h5_write_rows(file, "/params/w", COT_H5_FLOAT32, 2, ROWS - 2, w + 2 * WIDTH), COT_OK);
    assert_int_equal(cot_h5_set_text(file, "/params/w", "axes", "E,D"), COT_OK);
}

static void write_counts(cot_h5_file *file)
{
    int64_t counts[] = {-1, 0, INT64_MAX};
    cot_h5_shape shape = {COT_H5_INT64, 1, {3}, 0, true};
    assert_int_equal(cot_h5_create_dataset(file, "/params/counts", &shape), COT_OK);
    assert_int_equal(cot_h5_write_rows(file, "/params/counts", COT_H5_INT64, 0, 3, counts), COT_OK);
}

static void write_timing(cot_h5_file *file, double time)
{
    cot_h5_shape shape = {COT_H5_FLOAT64, 1, {1}, 0, false};
    assert_int_equal(cot_h5_create_group(file, "/timing"), COT_OK);
    assert_int_equal(cot_h5_create_dataset(file, "/timing/seconds", &shape), COT_OK);
    assert_int_equal(cot_h5_write_rows(file, "/timing/seconds", COT_H5_FLOAT64, 0, 1, &time),
                     COT_OK);
}

static void write_file(const char *path, const variant *v)
{
    cot_h5_file *file = NULL;
    assert_int_equal(cot_h5_create(NULL, path, &file), COT_OK);
    if (v->backwards) write_timing(file, v->time);
    assert_int_equal(cot_h5_create_group(file, "/params"), COT_OK);
    if (v->backwards) write_counts(file);
    write_weights(file, v);
    if (!v->backwards) write_counts(file);
    if (!v->backwards) write_timing(file, v->time);
    assert_int_equal(cot_h5_set_uint(file, "/", "step", v->step), COT_OK);
    assert_int_equal(cot_h5_set_text(file, "/", "host", v->host), COT_OK);
    assert_int_equal(cot_h5_set_double(file, "/", "loss", 0.1), COT_OK);
    assert_int_equal(cot_h5_finish(&file), COT_OK);
    assert_null(file);
}

/* ---- reading and writing ---- */

static void rows_come_back(void **unused)
{
    (void)unused;
    float w[3 * WIDTH];
    double wide[WIDTH];
    cot_h5_shape shape = {0};
    cot_h5_file *file = NULL;
    char *path = path_of("rows.h5");
    write_file(path, &plain);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_shape_of(file, "/params/w", &shape), COT_OK);
    assert_int_equal(shape.type, COT_H5_FLOAT32);
    assert_true(shape.axis_count == 2 && shape.dims[0] == ROWS && shape.dims[1] == WIDTH);
    assert_true(shape.chunk_rows == 1 && !shape.extensible);
    assert_int_equal(cot_h5_read_rows(file, "/params/w", COT_H5_FLOAT32, 1, 3, w), COT_OK);
    for (int i = 0; i < 3 * WIDTH; i++) assert_true(w[i] == (float)(i + WIDTH) / 4);
    assert_int_equal(cot_h5_read_rows(file, "/params/w", COT_H5_FLOAT64, 0, 1, wide), COT_OK);
    assert_true(wide[3] == 0.75);
    assert_int_equal(cot_h5_read_rows(file, "/params/w", COT_H5_FLOAT32, ROWS, 0, w), COT_OK);
    assert_failure(cot_h5_read_rows(file, "/params/w", COT_H5_FLOAT32, 5, 2, w), COT_E_DATA,
                   "/params/w has no rows");
    assert_int_equal(cot_h5_shape_of(file, "/params/counts", &shape), COT_OK);
    assert_true(shape.extensible && shape.type == COT_H5_INT64);
    assert_failure(cot_h5_read_rows(file, "/params/x", COT_H5_FLOAT32, 0, 1, w), COT_E_DATA,
                   "/params/x");
    cot_h5_close(&file);
    cot_h5_close(&file);
    cot_free(path);
}

static void every_type_comes_back(void **unused)
{
    (void)unused;
    static const cot_h5_type types[] = {COT_H5_FLOAT32, COT_H5_FLOAT64, COT_H5_INT32,
                                        COT_H5_INT64,   COT_H5_UINT8,   COT_H5_UINT64};
    unsigned char data[16];
    unsigned char found[16];
    char name[32];
    cot_h5_file *file = NULL;
    char *path = path_of("types.h5");
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i + 1); /* no NaN in any type */
    assert_int_equal(cot_h5_create(NULL, path, &file), COT_OK);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        cot_h5_shape shape = {types[i], 1, {2}, 0, false};
        snprintf(name, sizeof name, "/%s", cot_h5_type_name(types[i]));
        assert_int_equal(cot_h5_create_dataset(file, name, &shape), COT_OK);
        assert_int_equal(cot_h5_write_rows(file, name, types[i], 0, 2, data), COT_OK);
    }
    assert_int_equal(cot_h5_finish(&file), COT_OK);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        cot_h5_shape shape = {0};
        snprintf(name, sizeof name, "/%s", cot_h5_type_name(types[i]));
        assert_int_equal(cot_h5_shape_of(file, name, &shape), COT_OK);
        assert_int_equal(shape.type, types[i]);
        assert_int_equal(cot_h5_read_rows(file, name, types[i], 0, 2, found), COT_OK);
        assert_memory_equal(found, data, 2 * cot_h5_type_size(types[i]));
    }
    cot_h5_close(&file);
    cot_free(path);
}

static void attributes_come_back(void **unused)
{
    (void)unused;
    enum { LONG_TEXT = 30000 }; /* above 4 KiB, where HDF5 would otherwise leave out the checksum */
    char *text = cot_alloc(LONG_TEXT + 1, 1);
    char *found = NULL;
    uint64_t number = 0;
    double real = 0;
    cot_h5_file *file = NULL;
    char *path = path_of("attributes.h5");
    memset(text, 'x', LONG_TEXT);
    assert_int_equal(cot_h5_create(NULL, path, &file), COT_OK);
    assert_int_equal(cot_h5_set_text(file, "/", "recipe", text), COT_OK);
    assert_int_equal(cot_h5_set_text(file, "/", "empty", ""), COT_OK);
    assert_int_equal(cot_h5_set_uint(file, "/", "checksum", UINT64_MAX), COT_OK);
    assert_int_equal(cot_h5_set_double(file, "/", "loss", 0.1), COT_OK);
    for (char name[] = "a"; name[0] <= 'z'; name[0]++)
        assert_int_equal(cot_h5_set_uint(file, "/", name, 1), COT_OK);
    assert_int_equal(cot_h5_finish(&file), COT_OK);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_get_text(file, "/", "recipe", &found), COT_OK);
    assert_string_equal(found, text);
    cot_free(found);
    assert_int_equal(cot_h5_get_text(file, "/", "empty", &found), COT_OK);
    assert_string_equal(found, "");
    cot_free(found);
    assert_int_equal(cot_h5_get_uint(file, "/", "checksum", &number), COT_OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(cot_h5_get_double(file, "/", "loss", &real), COT_OK);
    assert_true(real == 0.1);
    assert_failure(cot_h5_get_uint(file, "/", "loss", &number), COT_E_DATA,
                   "'loss' of / is not one uint64");
    assert_failure(cot_h5_get_uint(file, "/", "none", &number), COT_E_DATA,
                   "no readable attribute 'none'");
    cot_h5_close(&file);
    flip_byte(path, "xxxxxxxx", 8, 9000);
    cot_status status = cot_h5_open(path, &file);
    if (status == COT_OK) status = cot_h5_get_text(file, "/", "recipe", &found);
    assert_failure(status, COT_E_DATA, path);
    cot_h5_close(&file);
    cot_free(text);
    cot_free(path);
}

static void names_are_sorted(void **unused)
{
    (void)unused;
    cot_h5_names names = {0};
    cot_h5_file *file = NULL;
    char *path = path_of("names.h5");
    write_file(path, &plain);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_members(file, "/params", &names), COT_OK);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[0], "counts");
    assert_string_equal(names.names[1], "w");
    cot_h5_names_free(&names);
    assert_int_equal(cot_h5_attributes(file, "/", &names), COT_OK);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.names[2], "step");
    cot_h5_names_free(&names);
    assert_int_equal(cot_h5_kind_of(file, "/"), COT_H5_GROUP);
    assert_int_equal(cot_h5_kind_of(file, "/params/w"), COT_H5_DATASET);
    assert_int_equal(cot_h5_kind_of(file, "/other"), COT_H5_MISSING);
    assert_failure(cot_h5_members(file, "/other", &names), COT_E_DATA, "/other");
    cot_h5_close(&file);
    cot_free(path);
}

static void chunks_stay_below_the_limit(void **unused)
{
    (void)unused;
    size_t chunk[COT_H5_MAX_AXES];
    cot_h5_choose_chunk(&(cot_h5_shape){COT_H5_REAL, 3, {512, 100, 10}, 1, false}, chunk);
    assert_true(chunk[0] == 1 && chunk[1] == 100 && chunk[2] == 10);
    cot_h5_choose_chunk(&(cot_h5_shape){COT_H5_REAL, 2, {512, 100}, 0, false}, chunk);
    assert_true(chunk[0] == 512 && chunk[1] == 100);
    /* Replicated, 20 GB: rows are cut. One expert of 16 GiB: within the row. */
    cot_h5_choose_chunk(&(cot_h5_shape){COT_H5_REAL, 2, {100000, 50000}, 0, false}, chunk);
    assert_true(chunk[1] == 50000 && chunk[0] * chunk[1] * 4 <= 1u << 30 && chunk[0] > 2000);
    cot_h5_choose_chunk(&(cot_h5_shape){COT_H5_REAL, 3, {8, 65536, 65536}, 1, false}, chunk);
    assert_true(chunk[0] == 1 && chunk[1] == 4096 && chunk[2] == 65536);
}

static void wrong_places_are_refused(void **unused)
{
    (void)unused;
    cot_h5_file *file = NULL;
    char *path = path_of("empty.h5");
    char *below = cot_strprintf("%s/below.h5", path);
    FILE *empty = fopen(path, "w");
    fclose(empty);
    assert_failure(cot_h5_open(path, &file), COT_E_DATA, "file signature not found");
    assert_failure(cot_h5_open(below, &file), COT_E_NOINPUT, below);
    assert_failure(cot_h5_open(test_folder(), &file), COT_E_NOINPUT, "is not a file");
    assert_failure(cot_h5_create(NULL, below, &file), COT_E_CREATE, below);
    assert_null(file);
    cot_free(below);
    cot_free(path);
}

/* ---- digest ---- */

static void assert_same_digest(const variant *v, bool same)
{
    char one[COT_DIGEST_SIZE];
    char other[COT_DIGEST_SIZE];
    char *paths[] = {path_of("one.h5"), path_of("other.h5")};
    write_file(paths[0], &plain);
    write_file(paths[1], v);
    assert_digest(paths[0], one);
    assert_digest(paths[1], other);
    assert_int_equal(strlen(one), COT_DIGEST_SIZE - 1);
    assert_true((strcmp(one, other) == 0) == same);
    for (int i = 0; i < 2; i++) cot_free(paths[i]);
}

static void digest_is_of_the_content(void **unused)
{
    (void)unused;
    variant v = plain;
    assert_same_digest(&v, true);
    v.chunk_rows = 0;
    v.backwards = true;
    v.host = "elsewhere";
    v.time = 99;
    assert_same_digest(&v, true);
    v = plain;
    v.step = 4;
    assert_same_digest(&v, false);
    v = plain;
    v.last = -0.0f;
    assert_same_digest(&v, false);
}

static void damage_is_noticed_everywhere(void **unused)
{
    (void)unused;
    char *path = path_of("damaged.h5");
    write_file(path, &plain);
    assert_true(assert_damage_shows(path, 3) > 0.25); /* the rest is room that HDF5 left empty */
    cot_free(path);
}

static void truncation_is_noticed_everywhere(void **unused)
{
    (void)unused;
    enum { STEPS = 40 };
    struct stat status;
    char hex[COT_DIGEST_SIZE];
    char *path = path_of("cut.h5");
    write_file(path, &plain);
    assert_int_equal(stat(path, &status), 0);
    for (long i = STEPS - 1; i >= 0; i--) {
        assert_int_equal(truncate(path, status.st_size * i / STEPS), 0);
        assert_failure(digest_of(path, hex), COT_E_DATA, path);
    }
    cot_free(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_come_back),
    cmocka_unit_test(every_type_comes_back),
    cmocka_unit_test(attributes_come_back),
    cmocka_unit_test(names_are_sorted),
    cmocka_unit_test(chunks_stay_below_the_limit),
    cmocka_unit_test(wrong_places_are_refused),
    cmocka_unit_test(digest_is_of_the_content),
    cmocka_unit_test(damage_is_noticed_everywhere),
    cmocka_unit_test(truncation_is_noticed_everywhere),
};

RUN_UNIT_TESTS(tests)
