/* A statistics file onto a disk that fails on one rank only, at every place where it can. */
#include "support/checkpoint_state.h"
#include "support/comm.h"
#include "support/fault.h"
#include "support/files.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/statistics_file.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXPERTS = 40, ROWS = 64, BATCH = 16 };

static char *path;

static const cot_statistics_info info = {.kind = "training", .split = "test", .origin = &test_info};

/* ---- a small catalog ---- */

typedef struct contents {
    int64_t step;
    double mass[EXPERTS];
    cot_catalog catalog;
} contents;

static const cot_dimension expert = {
    .name = "expert", .size = EXPERTS, .type = COT_H5_INT64, .meaning = "expert"};
static const cot_dimension sample = {
    .name = "sample", .size = ROWS, .type = COT_H5_INT64, .meaning = "sample"};

static void fill(contents *c, int64_t step)
{
    const cot_variable variables[] = {
        {"step", "", "1", "optimizer steps done", COT_H5_INT64, &c->step},
        {"mass", "expert", "1", "combine mass", COT_H5_FLOAT64, c->mass}};
    c->step = step;
    for (int i = 0; i < EXPERTS; i++) c->mass[i] = (double)(step * 100 + i) / 7;
    c->catalog = (cot_catalog){0};
    cot_catalog_add_dimension(&c->catalog, &expert);
    for (size_t i = 0; i < 2; i++) cot_catalog_add(&c->catalog, &variables[i]);
}

static cot_status append_step(int64_t step)
{
    contents c;
    fill(&c, step);
    return cot_statistics_append(comm, path, &info, &c.catalog);
}

static cot_status write_rows(cot_statistics_file *file)
{
    int64_t labels[BATCH];
    const size_t ranks = (size_t)comm->size;
    const size_t each = BATCH / ranks;
    const size_t first = (size_t)comm->rank * each;
    const size_t count = (size_t)comm->rank + 1 == ranks ? BATCH - first : each;
    cot_status status = COT_OK;
    for (size_t batch = 0; batch < ROWS; batch += BATCH) {
        for (size_t i = 0; i < count; i++) labels[i] = (int64_t)(1 + batch + first + i);
        cot_status written = cot_statistics_write_rows(file, "label", batch + first, count, labels);
        if (status == COT_OK) status = written;
    }
    return status;
}

static cot_status write_study(int64_t step)
{
    const cot_variable label = {"label", "sample", "1", "class", COT_H5_INT64, NULL};
    cot_catalog rows = {0};
    cot_statistics_file *file = NULL;
    contents c;
    fill(&c, step);
    cot_catalog_add_dimension(&rows, &sample);
    cot_catalog_add(&rows, &label);
    COT_TRY(cot_statistics_begin(comm, path, &rows, BATCH, &file));
    cot_status written = write_rows(file);
    (void)written; /* finish says it again */
    return cot_statistics_finish(&file, &info, &c.catalog);
}

/* ---- failing and recovering ---- */

/* With a good file there, write while the rules hold on `rank` alone: refused, removed, and the
 * good file stays; the next one is written as if nothing had been. */
static void fail_and_recover(cot_status (*write)(int64_t step), const char *rules, int rank)
{
    char before[COT_DIGEST_SIZE];
    char after[COT_DIGEST_SIZE];
    assert_int_equal(write(1), COT_OK);
    assert_digest(path, before);
    MPI_Barrier(comm->world);
    fault_set(comm->rank == rank ? rules : "");
    cot_status status = write(2);
    fault_set("");
    if (status != COT_E_IO) fail_msg("'%s' on rank %d: status %d", rules, rank, (int)status);
    assert_false(exists(path, ".partial"));
    assert_digest(path, after);
    assert_on_every_rank(strcmp(before, after) == 0);
    assert_int_equal(write(3), COT_OK);
    assert_digest(path, after);
    assert_on_every_rank(strcmp(before, after) != 0);
    if (comm->rank == 0) unlink(path);
    MPI_Barrier(comm->world);
}

