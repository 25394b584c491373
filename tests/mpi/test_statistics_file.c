#include "support/checkpoint_state.h"
#include "support/comm.h"
#include "support/files.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/shard.h>
#include <coterie/statistics_file.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LAYERS = 2, EXPERTS = 3, KEEPS = 2, SAMPLES = 23, BATCH = 8 };

/* ---- a small catalog ---- */

typedef struct contents {
    int64_t step;
    double loss, seconds;
    double mass[LAYERS * EXPERTS];
    double shares[LAYERS * KEEPS * EXPERTS];
    cot_catalog catalog;
} contents;

static const int64_t keeps[KEEPS] = {1, 3};
static const cot_statistics_info training = {
    .kind = "training", .split = "test", .origin = &test_info};
static const cot_statistics_info study = {
    .kind = "study", .split = "test", .selectors = "combine random", .origin = &test_info};

static void list(contents *c)
{
    const cot_dimension dimensions[] = {
        {.name = "layer", .size = LAYERS, .type = COT_H5_INT64, .meaning = "Soft MoE layer"},
        {.name = "keep",
         .size = KEEPS,
         .type = COT_H5_INT64,
         .values = keeps,
         .meaning = "experts kept"},
        {.name = "expert", .size = EXPERTS, .type = COT_H5_INT64, .meaning = "expert"}};
    const cot_variable variables[] = {
        {"step", "", "1", "optimizer steps done", COT_H5_INT64, &c->step},
        {"loss", "", "nat", "mean loss", COT_H5_FLOAT64, &c->loss},
        {"combine_mass", "layer,expert", "1", "mean combine mass", COT_H5_FLOAT64, c->mass},
        {"top_share", "layer,keep,expert", "1", "share of samples", COT_H5_FLOAT64, c->shares},
        {"timing/seconds", "", "s", "time of the evaluation", COT_H5_FLOAT64, &c->seconds}};
    c->catalog = (cot_catalog){0};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++)
        cot_catalog_add_dimension(&c->catalog, &dimensions[i]);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        cot_catalog_add(&c->catalog, &variables[i]);
}

/* The record of a step: each number a function of its place and the step alone; the time is this
 * moment's. */
static void fill(contents *c, int64_t step)
{
    static int calls;
    c->step = step;
    c->loss = 1.0 / (double)(step + 1);
    c->seconds = 0.5 + ++calls;
    for (int i = 0; i < LAYERS * EXPERTS; i++) c->mass[i] = (double)(step * 100 + i) / 7;
    for (int i = 0; i < LAYERS * KEEPS * EXPERTS; i++) c->shares[i] = (double)(step * 1000 + i) / 9;
    c->shares[1] = NAN;
    list(c);
}

static void append_with(const cot_comm *ranks, const char *path, int64_t step)
{
    contents c;
    fill(&c, step);
    assert_int_equal(cot_statistics_append(ranks, path, &training, &c.catalog), COT_OK);
}

static void append_step(const char *path, int64_t step)
{
    append_with(comm, path, step);
}

static void assert_same(const char *left, const char *right, bool same)
{
    char digests[2][COT_DIGEST_SIZE];
    assert_digest(left, digests[0]);
    assert_digest(right, digests[1]);
    assert_on_every_rank((strcmp(digests[0], digests[1]) == 0) == same);
}

/* ---- a study ---- */

static const cot_variable row_variables[] = {
    {"label", "sample", "1", "class", COT_H5_INT64, NULL},
    {"expert_mass", "sample,layer,expert", "1", "combine mass", COT_H5_FLOAT32, NULL}};

static void list_rows(const contents *c, cot_catalog *rows)
{
    const cot_dimension sample = {
        .name = "sample", .size = SAMPLES, .type = COT_H5_INT64, .meaning = "sample of the split"};
    *rows = (cot_catalog){0};
    cot_catalog_add_dimension(rows, &sample);
    cot_catalog_add_dimension(rows, cot_catalog_dimension(&c->catalog, "layer"));
    cot_catalog_add_dimension(rows, cot_catalog_dimension(&c->catalog, "expert"));
    for (size_t i = 0; i < 2; i++) cot_catalog_add(rows, &row_variables[i]);
}

