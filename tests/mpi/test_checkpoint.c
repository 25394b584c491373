#include "support/checkpoint_state.h"
#include "support/comm.h"
#include "support/files.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/run_folder.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A new subfolder of the test's folder, the same on every rank (allocated). */
static char *new_folder(const char *name)
{
    char *dir = path_of(name);
    if (comm->rank == 0) mkdir(dir, 0777);
    MPI_Barrier(comm->world);
    return dir;
}

static void write_step(const char *dir, uint64_t step, double salt)
{
    cot_training_state state = make_shard(comm, step, salt);
    assert_int_equal(cot_checkpoint_write(comm, dir, &state, &test_info), COT_OK);
    free_state(&state);
}

/* Reading prints what it refuses: the tests look at status only, and the line is looked at in
 * tests/cli. */
static cot_status read_shard(const char *path, bool weights_only, bool *equal_out, double salt)
{
    cot_training_state wanted = make_shard(comm, 6, salt);
    cot_training_state found = make_shard(comm, 0, salt + 5000);
    cot_status status = cot_checkpoint_read(comm, path, weights_only, &found);
    *equal_out = on_every_rank(states_equal(&wanted, &found));
    free_state(&wanted);
    free_state(&found);
    return status;
}

static void comes_back_bit_by_bit(void **unused)
{
    (void)unused;
    bool equal = false;
    char *dir = new_folder("back");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/latest.h5", dir);
    assert_int_equal(read_shard(path, false, &equal, 0.5), COT_OK);
    assert_true(equal);
    assert_true(exists(dir, "/checkpoint-6.h5"));
    assert_false(exists(dir, "/checkpoint-6.h5.partial"));
    cot_free(path);
    cot_free(dir);
}

static void any_shard_reads_any_file(void **unused)
{
    (void)unused;
    char *dir = new_folder("shards");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    bool good = true;
    for (size_t first = 0; first <= STATE_EXPERTS; first++) {
        /* Other experts on every rank, and not those that it wrote. */
        size_t begin = (first + (size_t)comm->rank) % (STATE_EXPERTS + 1);
        cot_training_state wanted = make_state(begin, STATE_EXPERTS, 6, 0.5);
        cot_training_state found = make_state(begin, STATE_EXPERTS, 0, 7);
        good = cot_checkpoint_read(comm, path, false, &found) == COT_OK && good;
        good = states_equal(&wanted, &found) && good;
        free_state(&wanted);
        free_state(&found);
    }
    assert_on_every_rank(good);
    cot_free(path);
    cot_free(dir);
}

static void weights_only_leaves_the_rest(void **unused)
{
    (void)unused;
    char *dir = new_folder("weights");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    cot_training_state wanted = make_shard(comm, 6, 0.5);
    cot_training_state found = make_shard(comm, 9, 7);
    cot_training_state before = make_shard(comm, 9, 7);
    assert_int_equal(cot_checkpoint_read(comm, path, true, &found), COT_OK);
    size_t size = cot_params_replicated_size(found.params) + cot_params_sharded_size(found.params);
    bool good = memcmp(cot_params_values(found.params), cot_params_values(wanted.params),
                       size * sizeof(cot_real)) == 0;
    for (size_t i = 0; i < found.moment_count; i++)
        good = good && memcmp(found.moments[i], before.moments[i], size * sizeof(cot_real)) == 0;
    good = good && found.progress.step == 9;
    assert_on_every_rank(good);
    free_state(&before);
    free_state(&found);
    free_state(&wanted);
    cot_free(path);
    cot_free(dir);
}

/* What all ranks write together has the digest of what one rank writes alone. */
static void digest_does_not_know_the_ranks(void **unused)
{
    (void)unused;
    char together[COT_DIGEST_SIZE] = "";
    char alone[COT_DIGEST_SIZE] = "";
    char other[COT_DIGEST_SIZE] = "";
    char name[32];
    char *dir = new_folder("together");
    write_step(dir, 6, 0.5);
    snprintf(name, sizeof name, "alone%d", comm->rank);
    char *own = path_of(name);
    mkdir(own, 0777);
    cot_comm *self = comm_of_self();
    cot_training_state state = make_state(0, STATE_EXPERTS, 6, 0.5);
    assert_int_equal(cot_checkpoint_write(self, own, &state, &test_info), COT_OK);
    state.progress.step = 7;
    state.moments[1][0] += 1;
    assert_int_equal(cot_checkpoint_write(self, own, &state, &test_info), COT_OK);
    free_state(&state);
    cot_comm_destroy(&self);
    char *paths[] = {cot_strprintf("%s/checkpoint-6.h5", dir),
                     cot_strprintf("%s/checkpoint-6.h5", own),
                     cot_strprintf("%s/checkpoint-7.h5", own)};
    assert_digest(paths[0], together);
    assert_digest(paths[1], alone);
    assert_digest(paths[2], other);
    assert_on_every_rank(strcmp(together, alone) == 0);
    assert_on_every_rank(strcmp(together, other) != 0);
    for (int i = 0; i < 3; i++) cot_free(paths[i]);
    cot_free(own);
    cot_free(dir);
}