static void writes_together_fail(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < comm->size; rank++) {
        fail_and_recover(write_study, WRITES "action=fail:ENOSPC", rank);
        fail_and_recover(write_study, WRITES "times=1 action=fail:EIO", rank);
        fail_and_recover(write_study, WRITES "after=2 times=1 action=fail:EIO", rank);
        fail_and_recover(write_study, "call=fsync match=*.partial action=fail:EIO", rank);
    }
}

/* The metadata is written last: the more operations pass, the deeper the failure lies in the
 * closing of the file. */
static void late_writes_fail(void **unused)
{
    (void)unused;
    enum { DEEPEST = 10 };
    char rules[128];
    for (int after = 0; after <= DEEPEST; after += 2) {
        snprintf(rules, sizeof rules, WRITES "after=%d times=2 action=fail:EIO", after);
        fail_and_recover(write_study, rules, 0);
    }
}

static void appending_fails(void **unused)
{
    (void)unused;
    fail_and_recover(append_step, WRITES "action=fail:ENOSPC", 0);
    fail_and_recover(append_step, "call=fsync match=*.partial action=fail:EIO", 0);
    fail_and_recover(append_step, "call=rename match=*.partial action=fail:EIO", 0);
}

/* The first record, which has nothing to fall back to. */
static void the_first_record_fails(void **unused)
{
    (void)unused;
    fault_set(comm->rank == 0 ? WRITES "action=fail:ENOSPC" : "");
    cot_status status = append_step(1);
    fault_set("");
    assert_int_equal(status, COT_E_IO);
    assert_false(exists(path, "") || exists(path, ".partial"));
    assert_int_equal(append_step(1), COT_OK);
    assert_true(exists(path, ""));
}

/* A write that is lost without a word: only reading back finds it. */
static void silent_damage_is_found(void **unused)
{
    (void)unused;
    fail_and_recover(append_step, "call=write match=*.partial times=1 action=lose", 0);
}

static void cutting_fails(void **unused)
{
    (void)unused;
    char before[COT_DIGEST_SIZE];
    char after[COT_DIGEST_SIZE];
    static const char *const rules[] = {WRITES "action=fail:ENOSPC",
                                        "call=fsync match=*.partial action=fail:EIO",
                                        "call=rename action=fail:EIO"};
    for (int64_t step = 1; step <= 4; step++) assert_int_equal(append_step(step), COT_OK);
    assert_digest(path, before);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        fault_set(comm->rank == 0 ? rules[i] : "");
        cot_status status = cot_statistics_truncate(comm, path, 2);
        fault_set("");
        if (status != COT_E_IO) fail_msg("'%s': status %d", rules[i], (int)status);
        assert_false(exists(path, ".partial"));
        assert_digest(path, after);
        assert_string_equal(before, after);
    }
    MPI_Barrier(comm->world);
    assert_int_equal(cot_statistics_truncate(comm, path, 2), COT_OK);
    assert_digest(path, after);
    assert_on_every_rank(strcmp(before, after) != 0);
}

static void creating_fails(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < comm->size; rank++) {
        fault_set(comm->rank == rank ? "call=open match=*.partial action=fail:EROFS" : "");
        cot_status status = write_study(2);
        fault_set("");
        assert_int_equal(status, COT_E_CREATE);
        assert_false(exists(path, ".partial"));
    }
    fault_set(comm->rank == 0 ? "call=open match=*.partial action=fail:EROFS" : "");
    cot_status status = append_step(2);
    fault_set("");
    assert_int_equal(status, COT_E_CREATE);
}

static int setup(void **unused)
{
    (void)unused;
    static int count;
    fault_set("");
    path = cot_strprintf("%s/stats%d.h5", test_folder(), count++);
    return create_comm(NULL);
}

static int teardown(void **unused)
{
    cot_free(path);
    return destroy_comm(unused);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static const struct CMUnitTest tests[] = {
    TEST(writes_together_fail),   TEST(late_writes_fail),       TEST(appending_fails),
    TEST(the_first_record_fails), TEST(silent_damage_is_found), TEST(cutting_fails),
    TEST(creating_fails),
};

RUN_MPI_TESTS(tests)