/* The rows of one batch that this rank has. */
static cot_status write_batch(const cot_comm *ranks, cot_statistics_file *file, size_t first,
                              size_t count)
{
    int64_t labels[BATCH];
    float masses[BATCH * LAYERS * EXPERTS];
    const size_t begin = cot_shard_begin(count, (size_t)ranks->size, (size_t)ranks->rank);
    const size_t end = cot_shard_begin(count, (size_t)ranks->size, (size_t)ranks->rank + 1);
    for (size_t i = begin; i < end; i++) {
        labels[i - begin] = (int64_t)(first + i) * 3;
        for (size_t k = 0; k < LAYERS * EXPERTS; k++)
            masses[(i - begin) * LAYERS * EXPERTS + k] = (float)((first + i) * 10 + k) / 3;
    }
    COT_TRY(cot_statistics_write_rows(file, "label", first + begin, end - begin, labels));
    return cot_statistics_write_rows(file, "expert_mass", first + begin, end - begin, masses);
}

static cot_status write_study(const cot_comm *ranks, const char *path, bool keep)
{
    contents c;
    cot_catalog rows;
    cot_statistics_file *file = NULL;
    fill(&c, 5);
    list_rows(&c, &rows);
    COT_TRY(cot_statistics_begin(ranks, path, &rows, BATCH, &file));
    for (size_t first = 0; first < SAMPLES; first += BATCH) {
        cot_status status =
            write_batch(ranks, file, first, SAMPLES - first < BATCH ? SAMPLES - first : BATCH);
        (void)status; /* finish says it again */
    }
    return cot_statistics_finish(&file, &study, keep ? &c.catalog : NULL);
}

static void rows_of_all_ranks_come_back(void **unused)
{
    (void)unused;
    float masses[SAMPLES * LAYERS * EXPERTS] = {0};
    int64_t labels[SAMPLES] = {0};
    char *axes = NULL;
    cot_h5_file *file = NULL;
    char *path = path_of("study.h5");
    assert_int_equal(write_study(comm, path, true), COT_OK);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/label", COT_H5_INT64, 0, SAMPLES, labels), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/expert_mass", COT_H5_FLOAT32, 0, SAMPLES, masses),
                     COT_OK);
    assert_int_equal(cot_h5_axes_of(file, "/expert_mass", &axes), COT_OK);
    assert_string_equal(axes, "sample,layer,expert");
    cot_h5_close(&file);
    for (size_t i = 0; i < SAMPLES; i++) {
        assert_int_equal(labels[i], 3 * i);
        for (size_t k = 0; k < LAYERS * EXPERTS; k++)
            assert_true(masses[i * LAYERS * EXPERTS + k] == (float)(i * 10 + k) / 3);
    }
    cot_free(axes);
    cot_free(path);
}

/* What all ranks write together has the digest of what one rank writes alone. */
static void digest_does_not_know_the_ranks(void **unused)
{
    (void)unused;
    char name[32];
    snprintf(name, sizeof name, "alone%d.h5", comm->rank);
    cot_comm *self = comm_of_self();
    char *together = path_of("together.h5");
    char *alone = path_of(name);
    assert_int_equal(write_study(comm, together, true), COT_OK);
    assert_int_equal(write_study(self, alone, true), COT_OK);
    assert_same(together, alone, true);
    cot_comm_destroy(&self);
    cot_free(alone);
    cot_free(together);
}

static void giving_up_leaves_nothing(void **unused)
{
    (void)unused;
    cot_statistics_file *none = NULL;
    char *path = path_of("given-up.h5");
    assert_int_equal(write_study(comm, path, false), COT_OK);
    assert_false(exists(path, ""));
    assert_false(exists(path, ".partial"));
    assert_int_equal(cot_statistics_finish(&none, NULL, NULL), COT_OK);
    cot_free(path);
}

/* ---- appending ---- */

static void a_record_comes_back(void **unused)
{
    (void)unused;
    contents c;
    double mass[2 * LAYERS * EXPERTS];
    int64_t records[2];
    char *text = NULL;
    cot_h5_file *file = NULL;
    char *path = path_of("two.h5");
    append_step(path, 3);
    append_step(path, 6);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/record", COT_H5_INT64, 0, 2, records), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/combine_mass", COT_H5_FLOAT64, 0, 2, mass), COT_OK);
    assert_true(records[0] == 0 && records[1] == 1);
    fill(&c, 3);
    assert_memory_equal(mass, c.mass, sizeof c.mass);
    fill(&c, 6);
    assert_memory_equal(mass + LAYERS * EXPERTS, c.mass, sizeof c.mass);
    assert_int_equal(cot_h5_axes_of(file, "/timing/seconds", &text), COT_OK);
    assert_string_equal(text, "record");
    cot_free(text);
    assert_int_equal(cot_h5_get_text(file, "/combine_mass", "units", &text), COT_OK);
    assert_string_equal(text, "1");
    cot_free(text);
    cot_h5_close(&file);
    assert_false(exists(path, ".partial"));
    cot_free(path);
}

