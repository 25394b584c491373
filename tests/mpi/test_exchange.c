/* Every row carries a tag, so that where it arrives shows. */
#include "moe/exchange_state.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/exchange.h>
#include <coterie/memory.h>
#include <coterie/rng.h>

enum { WIDTH = 3 }; /* sample, expert, slot */

typedef struct setting {
    size_t experts, slots, grains, max_batch;
    int replicas;
    size_t node_ranks; /* 0: all */
    size_t chunks;
} setting;

/* Who keeps what: all, or a subset by sample and expert. */
typedef bool keeps(const setting *s, size_t sample, size_t expert);

typedef struct fixture {
    const setting *setting;
    keeps *keeps;
    cot_comm *comm;
    cot_exchange *exchange;
    const cot_slot_buffers *buffers;
} fixture;

static void create(fixture *f, const setting *s)
{
    *f = (fixture){.setting = s, .comm = comm_of_world(s->replicas)};
    f->exchange = cot_exchange_create(f->comm, s->experts, s->slots, WIDTH, s->grains, s->max_batch,
                                      s->node_ranks);
    cot_exchange_set_chunks(f->exchange, s->chunks);
    f->buffers = cot_exchange_buffers(f->exchange);
}

static void destroy(fixture *f)
{
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

static size_t samples_that_keep(const fixture *f, size_t begin, size_t end, size_t expert)
{
    size_t count = 0;
    for (size_t i = begin; i < end; i++) count += f->keeps(f->setting, i, expert);
    return count;
}

/* One side of the exchange: the samples [begin, end) of the batch, and a table of some experts. */
typedef struct part {
    size_t begin, end, first_expert;
    const cot_slots *slots;
} part;

static part home_of(const fixture *f)
{
    const cot_grains *grains = cot_exchange_home_grains(f->exchange);
    size_t begin = cot_grains_begin(grains);
    return (part){begin, begin + cot_grains_size(grains), 0, cot_exchange_home_slots(f->exchange)};
}

static part owned_of(const fixture *f, size_t samples)
{
    const cot_comm *comm = f->comm;
    cot_grains grains = cot_grains_of(samples, f->setting->grains, (size_t)comm->replica_count,
                                      (size_t)comm->replica);
    size_t begin = cot_grains_begin(&grains);
    return (part){
        begin, begin + cot_grains_size(&grains),
        cot_shard_begin(f->setting->experts, (size_t)comm->group_size, (size_t)comm->group_rank),
        cot_exchange_owned_slots(f->exchange)};
}

/* Visit every row of a side: what is there, or else what should be. Says whether all are as
 * promised, with values `factor` times the tags. */
static bool visit(const fixture *f, const part *at, cot_real *rows, bool write, cot_real factor)
{
    bool right = true;
    for (size_t e = 0; e < at->slots->experts; e++)
        for (size_t p = 0; p < at->slots->slots_per_expert; p++) {
            size_t place = 0;
            for (size_t i = at->begin; i < at->end; i++) {
                if (!f->keeps(f->setting, i, at->first_expert + e)) continue;
                cot_real *row = rows + cot_slots_row(at->slots, e, p, place++) * WIDTH;
                const size_t tag[WIDTH] = {i, at->first_expert + e, p};
                for (size_t k = 0; k < WIDTH; k++)
                    if (write)
                        row[k] = factor * (cot_real)tag[k];
                    else
                        right = right && row[k] == factor * (cot_real)tag[k];
            }
        }
    return right;
}

/* An owner's experts are one block of rows without gaps, within what the buffers hold. */
static bool owned_rows_are_one_block(const fixture *f, const part *owned)
{
    const cot_slots *slots = owned->slots;
    bool right = true;
    size_t rows = 0;
    for (size_t e = 0; e < slots->experts; e++) {
        size_t samples = samples_that_keep(f, owned->begin, owned->end, owned->first_expert + e);
        right = right && slots->samples[e] == samples && slots->first[e] == slots->first[0] + rows;
        rows += slots->slots_per_expert * samples;
        right = right && cot_slots_rows(slots, e) <= cot_exchange_expert_rows(f->exchange);
    }
    return right && rows <= cot_exchange_owned_rows(f->exchange);
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
    size_t begin = cot_grains_begin(&grains);
    size_t *used = cot_alloc(f->setting->experts, sizeof *used);
    for (size_t e = 0; e < f->setting->experts; e++)
        used[e] = samples_that_keep(f, begin, begin + cot_grains_size(&grains), e);
    cot_exchange_plan_kept(f->exchange, samples, used);
    cot_free(used);
}

/* Inputs and outputs there, and outputs back with what the owner made of them. */
static void check(fixture *f, size_t samples, keeps *who)
{
    const cot_slot_buffers *b = f->buffers;
    bool shared = cot_exchange_nodes(f->exchange) == 1;
    plan(f, samples, who);
    part home = home_of(f);
    part owned = owned_of(f, samples);
    assert_on_every_rank(owned_rows_are_one_block(f, &owned));
    visit(f, &home, b->home_in, true, 1);
    cot_exchange_run(f->exchange, COT_LEG_INPUTS);
    assert_on_every_rank(visit(f, &owned, b->owned_in, false, 1));
    visit(f, &owned, b->owned_out, true, -3);
    if (!shared) visit(f, &home, b->home_out, true, 7); /* to be overwritten */
    cot_exchange_run(f->exchange, COT_LEG_OUTPUTS);
    assert_on_every_rank(visit(f, &home, b->home_out, false, -3));
    visit(f, &home, b->home_out, true, 5);
    cot_exchange_run(f->exchange, COT_LEG_DOUTPUTS);
    assert_on_every_rank(visit(f, &owned, b->owned_out, false, 5));
    assert_on_every_rank(visit(f, &owned, b->owned_in, false, 1)); /* inputs have stayed */
    visit(f, &owned, b->owned_in, true, 9);
    cot_exchange_run(f->exchange, COT_LEG_DINPUTS);
    assert_on_every_rank(visit(f, &home, b->home_in, false, 9));
}

static void check_transport(const setting *s)
{
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

static void check_setting(const setting *given)
{
    if (rank_count() % given->replicas != 0) return;
    static const struct {
        size_t node_ranks, chunks;
    } ways[] = {{0, 1}, {1, 1}, {1, 3}, {2, 2}, {3, 1}};
    setting s = *given;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        s.node_ranks = ways[i].node_ranks;
        s.chunks = ways[i].chunks;
        check_transport(&s);
    }
}

static void experts_of_every_number(void **state)
{
    (void)state;
    for (size_t experts = 1; experts <= 9; experts++) {
        check_setting(&(setting){experts, 1, 8, 24, 1, 0, 1});
        check_setting(&(setting){experts, 3, 4, 17, 1, 0, 1});
    }
}

/* Empty grains among full ones, and ranks without any. */
static void fewer_samples_than_grains(void **state)
{
    (void)state;
    check_setting(&(setting){5, 2, 8, 3, 1, 0, 1});
    check_setting(&(setting){5, 2, 8, 1, 1, 0, 1});
    check_setting(&(setting){2, 1, 1, 6, 1, 0, 1});
    check_setting(&(setting){7, 1, 2, 9, 1, 0, 1});
}

static void replicas(void **state)
{
    (void)state;
    for (size_t experts = 1; experts <= 5; experts++) {
        check_setting(&(setting){experts, 2, 8, 21, 2, 0, 1});
        check_setting(&(setting){experts, 1, 8, 5, rank_count(), 0, 1});
    }
}

/* Some ranks' and nodes' rows of one slot are more than a message takes. */
static void long_slots(void **state)
{
    (void)state;
    for (size_t node_ranks = 1; node_ranks <= 2; node_ranks++) {
        const setting s = {2, 1, 8, 400000, 1, node_ranks, 2};
        fixture f;
        create(&f, &s);
        check(&f, s.max_batch, keeps_all);
        check(&f, s.max_batch, keeps_some);
        destroy(&f);
    }
}

/* Ranks of one machine choose pieces alike, and with any of them all rows arrive: each slot by
 * itself, several together. */
static void slots_go_in_pieces(void **state)
{
    const setting s = {5, 2, 8, 20000, 1, 1, 2};
    fixture f;
    (void)state;
    create(&f, &s);
    const size_t chosen = f.exchange->piece;
    size_t first = chosen;
    COT_MPI(MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, f.comm->world));
    assert_on_every_rank(chosen == first);
    const size_t pieces[] = {1, (size_t)32 << 10, (size_t)160 << 10, (size_t)1 << 30};
    size_t messages[sizeof pieces / sizeof pieces[0]];
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        f.exchange->piece = pieces[i];
        f.exchange->planned = 0;
        check(&f, s.max_batch, keeps_all);
        messages[i] = f.exchange->message_count;
        check(&f, s.max_batch, keeps_some);
    }
    /* An expert has two slots: every pair of ranks has several of each other's. */
    const bool alone = rank_count() == 1;
    assert_on_every_rank(alone || (messages[0] >= messages[1] && messages[1] >= messages[2] &&
                                   messages[0] > messages[3]));
    destroy(&f);
}

