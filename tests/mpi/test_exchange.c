/* Every row carries a tag, so that where it arrives shows. */
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/exchange.h>
#include <coterie/memory.h>
#include <coterie/rng.h>

enum { WIDTH = 3 }; /* sample, expert, slot */

typedef struct setting {
    size_t experts, slots, grains, max_batch;
    int replicas;
} setting;

/* Who keeps what: all, or a subset by sample and expert. */
typedef bool keeps(const setting *s, size_t sample, size_t expert);

typedef struct fixture {
    const setting *setting;
    keeps *keeps;
    cot_comm *comm;
    cot_exchange *exchange;
    cot_real *home, *owned;
} fixture;

static void create(fixture *f, const setting *s)
{
    *f = (fixture){.setting = s, .comm = comm_of_world(s->replicas)};
    f->exchange =
        cot_exchange_create(f->comm, s->experts, s->slots, WIDTH, s->grains, s->max_batch);
    f->home = cot_alloc(cot_exchange_home_rows(f->exchange) * WIDTH, sizeof(cot_real));
    f->owned = f->home;
    if (!cot_exchange_is_local(f->exchange))
        f->owned = cot_alloc(cot_exchange_owned_rows(f->exchange) * WIDTH, sizeof(cot_real));
}

static void destroy(fixture *f)
{
    if (f->owned != f->home) cot_free(f->owned);
    cot_free(f->home);
    cot_exchange_destroy(&f->exchange);
    assert_null(f->exchange);
    cot_comm_destroy(&f->comm);
}

static bool keeps_all(const setting *s, size_t sample, size_t expert)
{
    (void)s, (void)sample, (void)expert;
    return true;
}

static bool keeps_some(const setting *s, size_t sample, size_t expert)
{
    (void)s;
    uint32_t words[4];
    cot_stream stream = {.seed = expert, .index = sample, .purpose = COT_PURPOSE_TEST};
    cot_rng_words(&stream, 0, words);
    return words[0] % 3 == 0;
}

/* The middle expert is nobody's, the first everybody's. */
static bool keeps_not_the_middle(const setting *s, size_t sample, size_t expert)
{
    return expert == 0 || (expert != s->experts / 2 && keeps_some(s, sample, expert));
}

/* Samples of the first half keep nothing: with two ranks or more, the first rank's do not. */
static bool second_half_keeps(const setting *s, size_t sample, size_t expert)
{
    return sample >= s->max_batch / 2 && keeps_some(s, sample, expert);
}

static bool keeps_none(const setting *s, size_t sample, size_t expert)
{
    (void)s, (void)sample, (void)expert;
    return false;
}

static size_t samples_that_keep(const fixture *f, const cot_grains *grains, size_t grain,
                                size_t expert)
{
    size_t first = cot_grain_begin(grains, grain);
    size_t count = 0;
    for (size_t i = first; i < first + cot_grain_size(grains, grain); i++)
        count += f->keeps(f->setting, i, expert);
    return count;
}

/* Visit every row that a table describes, in the order that slots.h promises: what is there, or
 * else what should be. Says whether table and rows are as promised, with values `factor` times the
 * tags. */
static bool visit(const fixture *f, const cot_grains *grains, const cot_slots *slots,
                  size_t first_expert, cot_real *rows, bool write, cot_real factor)
{
    size_t next = 0;
    bool right = slots->grains == grains->end - grains->first;
    for (size_t g = 0; g < slots->grains; g++)
        for (size_t e = 0; e < slots->experts; e++) {
            size_t grain = grains->first + g;
            size_t begin = cot_grain_begin(grains, grain);
            right = right && cot_slots_first(slots, g, e) == next;
            right = right && cot_slots_samples(slots, g, e) ==
                                 samples_that_keep(f, grains, grain, first_expert + e);
            for (size_t p = 0; p < slots->slots_per_expert; p++)
                for (size_t i = begin; i < begin + cot_grain_size(grains, grain); i++) {
                    if (!f->keeps(f->setting, i, first_expert + e)) continue;
                    cot_real *row = rows + next++ * WIDTH;
                    const size_t tag[WIDTH] = {i, first_expert + e, p};
                    for (size_t k = 0; k < WIDTH; k++)
                        if (write)
                            row[k] = factor * (cot_real)tag[k];
                        else
                            right = right && row[k] == factor * (cot_real)tag[k];
                }
        }
    return right;
}

static bool visit_home(const fixture *f, bool write, cot_real factor)
{
    return visit(f, cot_exchange_home_grains(f->exchange), cot_exchange_home_slots(f->exchange), 0,
                 f->home, write, factor);
}

