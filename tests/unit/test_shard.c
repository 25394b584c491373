#include "support/test.h"

#include <coterie/shard.h>

static void blocks_cover_everything_once(void **state)
{
    (void)state;
    for (size_t total = 0; total <= 40; total++)
        for (size_t blocks = 1; blocks <= 12; blocks++) {
            size_t next = 0;
            for (size_t b = 0; b < blocks; b++) {
                assert_int_equal(cot_shard_begin(total, blocks, b), next);
                size_t size = cot_shard_size(total, blocks, b);
                assert_true(size == total / blocks || size == total / blocks + 1);
                next += size;
            }
            assert_int_equal(next, total);
            assert_int_equal(cot_shard_begin(total, blocks, blocks), total);
        }
    assert_int_equal(cot_shard_begin(13, 4, 1), 3);
    assert_int_equal(cot_shard_begin(13, 4, 3), 9);
}

/* Cuts into few blocks are made where cuts into a multiple of them are made too. */
static void cuts_nest(void **state)
{
    (void)state;
    for (size_t total = 0; total <= 40; total++)
        for (size_t few = 1; few <= 6; few++)
            for (size_t times = 1; times <= 4; times++)
                for (size_t b = 0; b <= few; b++)
                    assert_int_equal(cot_shard_begin(total, few, b),
                                     cot_shard_begin(total, few * times, b * times));
}

static void huge_totals_do_not_overflow(void **state)
{
    (void)state;
    assert_true(cot_shard_begin(SIZE_MAX, 1 << 20, 1 << 20) == SIZE_MAX);
    assert_true(cot_shard_begin(SIZE_MAX - 1, 2, 1) == SIZE_MAX / 2);
    assert_true(cot_shard_size(SIZE_MAX, 3, 2) == SIZE_MAX / 3);
}

static void parts_hold_whole_grains(void **state)
{
    (void)state;
    for (size_t samples = 0; samples <= 20; samples++)
        for (size_t parts = 1; parts <= 9; parts++) {
            size_t sample = 0;
            size_t grain = 0;
            for (size_t part = 0; part < parts; part++) {
                cot_grains grains = cot_grains_of(samples, 8, parts, part);
                assert_int_equal(grains.first, grain);
                assert_int_equal(cot_grains_begin(&grains), sample);
                size_t here = 0;
                for (size_t g = grains.first; g < grains.end; g++) {
                    assert_int_equal(cot_grain_begin(&grains, g), sample + here);
                    here += cot_grain_size(&grains, g);
                }
                assert_int_equal(cot_grains_size(&grains), here);
                sample += here;
                grain = grains.end;
            }
            assert_int_equal(sample, samples);
            assert_int_equal(grain, 8);
        }
}

/* The capacity is enough for every smaller batch, never more than one too many, and 0 for a part
 * without grains. */
static void capacity_is_enough_and_tight(void **state)
{
    (void)state;
    for (size_t most = 1; most <= 30; most++)
        for (size_t count = 1; count <= 8; count *= 2)
            for (size_t parts = 1; parts <= 10; parts++)
                for (size_t part = 0; part < parts; part++) {
                    size_t capacity = cot_grains_capacity(most, count, parts, part);
                    cot_grains grains = cot_grains_of(most, count, parts, part);
                    for (size_t samples = 0; samples <= most; samples++) {
                        cot_grains smaller = cot_grains_of(samples, count, parts, part);
                        assert_true(cot_grains_size(&smaller) <= capacity);
                    }
                    assert_true(capacity <= cot_grains_size(&grains) + 1);
                    assert_true(capacity <= most);
                    if (grains.first == grains.end) assert_int_equal(capacity, 0);
                }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_cover_everything_once), cmocka_unit_test(cuts_nest),
    cmocka_unit_test(huge_totals_do_not_overflow),  cmocka_unit_test(parts_hold_whole_grains),
    cmocka_unit_test(capacity_is_enough_and_tight),
};

RUN_UNIT_TESTS(tests)