static void first_expert_group_writes(void **unused)
{
    (void)unused;
    if (comm->size % 2 != 0) return;
    char *dir = new_folder("replicas");
    cot_comm *split = comm_of_world(2);
    /* The second group holds other numbers, which must not reach the file. */
    cot_training_state state = make_shard(split, 6, split->replica == 0 ? 0.5 : 99);
    cot_training_state wanted = make_shard(split, 6, 0.5);
    assert_int_equal(cot_checkpoint_write(split, dir, &state, &test_info), COT_OK);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    assert_int_equal(cot_checkpoint_read(split, path, false, &state), COT_OK);
    assert_on_every_rank(states_equal(&state, &wanted));
    free_state(&state);
    free_state(&wanted);
    cot_comm_destroy(&split);
    cot_free(path);
    cot_free(dir);
}

static void header_says_what_was_written(void **unused)
{
    (void)unused;
    cot_checkpoint_header header = {0};
    char *dir = new_folder("header");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    assert_int_equal(cot_checkpoint_read_header(path, &header), COT_OK);
    assert_string_equal(header.recipe, test_info.recipe);
    assert_string_equal(header.blas_core, "test");
    assert_int_equal(header.step, 6);
    assert_int_equal(header.ranks, comm->size);
    assert_true(header.data_checksum == test_info.data_checksum);
    cot_checkpoint_header_free(&header);
    cot_free(path);
    cot_free(dir);
}

/* ---- damage ---- */

/* One byte inside the row of expert 3 of the first sharded parameter: only its owner reads that
 * chunk. */
static void damage_expert(const char *path)
{
    cot_training_state whole = make_state(0, STATE_EXPERTS, 6, 0.5);
    const cot_param *w1 = cot_params_find(whole.params, "moe.0.experts.w1");
    float expert[8];
    for (int i = 0; i < 8; i++) expert[i] = (float)w1->value[3 * w1->row_size + (size_t)i];
    if (comm->rank == 0) flip_byte(path, expert, sizeof expert, 5);
    free_state(&whole);
    MPI_Barrier(comm->world);
}

static void flipped_byte_is_noticed(void **unused)
{
    (void)unused;
    bool equal = false;
    char *dir = new_folder("flipped");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    damage_expert(path);
    assert_int_equal(read_shard(path, false, &equal, 0.5), COT_E_DATA);
    assert_int_equal(cot_checkpoint_verify(path, 0, 1), COT_E_DATA);
    bool named = strstr(cot_failure(), path) != NULL &&
                 strstr(cot_failure(), "/params/moe.0.experts.w1") != NULL;
    cot_failure_clear();
    assert_on_every_rank(named);
    /* Each part of a divided verification finds only its own damage, and one of them finds it. */
    int found = cot_checkpoint_verify(path, (size_t)comm->rank, (size_t)comm->size) != COT_OK;
    cot_failure_clear();
    MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_SUM, comm->world);
    assert_int_equal(found, 1);
    cot_free(path);
    cot_free(dir);
}

static void cut_file(const char *path, long size)
{
    if (comm->rank == 0) assert_int_equal(truncate(path, size), 0);
    MPI_Barrier(comm->world);
}

static bool has_checkpoints(const char *dir)
{
    bool any = false;
    assert_int_equal(cot_run_folder_has_checkpoints(comm, dir, &any), COT_OK);
    return any;
}

static void newest_passes_over_damage(void **unused)
{
    (void)unused;
    char *dir = new_folder("newest");
    assert_null(cot_checkpoint_newest(comm, dir));
    assert_false(has_checkpoints(dir));
    for (uint64_t step = 9; step <= 12; step++) write_step(dir, step, 0.5);
    char *damaged = cot_strprintf("%s/checkpoint-12.h5", dir);
    char *cut = cot_strprintf("%s/checkpoint-11.h5", dir);
    char *good = cot_strprintf("%s/checkpoint-10.h5", dir);
    char *newest = cot_checkpoint_newest(comm, dir);
    assert_string_equal(newest, damaged);
    cot_free(newest);
    damage_expert(damaged);
    cut_file(cut, 3000);
    newest = cot_checkpoint_newest(comm, dir);
    assert_string_equal(newest, good);
    assert_true(has_checkpoints(dir));
    assert_null(cot_failure());
    cot_free(newest);
    cot_free(damaged);
    cot_free(cut);
    cot_free(good);
    cot_free(dir);
}

