#include "support/numbers.h"
#include "support/test.h"

#include <coterie/patch.h>

enum { C = 2, H = 6, W = 8, SIZE = C * H * W };

/* Pixel (c, row, col) holds 100 c + 10 row + col. */
static void cuts_in_the_order_promised(void **state)
{
    (void)state;
    const cot_patches patches = {C, H, W, 3, 4};
    cot_real image[SIZE];
    cot_real tokens[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        image[i] = (cot_real)(i / (H * W) * 100 + i / W % H * 10 + i % W);
    assert_int_equal(cot_patches_tokens(&patches), 4);
    assert_int_equal(cot_patches_width(&patches), 24);
    cot_patches_cut(&patches, image, tokens);
    size_t at = 0;
    for (size_t grid_row = 0; grid_row < 2; grid_row++)
        for (size_t grid_col = 0; grid_col < 2; grid_col++)
            for (size_t c = 0; c < C; c++)
                for (size_t row = 0; row < 3; row++)
                    for (size_t col = 0; col < 4; col++)
                        assert_true(tokens[at++] == (cot_real)(100 * c + 10 * (3 * grid_row + row) +
                                                               4 * grid_col + col));
    assert_int_equal(at, SIZE);
}

static void the_largest_and_smallest_patches(void **state)
{
    (void)state;
    cot_real image[SIZE];
    cot_real tokens[SIZE];
    draw_normal(1, SIZE, image);
    const cot_patches whole = {C, H, W, H, W};
    assert_int_equal(cot_patches_tokens(&whole), 1);
    cot_patches_cut(&whole, image, tokens);
    assert_same_bits(tokens, image, SIZE);
    const cot_patches pixels = {1, C * H, W, 1, 1};
    assert_int_equal(cot_patches_tokens(&pixels), SIZE);
    assert_int_equal(cot_patches_width(&pixels), 1);
    cot_patches_cut(&pixels, image, tokens);
    assert_same_bits(tokens, image, SIZE);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(cuts_in_the_order_promised),
    cmocka_unit_test(the_largest_and_smallest_patches),
};

RUN_UNIT_TESTS(tests)
