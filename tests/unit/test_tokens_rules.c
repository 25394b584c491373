#include "moe/tokens_rules.h"
#include "support/test.h"

typedef struct row {
    cot_moe_shape shape; /* T, D, E, P, H */
    size_t grain;
    cot_tokens_way way;
} row;

static const row rows[] = {
    /* Four tokens, full lanes: projected where 20 H < 28 + 7 H, with one slot. */
    {{4, 64, 8, 1, 1}, 16, COT_TOKENS_PROJECTED},
    {{4, 64, 8, 1, 2}, 16, COT_TOKENS_PROJECTED},
    {{4, 64, 8, 1, 3}, 16, COT_TOKENS_FUSED},
    {{4, 64, 8, 1, 12}, 16, COT_TOKENS_FUSED},
    {{4, 64, 8, 1, 13}, 16, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 2, 1}, 16, COT_TOKENS_FUSED},
    {{4, 64, 8, 2, 12}, 16, COT_TOKENS_FUSED},
    {{4, 64, 8, 2, 13}, 16, COT_TOKENS_BY_SLOTS},
    /* Lanes that are filled to four fifths, and not. */
    {{4, 64, 8, 1, 4}, 1, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 1, 4}, 12, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 1, 4}, 13, COT_TOKENS_FUSED},
    {{4, 64, 8, 1, 4}, 17, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 1, 4}, 25, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 1, 4}, 26, COT_TOKENS_FUSED},
    {{4, 64, 8, 1, 4}, 38, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 1, 4}, 39, COT_TOKENS_FUSED},
    {{4, 64, 8, 1, 4}, 51, COT_TOKENS_BY_SLOTS},
    {{4, 64, 8, 1, 4}, 52, COT_TOKENS_FUSED},
    {{4, 64, 8, 1, 4}, 65, COT_TOKENS_FUSED},
    /* Not filled: projected where 100 H <= 49 (4 + H). */
    {{4, 64, 8, 1, 3}, 12, COT_TOKENS_PROJECTED},
    {{4, 64, 8, 2, 3}, 12, COT_TOKENS_BY_SLOTS},
    /* Experts that are small, D H up to 32 Ki, and not. */
    {{4, 4096, 8, 1, 8}, 16, COT_TOKENS_FUSED},
    {{4, 4097, 8, 1, 8}, 16, COT_TOKENS_BY_SLOTS},
    /* Other numbers of tokens: projected where 25 T H <= 49 (T + H). */
    {{1, 64, 8, 1, 4}, 16, COT_TOKENS_PROJECTED},
    {{3, 64, 8, 1, 5}, 16, COT_TOKENS_PROJECTED},
    {{3, 64, 8, 1, 6}, 16, COT_TOKENS_BY_SLOTS},
    {{5, 64, 8, 1, 3}, 16, COT_TOKENS_PROJECTED},
    {{5, 64, 8, 1, 4}, 16, COT_TOKENS_BY_SLOTS},
    {{5, 64, 8, 2, 3}, 16, COT_TOKENS_BY_SLOTS},
    {{64, 64, 8, 1, 2}, 16, COT_TOKENS_PROJECTED},
    {{64, 64, 8, 1, 3}, 16, COT_TOKENS_BY_SLOTS},
};

static void the_way_of_a_shape(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cot_moe_shape *shape = &rows[i].shape;
        const cot_tokens_way way = cot_tokens_way_of(shape, rows[i].grain);
        if (way != rows[i].way)
            fail_msg("T %zu, D %zu, P %zu, H %zu, grains of %zu: way %d, not %d", shape->T,
                     shape->D, shape->P, shape->H, rows[i].grain, (int)way, (int)rows[i].way);
    }
}

/* What fused_experts.h and projected.h can do. */
static void no_way_is_chosen_that_cannot_be_gone(void **state)
{
    (void)state;
    for (size_t T = 1; T <= 8; T++)
        for (size_t P = 1; P <= 3; P++)
            for (size_t H = 1; H <= 20; H++)
                for (size_t grain = 1; grain <= 70; grain++) {
                    const cot_moe_shape shape = {T, 6, 5, P, H};
                    const cot_tokens_way way = cot_tokens_way_of(&shape, grain);
                    assert_true(way != COT_TOKENS_PROJECTED || P == 1);
                    assert_true(way != COT_TOKENS_FUSED || (T == 4 && H <= 12));
                }
}

/* The number of experts is that of all ranks, and where they are decides no way. */
static void the_number_of_experts_does_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cot_moe_shape shape = rows[i].shape;
        for (shape.E = 1; shape.E <= 4096; shape.E *= 8)
            assert_int_equal(cot_tokens_way_of(&shape, rows[i].grain), rows[i].way);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_way_of_a_shape),
    cmocka_unit_test(no_way_is_chosen_that_cannot_be_gone),
    cmocka_unit_test(the_number_of_experts_does_not_matter),
};

RUN_UNIT_TESTS(tests)