static void wrong_files_are_refused(void **unused)
{
    (void)unused;
    bool equal = false;
    char *dir = new_folder("wrong");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    char *nowhere = cot_strprintf("%s/checkpoint-7.h5", dir);
    assert_int_equal(read_shard(nowhere, false, &equal, 0.5), COT_E_NOINPUT);
    assert_int_equal(read_shard(dir, false, &equal, 0.5), COT_E_NOINPUT);
    for (long size = 2000; size >= 0; size -= 400) {
        cut_file(path, size);
        assert_int_equal(read_shard(path, false, &equal, 0.5), COT_E_DATA);
    }
    cot_free(nowhere);
    cot_free(path);
    cot_free(dir);
}

/* The file holds E = 5 experts, H = 40; the recipe has other parameters. */
static void other_models_are_refused(void **unused)
{
    (void)unused;
    char *dir = new_folder("other");
    write_step(dir, 6, 0.5);
    char *path = cot_strprintf("%s/checkpoint-6.h5", dir);
    static const cot_param_spec specs[] = {
        {.name = "moe.0.phi", .axes = "D,E,P", .dims = {3, 4, 2}}, /* another shape */
        {.name = "moe.0.phi",
         .axes = "D,E,P",
         .dims = {3, STATE_EXPERTS, 2}},               /* and no other parameter */
        {.name = "head.b", .axes = "O", .dims = {3}}}; /* not in the file */
    static const cot_status expected[] = {COT_E_CONFIG, COT_E_CONFIG, COT_E_DATA};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        cot_training_state state = {.params = cot_params_create(0, 0)};
        cot_params_add(state.params, &specs[i]);
        cot_params_allocate(state.params);
        assert_int_equal(cot_checkpoint_read(comm, path, true, &state), expected[i]);
        free_state(&state);
    }
    cot_training_state state = make_shard(comm, 0, 0);
    state.moment_count = 1; /* written by another optimizer */
    assert_int_equal(cot_checkpoint_read(comm, path, false, &state), COT_E_CONFIG);
    assert_int_equal(cot_checkpoint_read(comm, path, true, &state), COT_OK);
    free_state(&state);
    cot_free(path);
    cot_free(dir);
}

/* ---- the folder ---- */

static void lock_keeps_others_out(void **unused)
{
    (void)unused;
    cot_run_lock *lock = NULL;
    cot_run_lock *second = NULL;
    char *dir = path_of("locked/with/parents");
    assert_int_equal(cot_run_folder_lock(comm, dir, &lock), COT_OK);
    assert_int_equal(cot_run_folder_lock(comm, dir, &second), COT_E_CREATE);
    assert_null(second);
    cot_run_folder_unlock(&lock);
    MPI_Barrier(comm->world);
    assert_int_equal(cot_run_folder_lock(comm, dir, &lock), COT_OK);
    cot_run_folder_unlock(&lock);
    cot_run_folder_unlock(&lock);
    cot_free(dir);
}

static void unwritable_folder_is_refused(void **unused)
{
    (void)unused;
    cot_run_lock *lock = NULL;
    char *file = path_of("file");
    char *dir = cot_strprintf("%s/below", file);
    if (comm->rank == 0) close(open(file, O_CREAT | O_WRONLY, 0666));
    MPI_Barrier(comm->world);
    assert_int_equal(cot_run_folder_lock(comm, dir, &lock), COT_E_CREATE);
    assert_int_equal(cot_run_folder_lock(comm, file, &lock), COT_E_CREATE);
    cot_training_state state = make_shard(comm, 6, 0.5);
    assert_int_equal(cot_checkpoint_write(comm, dir, &state, &test_info), COT_E_CREATE);
    free_state(&state);
    cot_free(dir);
    cot_free(file);
}

static void leftovers_are_removed(void **unused)
{
    (void)unused;
    cot_run_lock *lock = NULL;
    char *dir = new_folder("leftovers");
    char *partial = cot_strprintf("%s/checkpoint-3.h5.partial", dir);
    char *link = cot_strprintf("%s/latest.h5.partial", dir);
    char *another = cot_strprintf("%s/study.h5.partial", dir); /* somebody is writing it */
    if (comm->rank == 0) close(open(partial, O_CREAT | O_WRONLY, 0666));
    if (comm->rank == 0) assert_int_equal(symlink("checkpoint-3.h5", link), 0);
    if (comm->rank == 0) close(open(another, O_CREAT | O_WRONLY, 0666));
    MPI_Barrier(comm->world);
    assert_false(has_checkpoints(dir));
    assert_int_equal(cot_run_folder_lock(comm, dir, &lock), COT_OK);
    assert_false(exists(dir, "/checkpoint-3.h5.partial"));
    assert_false(exists(dir, "/latest.h5.partial"));
    assert_true(exists(dir, "/study.h5.partial"));
    cot_run_folder_unlock(&lock);
    cot_free(another);
    cot_free(link);
    cot_free(partial);
    cot_free(dir);
}