static bool visit_owned(const fixture *f, bool write, cot_real factor)
{
    size_t first = cot_shard_begin(f->setting->experts, (size_t)f->comm->group_size,
                                   (size_t)f->comm->group_rank);
    return visit(f, cot_exchange_owned_grains(f->exchange), cot_exchange_owned_slots(f->exchange),
                 first, f->owned, write, factor);
}

static void plan(fixture *f, size_t samples, keeps *who)
{
    f->keeps = who;
    if (who == keeps_all) {
        cot_exchange_plan(f->exchange, samples);
        return;
    }
    cot_grains grains =
        cot_grains_of(samples, f->setting->grains, (size_t)f->comm->size, (size_t)f->comm->rank);
    size_t E = f->setting->experts;
    size_t *used = cot_alloc((grains.end - grains.first) * E, sizeof *used);
    for (size_t g = grains.first; g < grains.end; g++)
        for (size_t e = 0; e < E; e++)
            used[(g - grains.first) * E + e] = samples_that_keep(f, &grains, g, e);
    cot_exchange_plan_kept(f->exchange, samples, used);
    cot_free(used);
}

/* There, and back with what the owner made of it. */
static void check(fixture *f, size_t samples, keeps *who)
{
    plan(f, samples, who);
    assert_on_every_rank(visit_home(f, true, 1));
    cot_exchange_to_owners(f->exchange, f->home, f->owned);
    assert_on_every_rank(visit_owned(f, false, 1));
    visit_owned(f, true, -3);
    if (f->home != f->owned) visit_home(f, true, 7); /* to be overwritten */
    cot_exchange_to_homes(f->exchange, f->owned, f->home);
    assert_on_every_rank(visit_home(f, false, -3));
}

static void check_setting(const setting *s)
{
    if (rank_count() % s->replicas != 0) return;
    static keeps *const subsets[] = {keeps_some, keeps_not_the_middle, second_half_keeps,
                                     keeps_none};
    fixture f;
    create(&f, s);
    const size_t batches[] = {s->max_batch, s->max_batch / 2, 1, 0, s->max_batch};
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        check(&f, batches[b], keeps_all);
        check(&f, batches[b], keeps_all); /* the plan is kept */
        for (size_t i = 0; i < sizeof subsets / sizeof subsets[0]; i++)
            check(&f, batches[b], subsets[i]);
        check(&f, batches[b], keeps_all);
    }
    destroy(&f);
}

static void experts_of_every_number(void **state)
{
    (void)state;
    for (size_t experts = 1; experts <= 9; experts++) {
        check_setting(&(setting){experts, 1, 8, 24, 1});
        check_setting(&(setting){experts, 3, 4, 17, 1});
    }
}

/* Empty grains among full ones, and ranks without any. */
static void fewer_samples_than_grains(void **state)
{
    (void)state;
    check_setting(&(setting){5, 2, 8, 3, 1});
    check_setting(&(setting){5, 2, 8, 1, 1});
    check_setting(&(setting){2, 1, 1, 6, 1});
    check_setting(&(setting){7, 1, 2, 9, 1});
}

static void replicas(void **state)
{
    (void)state;
    for (size_t experts = 1; experts <= 5; experts++) {
        check_setting(&(setting){experts, 2, 8, 21, 2});
        check_setting(&(setting){experts, 1, 8, 5, rank_count()});
    }
}

/* The largest rows that tables describe fit into the buffers: for every batch, and full ones need
 * no more than one sample less. */
static void buffers_are_large_enough(void **state)
{
    (void)state;
    const setting s = {5, 2, 8, 19, 1};
    fixture f;
    create(&f, &s);
    for (size_t samples = 0; samples <= s.max_batch; samples++) {
        cot_exchange_plan(f.exchange, samples);
        size_t home = cot_grains_size(cot_exchange_home_grains(f.exchange)) * 5 * 2;
        const cot_slots *owned = cot_exchange_owned_slots(f.exchange);
        assert_on_every_rank(home <= cot_exchange_home_rows(f.exchange));
        assert_on_every_rank(samples * owned->experts * 2 <= cot_exchange_owned_rows(f.exchange));
        assert_on_every_rank(cot_exchange_is_local(f.exchange) == (rank_count() == 1));
    }
    destroy(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(experts_of_every_number),
    cmocka_unit_test(fewer_samples_than_grains),
    cmocka_unit_test(replicas),
    cmocka_unit_test(buffers_are_large_enough),
};

RUN_MPI_TESTS(tests)
