/* A recipe file on several ranks: rank 0 reads, all agree. */
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/recipe.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The status that every rank returned, or -1 when they differ. Nothing stays pending anywhere. */
static int load(const char *path, cot_recipe **recipe_out)
{
    cot_comm *comm = NULL;
    const cot_override overrides[] = {"model.expert_hidden=8"};
    assert_int_equal(cot_comm_create(MPI_COMM_WORLD, 1, &comm), COT_OK);
    int status = (int)cot_recipe_load(comm, path, 1, overrides, recipe_out);
    int least = status;
    int most = status;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_INT, MPI_MIN, comm->world));
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT, MPI_MAX, comm->world));
    cot_comm_destroy(&comm);
    assert_null(cot_failure());
    return least == most ? status : -1;
}

/* A file of rank 0, which alone may read it. */
static char *file_of_rank_0(const char *content, size_t size)
{
    int rank = 0;
    COT_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    char *path = cot_strprintf("%s/recipe.yaml", test_folder());
    if (rank == 0) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(content, 1, size, file), size);
        fclose(file);
    }
    return path;
}

static int load_content(const char *content, size_t size)
{
    char *path = file_of_rank_0(content, size);
    cot_recipe *recipe = NULL;
    int status = load(path, &recipe);
    assert_null(recipe);
    cot_free(path);
    return status;
}

static void test_loads_on_every_rank(void **state)
{
    (void)state;
    const char *content = "seed: 42\noutput: {dir: somewhere}\n";
    char *path = file_of_rank_0(content, strlen(content));
    cot_recipe *recipe = NULL;
    assert_int_equal(load(path, &recipe), COT_OK);
    assert_int_equal(recipe->seed, 42);
    assert_int_equal(recipe->model.expert_hidden, 8);
    assert_string_equal(recipe->output.dir, "somewhere");
    cot_recipe_destroy(&recipe);
    cot_free(path);
}

static void test_refuses_what_it_cannot_read(void **state)
{
    (void)state;
    cot_recipe *recipe = NULL;
    char *missing = cot_strprintf("%s/missing.yaml", test_folder());
    char *below_a_file = cot_strprintf("/dev/null/%s", "recipe.yaml");
    assert_int_equal(load(missing, &recipe), COT_E_NOINPUT);
    assert_int_equal(load(below_a_file, &recipe), COT_E_NOINPUT);
    assert_int_equal(load(test_folder(), &recipe), COT_E_NOINPUT);
    assert_int_equal(load("", &recipe), COT_E_NOINPUT);
    /* A process' memory opens, but its first page cannot be read. */
    assert_int_equal(load("/proc/self/mem", &recipe), COT_E_IO);
    assert_null(recipe);
    cot_free(below_a_file);
    cot_free(missing);
}

static void test_refuses_content(void **state)
{
    (void)state;
    enum { TOO_LARGE = (1 << 16) + 1 };
    char *large = cot_alloc(TOO_LARGE, 1);
    memset(large, '#', TOO_LARGE);
    assert_int_equal(load_content(large, TOO_LARGE), COT_E_DATA);
    cot_free(large);
    assert_int_equal(load_content("seed: 1\0\n", 9), COT_E_CONFIG);
    assert_int_equal(load_content("seed: x\n", 8), COT_E_CONFIG);
}

static void test_the_largest_file_is_read(void **state)
{
    (void)state;
    enum { LARGEST = 1 << 16 };
    char *content = cot_alloc(LARGEST, 1);
    memset(content, '#', LARGEST);
    memcpy(content, "seed: 7\n", 8);
    char *path = file_of_rank_0(content, LARGEST);
    cot_recipe *recipe = NULL;
    assert_int_equal(load(path, &recipe), COT_OK);
    assert_int_equal(recipe->seed, 7);
    cot_recipe_destroy(&recipe);
    cot_free(path);
    cot_free(content);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_loads_on_every_rank),
    cmocka_unit_test(test_refuses_what_it_cannot_read),
    cmocka_unit_test(test_refuses_content),
    cmocka_unit_test(test_the_largest_file_is_read),
};

RUN_MPI_TESTS(tests)