static void assert_points_at(const char *dir, const char *name, const char *wanted)
{
    char target[64] = "";
    char *link = cot_strprintf("%s/%s", dir, name);
    ssize_t length = readlink(link, target, sizeof target - 1);
    cot_free(link);
    assert_true(length > 0);
    assert_string_equal(target, wanted);
}

static void old_ones_go_and_the_best_stays(void **unused)
{
    (void)unused;
    char *dir = new_folder("prune");
    for (uint64_t step = 8; step <= 11; step++) write_step(dir, step, 0.5);
    assert_int_equal(cot_checkpoint_mark_best(comm, dir, 8), COT_OK);
    assert_int_equal(cot_checkpoint_prune(comm, dir, 0, 11), COT_OK);
    assert_true(exists(dir, "/checkpoint-9.h5"));
    assert_int_equal(cot_checkpoint_prune(comm, dir, 2, 11), COT_OK);
    assert_true(exists(dir, "/checkpoint-11.h5") && exists(dir, "/checkpoint-10.h5"));
    assert_false(exists(dir, "/checkpoint-9.h5"));
    assert_true(exists(dir, "/checkpoint-8.h5"));
    assert_points_at(dir, "best.h5", "checkpoint-8.h5");
    assert_points_at(dir, "latest.h5", "checkpoint-11.h5");
    assert_int_equal(cot_checkpoint_mark_best(comm, dir, 9), COT_E_IO);
    assert_points_at(dir, "best.h5", "checkpoint-8.h5");
    cot_free(dir);
}

static void later_ones_do_not_push_out_what_is_kept(void **unused)
{
    (void)unused;
    char *dir = new_folder("prune_later");
    for (uint64_t step = 8; step <= 11; step++) write_step(dir, step, 0.5);
    assert_int_equal(cot_checkpoint_prune(comm, dir, 1, 9), COT_OK);
    assert_false(exists(dir, "/checkpoint-8.h5"));
    assert_true(exists(dir, "/checkpoint-9.h5"));
    assert_true(exists(dir, "/checkpoint-10.h5") && exists(dir, "/checkpoint-11.h5"));
    cot_free(dir);
}

/* Ranks that look one after the other may see a link at its old and its new target. */
static void all_ranks_follow_the_first(void **unused)
{
    (void)unused;
    char *dir = new_folder("follow");
    write_step(dir, 8, 0.5);
    write_step(dir, 9, 0.5);
    assert_int_equal(cot_checkpoint_mark_best(comm, dir, 8), COT_OK);
    char *file = cot_strprintf("%s/checkpoint-9.h5", dir);
    char *seen = cot_strprintf("%s/%s", dir, comm->rank == 0 ? "latest.h5" : "best.h5");
    char *followed = cot_checkpoint_follow(comm, seen);
    assert_string_equal(followed, file);
    char *itself = cot_checkpoint_follow(comm, file);
    assert_string_equal(itself, file);
    cot_free(itself);
    cot_free(followed);
    cot_free(seen);
    cot_free(file);
    cot_free(dir);
}

static const struct CMUnitTest tests[] = {
    TEST_ON_COMM(comes_back_bit_by_bit),
    TEST_ON_COMM(any_shard_reads_any_file),
    TEST_ON_COMM(weights_only_leaves_the_rest),
    TEST_ON_COMM(digest_does_not_know_the_ranks),
    TEST_ON_COMM(first_expert_group_writes),
    TEST_ON_COMM(header_says_what_was_written),
    TEST_ON_COMM(flipped_byte_is_noticed),
    TEST_ON_COMM(newest_passes_over_damage),
    TEST_ON_COMM(wrong_files_are_refused),
    TEST_ON_COMM(other_models_are_refused),
    TEST_ON_COMM(lock_keeps_others_out),
    TEST_ON_COMM(unwritable_folder_is_refused),
    TEST_ON_COMM(leftovers_are_removed),
    TEST_ON_COMM(old_ones_go_and_the_best_stays),
    TEST_ON_COMM(later_ones_do_not_push_out_what_is_kept),
    TEST_ON_COMM(all_ranks_follow_the_first),
};

RUN_MPI_TESTS(tests)
