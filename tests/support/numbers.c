#include "support/numbers.h"

#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/rng.h>

#include <string.h>

void draw_normal(uint64_t draw, size_t n, cot_real *out)
{
    cot_stream stream = {.seed = 20240901, .index = draw, .purpose = COT_PURPOSE_TEST};
    cot_rng_normal(&stream, 0, n, 1, out);
}

bool same_bits(const cot_real *a, const cot_real *b, size_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

void assert_same_bits(const cot_real *a, const cot_real *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!same_bits(a + i, b + i, 1))
            fail_msg("element %zu of %zu: %a is not %a", i, n, (double)a[i], (double)b[i]);
}

/* One call: elements [0, n) of x and y, at their offsets in memory. */
static void try_position(elementwise *kernel, size_t n, size_t x_offset, size_t y_offset,
                         const cot_real *x, const cot_real *y, const cot_real *want)
{
    const cot_real guard = (cot_real)-77.25;
    cot_real *x_memory = cot_alloc(POSITIONS + 1, sizeof *x_memory);
    cot_real *y_memory = cot_alloc(POSITIONS + 2, sizeof *y_memory);
    for (size_t i = 0; i < POSITIONS + 2; i++) y_memory[i] = guard;
    memcpy(x_memory + x_offset, x, n * sizeof *x);
    memcpy(y_memory + 1 + y_offset, y, n * sizeof *y);
    kernel(n, x_memory + x_offset, y_memory + 1 + y_offset);
    for (size_t i = 0; i < n; i++)
        if (!same_bits(y_memory + 1 + y_offset + i, want + i, 1))
            fail_msg("element %zu of %zu at offsets %zu and %zu is %a, alone it is %a", i, n,
                     x_offset, y_offset, (double)y_memory[1 + y_offset + i], (double)want[i]);
    assert_same_bits(y_memory + y_offset, &guard, 1);
    assert_same_bits(y_memory + 1 + y_offset + n, &guard, 1);
    cot_free(y_memory);
    cot_free(x_memory);
}

void assert_same_at_any_position(elementwise *kernel, const cot_real *x, const cot_real *y)
{
    cot_real alone[POSITIONS];
    memcpy(alone, y, sizeof alone);
    for (size_t i = 0; i < POSITIONS; i++) kernel(1, x + i, alone + i);
    for (size_t n = 1; n <= MOST_LENGTH; n++)
        for (size_t offset = 0; offset <= MOST_OFFSET; offset++) {
            /* Elements shift too, so that each one stands everywhere in a vector. */
            size_t first = (n * 5 + offset) % (POSITIONS - n + 1);
            try_position(kernel, n, offset, (offset * 7) % (MOST_OFFSET + 1), x + first, y + first,
                         alone + first);
        }
}
