#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/shared.h>

#include <stdint.h>

enum { MOST = 3 }; /* ranks that bring something */

/* Bytes of a rank's part: nothing of those behind the third, and of the first with `late`. */
static size_t part_of(size_t rank, bool late)
{
    return rank < MOST && (rank > 0 || !late) ? 1000 + 7 * rank : 0;
}

static void try_parts(bool late)
{
    const size_t me = (size_t)rank_here();
    size_t begin = 0;
    size_t all = 0;
    for (size_t rank = 0; rank < (size_t)rank_count(); rank++) {
        if (rank < me) begin += part_of(rank, late);
        all += part_of(rank, late);
    }
    cot_shared *shared = cot_shared_create(MPI_COMM_WORLD, part_of(me, late));
    unsigned char *base = cot_shared_base(shared);
    for (size_t i = 0; i < part_of(me, late); i++) base[begin + i] = (unsigned char)(begin + i);
    cot_shared_meet(shared);
    bool right = (uintptr_t)base % COT_ALIGNMENT == 0;
    for (size_t i = 0; i < all; i++) right = right && base[i] == (unsigned char)i;
    assert_on_every_rank(right);
    cot_shared_destroy(&shared);
    assert_null(shared);
}

static void parts_follow_each_other(void **state)
{
    (void)state;
    try_parts(false);
}

static void first_rank_may_bring_nothing(void **state)
{
    (void)state;
    try_parts(true);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(parts_follow_each_other),
    cmocka_unit_test(first_rank_may_bring_nothing),
};

RUN_MPI_TESTS(tests)
