/* A checkpoint onto a disk that fails on one rank only, at every place where it can. */
#include "support/checkpoint_state.h"
#include "support/comm.h"
#include "support/fault.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[600];

static void use_new_folder(void)
{
    static int count;
    snprintf(dir, sizeof dir, "%s/%d", test_folder(), count++);
    if (comm->rank == 0) mkdir(dir, 0777);
    MPI_Barrier(comm->world);
}

static cot_status write_step(uint64_t step)
{
    cot_training_state state = make_shard(comm, step, 0.5);
    cot_status status = cot_checkpoint_write(comm, dir, &state, &test_info);
    free_state(&state);
    return status;
}

static void assert_newest(const char *name)
{
    char *newest = cot_checkpoint_newest(comm, dir);
    bool good = newest != NULL && strcmp(strrchr(newest, '/') + 1, name) == 0;
    cot_free(newest);
    assert_true(good);
}

/* Write step 2 beside a good step 1 while the rules hold, on `rank` alone: refused, removed, and
 * step 1 stays; and the next one is written as if nothing had been. */
static void fail_and_recover(const char *rules, int rank)
{
    assert_int_equal(write_step(1), COT_OK);
    fault_set(comm->rank == rank ? rules : "");
    cot_status status = write_step(2);
    fault_set("");
    if (status != COT_E_IO) fail_msg("'%s' on rank %d: status %d", rules, rank, (int)status);
    assert_false(exists(dir, "/checkpoint-2.h5.partial"));
    assert_false(exists(dir, "/checkpoint-2.h5"));
    assert_newest("checkpoint-1.h5");
    assert_int_equal(write_step(3), COT_OK);
    assert_newest("checkpoint-3.h5");
    use_new_folder();
}

static void writes_fail(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < comm->size; rank++) {
        fail_and_recover(WRITES "action=fail:ENOSPC", rank);
        fail_and_recover(WRITES "times=1 action=fail:EIO", rank);
        fail_and_recover(WRITES "after=1 action=fail:ENOSPC", rank);
        fail_and_recover(WRITES "after=2 times=1 action=fail:EIO", rank);
    }
}

/* The metadata is written last: the more operations pass, the deeper the failure lies in the
 * closing of the file. */
static void late_writes_fail(void **unused)
{
    (void)unused;
    enum { DEEPEST = 12 };
    char rules[128];
    for (int after = 3; after <= DEEPEST; after += 3) {
        snprintf(rules, sizeof rules, WRITES "after=%d times=2 action=fail:EIO", after);
        fail_and_recover(rules, 0);
    }
}

static void synchronizing_fails(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < comm->size; rank++)
        fail_and_recover("call=fsync match=*.partial action=fail:EIO", rank);
}

static void renaming_fails(void **unused)
{
    (void)unused;
    fail_and_recover("call=rename match=*checkpoint-2.h5.partial action=fail:EIO", 0);
}

/* A short write that nobody reports: only reading back finds it. */
static void silent_damage_is_found(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < comm->size; rank++)
        fail_and_recover("call=pwrite,pwritev match=*.partial times=1 action=lose", rank);
}

static void link_fails_after_the_file_is_there(void **unused)
{
    (void)unused;
    assert_int_equal(write_step(1), COT_OK);
    fault_set(comm->rank == 0 ? "call=symlink action=fail:EIO" : "");
    cot_status status = write_step(2);
    fault_set("");
    assert_int_equal(status, COT_E_IO);
    assert_newest("checkpoint-2.h5");
    assert_false(exists(dir, "/latest.h5.partial"));
}

static void creating_fails(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < comm->size; rank++) {
        fault_set(comm->rank == rank ? "call=open match=*.partial action=fail:EROFS" : "");
        cot_status status = write_step(2);
        fault_set("");
        assert_int_equal(status, COT_E_CREATE);
        assert_false(exists(dir, "/checkpoint-2.h5.partial"));
    }
}

/* A folder that cannot be listed is not an empty one. */
static void listing_fails(void **unused)
{
    (void)unused;
    bool any = false;
    cot_run_lock *lock = NULL;
    assert_int_equal(write_step(1), COT_OK);
    fault_set("call=opendir action=fail:EACCES");
    cot_status asked = cot_run_folder_has_checkpoints(comm, dir, &any);
    cot_status locked = cot_run_folder_lock(comm, dir, &lock);
    char *newest = cot_checkpoint_newest(comm, dir);
    fault_set("");
    assert_int_equal(asked, COT_E_IO);
    assert_int_equal(locked, COT_E_IO);
    assert_null(lock);
    assert_null(newest);
    assert_int_equal(cot_run_folder_lock(comm, dir, &lock), COT_OK);
    cot_run_folder_unlock(&lock);
}

static int setup(void **unused)
{
    (void)unused;
    fault_set("");
    create_comm(NULL);
    use_new_folder();
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, destroy_comm)

static const struct CMUnitTest tests[] = {
    TEST(writes_fail),    TEST(late_writes_fail),       TEST(synchronizing_fails),
    TEST(renaming_fails), TEST(silent_damage_is_found), TEST(link_fails_after_the_file_is_there),
    TEST(creating_fails), TEST(listing_fails),
};

RUN_MPI_TESTS(tests)