/* The chunks of small variables hold hundreds of records: enough of them to need a second one. */
static void many_records_keep_their_order(void **unused)
{
    (void)unused;
    enum { RECORDS = 60 };
    struct stat status;
    int64_t steps[RECORDS];
    double shares[RECORDS * LAYERS * KEEPS * EXPERTS];
    cot_h5_file *file = NULL;
    char *path = path_of("many.h5");
    for (int64_t step = 0; step < RECORDS; step++) append_step(path, step);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/step", COT_H5_INT64, 0, RECORDS, steps), COT_OK);
    assert_int_equal(cot_h5_read_rows(file, "/top_share", COT_H5_FLOAT64, 0, RECORDS, shares),
                     COT_OK);
    cot_h5_close(&file);
    for (int64_t i = 0; i < RECORDS; i++) {
        contents c;
        fill(&c, i);
        assert_int_equal(steps[i], i);
        assert_memory_equal(shares + i * LAYERS * KEEPS * EXPERTS, c.shares, sizeof c.shares);
    }
    assert_int_equal(stat(path, &status), 0);
    if (status.st_size > 100000) fail_msg("%ld bytes", (long)status.st_size);
    cot_free(path);
}

/* Whoever appends, and however often the file is cut and grown again. */
static void cut_and_grown_again_it_is_the_same(void **unused)
{
    (void)unused;
    char name[32];
    snprintf(name, sizeof name, "straight%d.h5", comm->rank);
    cot_comm *self = comm_of_self();
    char *straight = path_of(name);
    char *path = path_of("cut.h5");
    for (int64_t step = 2; step <= 10; step += 2) append_with(self, straight, step);
    for (int64_t step = 2; step <= 8; step += 2) append_step(path, step);
    assert_int_equal(cot_statistics_truncate(comm, path, 5), COT_OK);
    for (int64_t step = 6; step <= 10; step += 2) append_step(path, step);
    assert_same(path, straight, true);
    assert_int_equal(cot_statistics_truncate(comm, path, 10), COT_OK);
    assert_same(path, straight, true);
    assert_int_equal(cot_statistics_truncate(comm, path, 9), COT_OK);
    assert_same(path, straight, false);
    append_step(path, 10);
    assert_same(path, straight, true);
    cot_comm_destroy(&self);
    cot_free(straight);
    cot_free(path);
}

static void without_records_there_is_no_file(void **unused)
{
    (void)unused;
    char *path = path_of("none.h5");
    assert_int_equal(cot_statistics_truncate(comm, path, 5), COT_OK);
    append_step(path, 6);
    assert_int_equal(cot_statistics_truncate(comm, path, 5), COT_OK);
    assert_false(exists(path, ""));
    append_step(path, 6);
    assert_true(exists(path, ""));
    cot_free(path);
}

/* A reader that has the file open goes on reading what it opened. */
static void a_reader_is_not_disturbed(void **unused)
{
    (void)unused;
    double losses[2];
    cot_h5_shape shape = {0};
    cot_h5_file *file = NULL;
    char *path = path_of("read.h5");
    append_step(path, 3);
    append_step(path, 6);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    MPI_Barrier(comm->world);
    append_step(path, 9);
    assert_int_equal(cot_statistics_truncate(comm, path, 3), COT_OK);
    assert_int_equal(cot_h5_shape_of(file, "/loss", &shape), COT_OK);
    assert_int_equal(shape.dims[0], 2);
    assert_int_equal(cot_h5_read_rows(file, "/loss", COT_H5_FLOAT64, 0, 2, losses), COT_OK);
    assert_true(losses[0] == 0.25 && losses[1] == 1.0 / 7);
    cot_h5_close(&file);
    assert_int_equal(cot_h5_open(path, &file), COT_OK);
    assert_int_equal(cot_h5_shape_of(file, "/loss", &shape), COT_OK);
    assert_int_equal(shape.dims[0], 1);
    cot_h5_close(&file);
    cot_free(path);
}

/* ---- what does not fit ---- */

static void assert_refused(const char *path, const contents *c)
{
    char before[COT_DIGEST_SIZE];
    char after[COT_DIGEST_SIZE];
    assert_digest(path, before);
    MPI_Barrier(comm->world);
    assert_int_equal(cot_statistics_append(comm, path, &training, &c->catalog), COT_E_DATA);
    assert_digest(path, after);
    assert_on_every_rank(strcmp(before, after) == 0);
    assert_false(exists(path, ".partial"));
}

