#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/status.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void zeroed_aligned_and_counted(void **state)
{
    (void)state;
    long before = cot_alloc_balance();
    for (size_t count = 0; count < 9000; count += 333) {
        unsigned char *memory = cot_alloc(count, 3);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % COT_ALIGNMENT, 0);
        for (size_t i = 0; i < 3 * count; i++) assert_int_equal(memory[i], 0);
        if (count > 0) memset(memory, 0xff, 3 * count); /* what the next one may get again */
        assert_int_equal(cot_alloc_balance(), before + 1);
        cot_free(memory);
        assert_int_equal(cot_alloc_balance(), before);
    }
}

static void nothing_is_still_something_of_its_own(void **state)
{
    (void)state;
    void *a = cot_alloc(0, sizeof(double));
    void *b = cot_alloc(5, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    cot_free(a);
    cot_free(b);
    long balance = cot_alloc_balance();
    cot_free(NULL);
    assert_int_equal(cot_alloc_balance(), balance);
}

static void strings(void **state)
{
    (void)state;
    char original[] = "moe.0.phi";
    char *copy = cot_strdup(original);
    original[0] = 'x';
    assert_string_equal(copy, "moe.0.phi");
    char *printed = cot_strprintf("%s/%06d", copy, 42);
    assert_string_equal(printed, "moe.0.phi/000042");
    char *empty = cot_strprintf("%s", "");
    assert_string_equal(empty, "");
    char *wide = cot_strprintf("%5000d", 7);
    assert_int_equal(strlen(wide), 5000);
    cot_free(wide);
    cot_free(empty);
    cot_free(printed);
    cot_free(copy);
}

/* Exit code of a child that asks for so much; `text` gets what it says on standard error. */
static int exit_code_of(size_t count, size_t size, char *text, size_t text_size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        void *memory = cot_alloc(count, size);
        int code = memory != NULL ? 0 : 1;
        cot_free(memory);
        _exit(code);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n; (n = read(ends[0], text + length, text_size - 1 - length)) > 0;)
        length += (size_t)n;
    text[length] = '\0';
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void too_much_ends_the_job_with_one_line(void **state)
{
    (void)state;
    char text[1024];
    /* count * size overflows; count * size does not, but the padding would. */
    assert_int_equal(exit_code_of(SIZE_MAX / 2, 4, text, sizeof text), COT_E_INTERNAL);
    assert_non_null(strstr(text, "out of memory"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_int_equal(exit_code_of(SIZE_MAX - 5, 1, text, sizeof text), COT_E_INTERNAL);
    assert_non_null(strstr(text, "out of memory"));
    assert_int_equal(exit_code_of(1, 1, text, sizeof text), 0);
}

static void counted_by_part(void **state)
{
    (void)state;
    const long large = 5 << 20;
    cot_memory_mark(COT_MEMORY_OTHER);
    long slots = cot_memory_of(COT_MEMORY_SLOTS);
    long data = cot_memory_of(COT_MEMORY_DATA);
    void *a = cot_alloc(1000, 1);
    cot_memory_see(500);
    cot_memory_mark(COT_MEMORY_SLOTS);
    long taken = cot_memory_of(COT_MEMORY_SLOTS) - slots;
    assert_in_range(taken, 1500, 1700);
    void *b = cot_alloc((size_t)large, 1);
    void *gone = cot_alloc((size_t)large, 1);
    cot_free(gone);
    cot_memory_mark(COT_MEMORY_DATA);
    assert_in_range(cot_memory_of(COT_MEMORY_DATA) - data, large, large + 8192);
    assert_int_equal(cot_memory_of(COT_MEMORY_SLOTS) - slots, taken);
    cot_free(a);
    cot_memory_see(-500);
    cot_memory_mark(COT_MEMORY_SLOTS);
    assert_int_equal(cot_memory_of(COT_MEMORY_SLOTS), slots);
    cot_free(b);
    cot_memory_mark(COT_MEMORY_DATA);
    assert_int_equal(cot_memory_of(COT_MEMORY_DATA), data);
}

/* What is only thought of counts like what is there, and costs nothing. */
static void sketched(void **state)
{
    (void)state;
    const size_t huge = (size_t)1 << 34;
    cot_memory_mark(COT_MEMORY_OTHER);
    long before = cot_memory_of(COT_MEMORY_TOKENS);
    long balance = cot_alloc_balance();
    size_t resident = cot_memory_resident();
    assert_true(resident > 0);
    cot_memory_sketch(true);
    char *memory = cot_alloc(huge, 1);
    char *more = cot_alloc(huge, 1);
    cot_memory_sketch(false);
    assert_int_equal(memory[huge / 2], 0);
    memory[huge - 1] = 'x';
    cot_memory_mark(COT_MEMORY_TOKENS);
    assert_in_range(cot_memory_of(COT_MEMORY_TOKENS) - before, 2 * huge, 2 * huge + 256);
    assert_true(cot_memory_resident() < resident + ((size_t)64 << 20));
    cot_free(memory);
    cot_free(more);
    cot_memory_mark(COT_MEMORY_TOKENS);
    assert_int_equal(cot_memory_of(COT_MEMORY_TOKENS), before);
    assert_int_equal(cot_alloc_balance(), balance);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(counted_by_part),
    cmocka_unit_test(sketched),
    cmocka_unit_test(zeroed_aligned_and_counted),
    cmocka_unit_test(nothing_is_still_something_of_its_own),
    cmocka_unit_test(strings),
    cmocka_unit_test(too_much_ends_the_job_with_one_line),
};

RUN_UNIT_TESTS(tests)