/* All ranks here are on one machine, and nodes are as large as allowed. */
static void memory_is_shared(void **state)
{
    (void)state;
    for (size_t node_ranks = 0; node_ranks < 5; node_ranks++) {
        const setting s = {5, 2, 8, 19, 1, node_ranks, 1};
        const size_t ranks = (size_t)rank_count();
        const size_t nodes = node_ranks == 0 ? 1 : (ranks + node_ranks - 1) / node_ranks;
        fixture f;
        create(&f, &s);
        assert_on_every_rank(cot_exchange_nodes(f.exchange) == nodes);
        const cot_slot_buffers *b = f.buffers;
        assert_on_every_rank((b->home_in == b->owned_in && b->home_out == b->owned_out) ==
                             (nodes == 1));
        const char *way = nodes == 1       ? "in shared memory"
                          : nodes == ranks ? "by messages"
                                           : "by messages between nodes";
        assert_string_equal(cot_exchange_way(f.exchange), way);
        destroy(&f);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(experts_of_every_number),
    cmocka_unit_test(fewer_samples_than_grains),
    cmocka_unit_test(replicas),
    cmocka_unit_test(long_slots),
    cmocka_unit_test(slots_go_in_pieces),
    cmocka_unit_test(memory_is_shared),
};

RUN_MPI_TESTS(tests)