static void other_variables_are_refused(void **unused)
{
    (void)unused;
    static const int64_t other_keeps[] = {1, 2};
    contents c;
    char *path = path_of("other.h5");
    append_step(path, 3);
    fill(&c, 6);
    c.catalog.variable_count--; /* the file has one more */
    assert_refused(path, &c);
    fill(&c, 6);
    c.catalog.variables[1].name = "accuracy"; /* and lacks one */
    assert_refused(path, &c);
    fill(&c, 6);
    c.catalog.dimensions[2].size--;
    assert_refused(path, &c);
    fill(&c, 6);
    c.catalog.dimensions[1].values = other_keeps;
    assert_refused(path, &c);
    fill(&c, 6);
    c.catalog.variables[2].axes = "expert,layer";
    assert_refused(path, &c);
    fill(&c, 6);
    c.catalog.variables[3].axes = "keep,layer,expert"; /* both are of length 2 */
    assert_refused(path, &c);
    fill(&c, 6);
    c.catalog.variables[1].type = COT_H5_INT64;
    assert_refused(path, &c);
    assert_int_equal(write_study(comm, path, true), COT_OK);
    fill(&c, 6);
    assert_refused(path, &c);
    cot_free(path);
}

/* A run whose program records something else by now goes on all the same. */
static void what_does_not_fit_makes_way(void **unused)
{
    (void)unused;
    contents c;
    char *path = path_of("way.h5");
    fill(&c, 3);
    assert_int_equal(cot_statistics_make_way(comm, path, &c.catalog), COT_OK);
    append_step(path, 3);
    fill(&c, 6);
    assert_int_equal(cot_statistics_make_way(comm, path, &c.catalog), COT_OK);
    assert_true(exists(path, ""));
    assert_false(exists(path, ".damaged"));
    c.catalog.variable_count--;
    assert_int_equal(cot_statistics_make_way(comm, path, &c.catalog), COT_OK);
    assert_false(exists(path, ""));
    assert_true(exists(path, ".damaged"));
    assert_int_equal(cot_statistics_append(comm, path, &training, &c.catalog), COT_OK);
    cot_free(path);
}

static void damaged_files_are_set_aside(void **unused)
{
    (void)unused;
    contents c;
    double needle = 301.0 / 7; /* mass[1] of step 3 */
    char *path = path_of("damaged.h5");
    char *good = path_of("good.h5");
    append_step(path, 3);
    append_step(path, 6);
    if (comm->rank == 0) flip_byte(path, &needle, sizeof needle, 2);
    MPI_Barrier(comm->world);
    assert_int_equal(cot_statistics_truncate(comm, path, 6), COT_OK);
    assert_false(exists(path, ""));
    assert_true(exists(path, ".damaged"));
    append_step(path, 6);
    append_step(good, 6);
    assert_same(path, good, true);
    if (comm->rank == 0) assert_int_equal(truncate(path, 1000), 0);
    MPI_Barrier(comm->world);
    fill(&c, 9);
    assert_int_equal(cot_statistics_append(comm, path, &training, &c.catalog), COT_E_DATA);
    assert_false(exists(path, ".partial"));
    cot_free(good);
    cot_free(path);
}

static void unwritable_places_are_refused(void **unused)
{
    (void)unused;
    contents c;
    char *path = path_of("file.h5");
    char *below = cot_strprintf("%s/below.h5", path);
    append_step(path, 3);
    fill(&c, 3);
    assert_int_equal(cot_statistics_append(comm, below, &training, &c.catalog), COT_E_CREATE);
    assert_int_equal(cot_statistics_write(comm, below, &study, &c.catalog), COT_E_CREATE);
    assert_int_equal(write_study(comm, below, true), COT_E_CREATE);
    cot_free(below);
    cot_free(path);
}

static const struct CMUnitTest tests[] = {
    TEST_ON_COMM(rows_of_all_ranks_come_back),
    TEST_ON_COMM(digest_does_not_know_the_ranks),
    TEST_ON_COMM(giving_up_leaves_nothing),
    TEST_ON_COMM(a_record_comes_back),
    TEST_ON_COMM(many_records_keep_their_order),
    TEST_ON_COMM(cut_and_grown_again_it_is_the_same),
    TEST_ON_COMM(without_records_there_is_no_file),
    TEST_ON_COMM(a_reader_is_not_disturbed),
    TEST_ON_COMM(other_variables_are_refused),
    TEST_ON_COMM(what_does_not_fit_makes_way),
    TEST_ON_COMM(damaged_files_are_set_aside),
    TEST_ON_COMM(unwritable_places_are_refused),
};

RUN_MPI_TESTS(tests)
