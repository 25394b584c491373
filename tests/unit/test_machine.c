#include "support/test.h"

#include <coterie/machine.h>
#include <coterie/memory.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A profile in which everything takes m n k nanoseconds, but for a message, which is not known. */
static cot_machine made_up(void)
{
    cot_machine machine = {.host = cot_strdup("here"),
                           .build = cot_strdup("0.1.0"),
                           .blas_core = cot_strdup("Any"),
                           .written = cot_strdup("2024-01-31T12:00:00Z"),
                           .cores = 4,
                           .ranks = 2,
                           .nodes = 1,
                           .base_bytes = 12345678,
                           .alone = 2e10,
                           .together = 1e10};
    const double points[] = {2, 8, 64};
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) {
        cot_rates *rates = &machine.rates[kernel];
        if (kernel == COT_KERNEL_MESSAGE || kernel == COT_KERNEL_MESSAGE_BETWEEN) continue;
        *rates = (cot_rates){.counts = {3, 2, 1}};
        memcpy(rates->axes[0], points, sizeof points);
        memcpy(rates->axes[1], points + 1, 2 * sizeof *points);
        rates->axes[2][0] = 10;
        rates->seconds = cot_alloc(6, sizeof *rates->seconds);
        for (size_t m = 0; m < 3; m++)
            for (size_t n = 0; n < 2; n++)
                rates->seconds[m * 2 + n] = 10e-9 * points[m] * points[n + 1];
    }
    return machine;
}

/* What is proportional on the grid is so between its points and outside. */
static void looks_up(void **state)
{
    (void)state;
    const double sizes[] = {1, 2, 3, 8, 20, 64, 1000};
    cot_machine machine = made_up();
    assert_true(cot_machine_knows(&machine, COT_KERNEL_BARRIER));
    assert_false(cot_machine_knows(&machine, COT_KERNEL_MESSAGE));
    for (size_t m = 0; m < 7; m++)
        for (size_t n = 0; n < 7; n++)
            for (size_t k = 0; k < 7; k++)
                assert_close_double(
                    cot_machine_seconds(&machine, COT_KERNEL_GEMM_NT, sizes[m], sizes[n], sizes[k]),
                    1e-9 * sizes[m] * sizes[n] * sizes[k], 1e-12, 0);
    assert_true(cot_machine_seconds(&machine, COT_KERNEL_GEMM_NT, 0, 2, 3) == 0);
    /* A single point counts with the logarithm of its share. */
    machine.rates[COT_KERNEL_COPY].seconds[1 * 2 + 0] *= 4;
    assert_close_double(cot_machine_seconds(&machine, COT_KERNEL_COPY, 4, 8, 10),
                        2 * 1e-9 * 4 * 8 * 10, 1e-12, 0);
    cot_machine_free(&machine);
}

static char *scratch_file(void)
{
    char *path = cot_strdup("/tmp/coterie-test-machine-XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    return path;
}

static void comes_back_from_a_file(void **state)
{
    (void)state;
    char *path = scratch_file();
    cot_machine machine = made_up();
    cot_machine again = {0};
    assert_int_equal(cot_machine_write(path, &machine), COT_OK);
    assert_int_equal(cot_machine_read(path, &again), COT_OK);
    assert_string_equal(again.host, "here");
    assert_string_equal(again.blas_core, "Any");
    assert_int_equal(again.cores, 4);
    assert_int_equal(again.ranks, 2);
    assert_int_equal(again.base_bytes, 12345678);
    assert_close_double(again.alone, 2e10, 1e-6, 0);
    assert_close_double(again.together, 1e10, 1e-6, 0);
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) {
        const cot_rates *a = &machine.rates[kernel];
        const cot_rates *b = &again.rates[kernel];
        assert_memory_equal(a->counts, b->counts, sizeof a->counts);
        assert_int_equal(a->seconds == NULL, b->seconds == NULL);
        for (size_t i = 0; a->seconds != NULL && i < 6; i++)
            assert_close_double(b->seconds[i], a->seconds[i], 1e-6, 0);
    }
    cot_machine_free(&again);
    cot_machine_free(&machine);
    unlink(path);
    cot_free(path);
}

static cot_status status_of(const char *path, const char *content)
{
    cot_machine machine = {0};
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
    cot_status status = cot_machine_read(path, &machine);
    if (status == COT_OK) cot_machine_free(&machine);
    return status;
}

static char *content_of(const char *path)
{
    enum { ROOM = 1 << 16 };
    char *text = cot_alloc(ROOM, 1);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, ROOM - 1, file) < ROOM - 1);
    fclose(file);
    return text;
}

/* Replace the first `before` by `after`; the file is read as COT_E_DATA then, and the line says
 * `what`. */
static void damaged(const char *path, const char *good, const char *before, const char *after,
                    const char *what)
{
    const char *at = strstr(good, before);
    assert_non_null(at);
    char *bad = cot_strprintf("%.*s%s%s", (int)(at - good), good, after, at + strlen(before));
    assert_int_equal(status_of(path, bad), COT_E_DATA);
    assert_non_null(strstr(cot_failure(), path));
    if (strstr(cot_failure(), what) == NULL) fail_msg("%s: '%s'", cot_failure(), what);
    cot_failure_clear();
    cot_free(bad);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    char *path = scratch_file();
    cot_machine machine = made_up();
    assert_int_equal(cot_machine_write(path, &machine), COT_OK);
    char *good = content_of(path);
    assert_int_equal(status_of(path, good), COT_OK);
    damaged(path, good, "coterie-machine", "something-else", "is no machine profile");
    damaged(path, good, "\"format_version\": 3", "\"format_version\": 2", "another version");
    damaged(path, good, "\"host\"", "\"hast\"", "host");
    damaged(path, good, "\"cores\": 4", "\"cores\": 0", "cores");
    damaged(path, good, "\"cores\": 4", "\"cores\": \"4\"", "cores");
    damaged(path, good, "\"alone\"", "\"along\"", "memory_bytes_per_s");
    damaged(path, good, "\"gemm_nn\"", "\"gemm_no\"", "kernels.gemm_nn");
    damaged(path, good, "[2.0, 8.0, 64.0]", "[2.0, 64.0, 8.0]", "kernels.gemm_nn");
    damaged(path, good, "[2.0, 8.0, 64.0]", "[2.0, 8.0]", "kernels.gemm_nn");
    damaged(path, good, "[2.0, 8.0, 64.0]", "[0, 8.0, 64.0]", "kernels.gemm_nn");
    damaged(path, good, "[2.0, 8.0, 64.0]", "[1,2,3,4,5,6,7,8,9]", "kernels.gemm_nn");
    damaged(path, good, "\"seconds\": [", "\"seconds\": [-1, ", "kernels.gemm_nn");
    /* Cut off anywhere, it is no JSON. */
    for (size_t length = 0; length + 2 < strlen(good); length += 97) {
        char *part = cot_strprintf("%.*s", (int)length, good);
        assert_int_equal(status_of(path, part), COT_E_DATA);
        cot_failure_clear();
        cot_free(part);
    }
    unlink(path);
    cot_machine none = {0};
    assert_int_equal(cot_machine_read(path, &none), COT_E_NOINPUT);
    cot_failure_clear();
    assert_int_equal(cot_machine_write("/dev/null/machine.json", &machine), COT_E_CREATE);
    cot_failure_clear();
    cot_free(good);
    cot_machine_free(&machine);
    cot_free(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(looks_up),
    cmocka_unit_test(comes_back_from_a_file),
    cmocka_unit_test(damage_is_noticed),
};

RUN_UNIT_TESTS(tests)
