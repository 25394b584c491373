/* The layer on several ranks against the layer on one, and a kept subset against a dense
 * computation. */
#include "support/numbers.h"
#include "support/ranks.h"
#include "support/sides.h"
#include "support/test.h"

#include <coterie/blas.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Counts what cot_alloc takes. */
static size_t allocations;

void *aligned_alloc(size_t alignment, size_t size)
{
    void *memory = NULL;
    allocations++;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

enum { T = 3, H = 4, GRAINS = 8, MOST_BATCH = 22 };

/* The width of a token: short, or so long that products of several blocks' columns are made at
 * once. */
enum { SHORT = 5, LONG = 40, PER_SAMPLE = T * SHORT };

/* Experts by slots or, with one slot each, projected. */
static const fixture fixtures[] = {
    {"plain",
     {{T, SHORT, 8, 1, H}, {.normalize = COT_NORMALIZE_NONE}, COT_RELU, false},
     MOST_BATCH,
     GRAINS,
     COT_TOKENS_PROJECTED},
    {"logits, noise, gelu, biases",
     {{T, SHORT, 5, 3, H}, {.normalize = COT_NORMALIZE_LOGITS, .noise = 0.5}, COT_GELU, true},
     MOST_BATCH,
     GRAINS,
     COT_TOKENS_BY_SLOTS},
    {"inputs",
     {{T, SHORT, 13, 2, H}, {.normalize = COT_NORMALIZE_INPUTS}, COT_RELU, true},
     MOST_BATCH,
     GRAINS,
     COT_TOKENS_BY_SLOTS},
    {"two experts, uniform dispatch",
     {{T, SHORT, 2, 2, H},
      {.normalize = COT_NORMALIZE_INPUTS, .uniform_dispatch = true},
      COT_GELU,
      false},
     MOST_BATCH,
     GRAINS,
     COT_TOKENS_BY_SLOTS},
    {"one expert, uniform combine",
     {{T, SHORT, 1, 1, H},
      {.normalize = COT_NORMALIZE_LOGITS, .uniform_combine = true},
      COT_RELU,
      true},
     MOST_BATCH,
     GRAINS,
     COT_TOKENS_PROJECTED}};
enum { FIXTURES = sizeof fixtures / sizeof fixtures[0] };

/* Four tokens, and grains that fill one, two or three blocks of lanes, or nearly: fused experts;
 * and with fewer samples or hidden units, the other ways with four tokens. */
static const fixture of_four_tokens[] = {
    {"fused, plain",
     {{4, SHORT, 13, 1, 12}, {.normalize = COT_NORMALIZE_NONE}, COT_RELU, false},
     117,
     8,
     COT_TOKENS_FUSED},
    {"fused, logits, noise, gelu, biases",
     {{4, SHORT, 5, 3, 3}, {.normalize = COT_NORMALIZE_LOGITS, .noise = 0.5}, COT_GELU, true},
     107,
     4,
     COT_TOKENS_FUSED},
    {"fused, inputs, full lanes",
     {{4, SHORT, 11, 2, 2}, {.normalize = COT_NORMALIZE_INPUTS}, COT_RELU, true},
     64,
     4,
     COT_TOKENS_FUSED},
    {"fused, logits far apart, whose weights vanish",
     {{4, SHORT, 9, 1, 3}, {.normalize = COT_NORMALIZE_NONE, .noise = 200}, COT_RELU, true},
     60,
     4,
     COT_TOKENS_FUSED},
    {"fused, two experts, uniform dispatch",
     {{4, SHORT, 2, 2, 1},
      {.normalize = COT_NORMALIZE_INPUTS, .uniform_dispatch = true},
      COT_GELU,
      false},
     52,
     4,
     COT_TOKENS_FUSED},
    {"fused, one expert, uniform combine, full lanes",
     {{4, SHORT, 1, 1, 5},
      {.normalize = COT_NORMALIZE_LOGITS, .uniform_combine = true},
      COT_RELU,
      true},
     96,
     2,
     COT_TOKENS_FUSED},
    {"four tokens, small grains",
     {{4, SHORT, 13, 1, 4}, {.normalize = COT_NORMALIZE_LOGITS}, COT_GELU, true},
     48,
     4,
     COT_TOKENS_BY_SLOTS},
    {"four tokens, two hidden units",
     {{4, SHORT, 13, 1, 2}, {.normalize = COT_NORMALIZE_LOGITS}, COT_GELU, true},
     52,
     4,
     COT_TOKENS_PROJECTED}};
enum { OF_FOUR_TOKENS = sizeof of_four_tokens / sizeof of_four_tokens[0] };

/* The cache holds one expert at a time, or two, and a block of experts has up to three: parts. */
static const fixture wide[] = {
    {"fused, wide, one at a time, frozen",
     {{4, 1400, 7, 2, 12},
      {.normalize = COT_NORMALIZE_NONE, .init = COT_ROUTER_LECUN_NORMAL, .freeze = true},
      COT_GELU,
      true},
     54,
     4,
     COT_TOKENS_FUSED},
    {"fused, wide, two at a time",
     {{4, 1200, 11, 1, 10}, {.normalize = COT_NORMALIZE_INPUTS}, COT_RELU, false},
     53,
     2,
     COT_TOKENS_FUSED},
    {"fused, wide, routed together on two ranks",
     {{4, 1400, 48, 1, 3}, {.normalize = COT_NORMALIZE_LOGITS}, COT_GELU, true},
     52,
     4,
     COT_TOKENS_FUSED}};
enum { WIDE = sizeof wide / sizeof wide[0] };

enum { BATCHES = 5 };

static size_t batch_of(const fixture *f, size_t i)
{
    const size_t batches[BATCHES] = {f->most_batch, f->most_batch * 3 / 4, 3, 1, f->most_batch};
    return batches[i];
}

/* Whether the number of ranks is one that gives the same bits as others. */
static bool divides(const fixture *f)
{
    return f->grains % (size_t)rank_count() == 0;
}

static void create_over(side *s, const fixture *f, cot_comm *comm, cot_plan plan, size_t node_ranks,
                        size_t chunks)
{
    side_create(s, f, comm,
                (cot_batching){.node_ranks = node_ranks, .plan = plan, .chunks = chunks});
}

static void create(side *s, const fixture *f, cot_comm *comm)
{
    create_over(s, f, comm, COT_PLAN_SLOTS, 0, 1);
}

static void check_against_one_rank(const fixture *f)
{
    side all;
    side messages;
    side alone;
    create(&all, f, comm_of_world(1));
    create_over(&messages, f, comm_of_world(1), COT_PLAN_SLOTS, 1, 1);
    create(&alone, f, comm_of_self());
    for (size_t i = 0; i < BATCHES; i++) {
        side_step(&all, batch_of(f, i));
        side_step(&messages, batch_of(f, i));
        side_step(&alone, batch_of(f, i));
        sides_compare(&all, &messages, batch_of(f, i), true);
        sides_compare(&all, &alone, batch_of(f, i), divides(f));
    }
    side_destroy(&alone);
    side_destroy(&messages);
    side_destroy(&all);
}

static void any_number_of_ranks_like_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) check_against_one_rank(&fixtures[i]);
}

/* A pass by slots, cut into chunks of experts: also into one expert each, and where there are fewer
 * experts than chunks; by messages, and where some ranks share memory. */
static void check_chunks(const fixture *f, size_t node_ranks, size_t chunks)
{
    side whole;
    side cut;
    create(&whole, f, comm_of_world(1));
    create_over(&cut, f, comm_of_world(1), COT_PLAN_SLOTS, node_ranks, chunks);
    size_t most = (f->options.shape.E + (size_t)rank_count() - 1) / (size_t)rank_count();
    size_t want = node_ranks >= (size_t)rank_count() ? 1 : chunks;
    if (want > most) want = most;
    assert_on_every_rank(cot_exchange_chunks(cot_soft_moe_exchange(cut.layer)) == want);
    for (size_t i = 0; i < BATCHES; i++) {
        side_step(&whole, batch_of(f, i));
        side_step(&cut, batch_of(f, i));
        sides_compare(&whole, &cut, batch_of(f, i), true);
    }
    /* Another number between two steps. */
    cot_soft_moe_set_chunks(cut.layer, 2);
    side_step(&cut, f->most_batch);
    sides_compare(&whole, &cut, f->most_batch, true);
    side_destroy(&cut);
    side_destroy(&whole);
}

static void any_number_of_chunks_like_one(void **state)
{
    static const size_t counts[] = {2, 3, 7, 50};
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            check_chunks(&fixtures[i], 1 + c % 3, counts[c]);
}

/* By tokens: what the slots give, to rounding; and the same bits on every number of ranks, in
 * shared memory and by messages. */
static void check_tokens(const fixture *f)
{
    side all;
    side messages;
    side alone;
    side slots;
    create_over(&all, f, comm_of_world(1), COT_PLAN_TOKENS, 0, 1);
    create_over(&messages, f, comm_of_world(1), COT_PLAN_TOKENS, 1, 1);
    create_over(&alone, f, comm_of_self(), COT_PLAN_TOKENS, 0, 1);
    create(&slots, f, comm_of_self());
    for (size_t i = 0; i < BATCHES; i++) {
        side_step(&all, batch_of(f, i));
        side_step(&messages, batch_of(f, i));
        side_step(&alone, batch_of(f, i));
        side_step(&slots, batch_of(f, i));
        sides_compare(&all, &messages, batch_of(f, i), true);
        sides_compare(&all, &alone, batch_of(f, i), divides(f));
        sides_compare(&alone, &slots, batch_of(f, i), false);
    }
    side_destroy(&slots);
    side_destroy(&alone);
    side_destroy(&messages);
    side_destroy(&all);
}

/* The last of the wide ones: columns of one rank's experts, too many for one product, and of half
 * of them. */
static void joins_on_two_ranks_alone(const fixture *f)
{
    const size_t E = f->options.shape.E;
    const size_t grain = f->most_batch / f->grains;
    assert_false(cot_tokens_join(&f->options.shape, grain, E));
    assert_true(cot_tokens_join(&f->options.shape, grain, E / 2));
}

static void check_tokens_of_width(const fixture *given, size_t width)
{
    fixture f = *given;
    f.options.shape.D = width;
    check_tokens(&f);
}

static void tokens_like_slots(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) {
        check_tokens(&fixtures[i]);
        check_tokens_of_width(&fixtures[i], LONG);
    }
}

static void four_tokens_like_slots(void **state)
{
    (void)state;
    for (size_t i = 0; i < OF_FOUR_TOKENS; i++) {
        check_tokens(&of_four_tokens[i]);
        check_tokens_of_width(&of_four_tokens[i], LONG);
    }
    joins_on_two_ranks_alone(&wide[WIDE - 1]);
    for (size_t i = 0; i < WIDE; i++) check_tokens(&wide[i]);
}

/* Hidden rows that are computed again: the same bits as where they are kept. */
static void check_recomputed(const fixture *f, cot_plan plan, size_t node_ranks)
{
    side kept;
    side again;
    cot_batching batching = {.node_ranks = node_ranks, .plan = plan, .chunks = 2};
    side_create(&kept, f, comm_of_world(1), batching);
    batching.hidden = COT_HIDDEN_RECOMPUTED;
    side_create(&again, f, comm_of_world(1), batching);
    for (size_t i = 0; i < BATCHES; i++) {
        side_step(&kept, batch_of(f, i));
        side_step(&again, batch_of(f, i));
        sides_compare(&kept, &again, batch_of(f, i), true);
    }
    side_destroy(&again);
    side_destroy(&kept);
}

static void recomputed_like_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++)
        for (size_t node_ranks = 0; node_ranks < 2; node_ranks++) {
            check_recomputed(&fixtures[i], COT_PLAN_SLOTS, node_ranks);
            check_recomputed(&fixtures[i], COT_PLAN_TOKENS, node_ranks);
        }
    for (size_t i = 0; i < OF_FOUR_TOKENS; i++)
        check_recomputed(&of_four_tokens[i], COT_PLAN_TOKENS, i % 2);
    check_recomputed(&wide[0], COT_PLAN_TOKENS, 0);
}

/* Two replicas sum gradients by halves of the batch, which is another order than one group's: equal
 * to rounding, and to the bit on other numbers of ranks with two replicas. */
static void check_replicas(const fixture *f, MPI_Comm pair, cot_plan plan, size_t node_ranks)
{
    side all;
    side two;
    side alone;
    cot_comm *comm_of_pair = NULL;
    assert_int_equal(cot_comm_create(pair, 2, &comm_of_pair), COT_OK);
    create_over(&all, f, comm_of_world(2), plan, node_ranks, 1);
    create_over(&two, f, comm_of_pair, plan, 0, 1);
    create_over(&alone, f, comm_of_self(), plan, 0, 1);
    for (size_t b = 0; b < BATCHES; b++) {
        side_step(&all, batch_of(f, b));
        side_step(&two, batch_of(f, b));
        side_step(&alone, batch_of(f, b));
        sides_compare(&all, &two, batch_of(f, b), divides(f));
        sides_compare(&all, &alone, batch_of(f, b), false);
    }
    side_destroy(&alone);
    side_destroy(&two);
    side_destroy(&all);
}

static void replicas_like_one_and_among_themselves(void **state)
{
    (void)state;
    if (rank_count() % 2 != 0) return;
    MPI_Comm pair;
    COT_MPI(MPI_Comm_split(MPI_COMM_WORLD, rank_here() / 2, rank_here(), &pair));
    for (size_t i = 0; i < FIXTURES; i++)
        for (size_t node_ranks = 0; node_ranks < 2; node_ranks++) {
            check_replicas(&fixtures[i], pair, COT_PLAN_SLOTS, node_ranks);
            check_replicas(&fixtures[i], pair, COT_PLAN_TOKENS, node_ranks);
        }
    for (size_t i = 0; i < OF_FOUR_TOKENS; i++)
        check_replicas(&of_four_tokens[i], pair, COT_PLAN_TOKENS, i % 2);
    COT_MPI(MPI_Comm_free(&pair));
}

/* Softmax of n numbers, `stride` apart, in double. */
static void softmax(size_t n, size_t stride, const double *x, double *y)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(x[i * stride]);
    for (size_t i = 0; i < n; i++) y[i * stride] = exp(x[i * stride]) / sum;
}

/* y [D] = f_e(x [D]) of the plain layer: two matrices and ReLU. */
static void expert(const side *alone, size_t e, const double *x, double *y)
{
    const size_t D = alone->fixture->options.shape.D;
    const cot_real *w1 = cot_params_find(alone->params, "moe.0.experts.w1")->value + e * D * H;
    const cot_real *w2 = cot_params_find(alone->params, "moe.0.experts.w2")->value + e * H * D;
    for (size_t d = 0; d < D; d++) y[d] = 0;
    for (size_t h = 0; h < H; h++) {
        double sum = 0;
        for (size_t d = 0; d < D; d++) sum += x[d] * (double)w1[d * H + h];
        for (size_t d = 0; d < D; d++) y[d] += fmax(sum, 0) * (double)w2[h * D + d];
    }
}

/* One sample through the plain layer (no normalization, bias or noise) in double, with the slot
 * outputs of experts that are not kept zeroed; mass [E] are the combine weights by expert. */
static void dense(const side *alone, const cot_real *x, const uint8_t *kept, cot_real *y,
                  double *mass)
{
    const cot_moe_shape *shape = &alone->fixture->options.shape;
    const size_t D = shape->D;
    const size_t P = shape->P;
    const size_t S = shape->E * P;
    const cot_real *phi = cot_params_find(alone->params, "moe.0.phi")->value;
    double logits[T * 32] = {0};
    double dispatch[T * 32];
    double combine[T * 32];
    double out[PER_SAMPLE] = {0};
    for (size_t i = 0; i < T * S; i++)
        for (size_t d = 0; d < D; d++)
            logits[i] += (double)x[i / S * D + d] * (double)phi[d * S + i % S];
    for (size_t j = 0; j < S; j++) softmax(T, S, logits + j, dispatch + j);
    for (size_t t = 0; t < T; t++) softmax(S, 1, logits + t * S, combine + t * S);
    for (size_t e = 0; e < shape->E; e++) mass[e] = 0;
    for (size_t j = 0; j < S; j++) {
        double slot[SHORT] = {0};
        double slot_out[SHORT];
        for (size_t t = 0; t < T; t++) {
            mass[j / P] += combine[t * S + j];
            for (size_t d = 0; d < D; d++) slot[d] += dispatch[t * S + j] * (double)x[t * D + d];
        }
        if (!kept[j / P]) continue;
        expert(alone, j / P, slot, slot_out);
        for (size_t i = 0; i < PER_SAMPLE; i++) out[i] += combine[i / D * S + j] * slot_out[i % D];
    }
    for (size_t i = 0; i < PER_SAMPLE; i++) y[i] = (cot_real)out[i];
}

/* Each sample keeps `keep` experts, and none with less mass than one that it does not keep. */
static bool keeps_the_largest(size_t experts, size_t keep, const uint8_t *kept, const double *mass)
{
    size_t count = 0;
    double least_kept = INFINITY;
    double most_left = 0;
    for (size_t e = 0; e < experts; e++) {
        count += kept[e];
        if (kept[e])
            least_kept = fmin(least_kept, mass[e]);
        else
            most_left = fmax(most_left, mass[e]);
    }
    return count == keep && least_kept >= most_left - 1e-5; /* masses up to T, in float */
}

static const fixture plain_with_slots = {
    "plain, two slots",
    {{T, SHORT, 7, 2, H}, {.normalize = COT_NORMALIZE_NONE}, COT_RELU, false},
    MOST_BATCH,
    GRAINS,
    COT_TOKENS_BY_SLOTS};

static void check_kept(side *all, const side *alone, size_t samples, size_t keep)
{
    const size_t experts = all->fixture->options.shape.E;
    cot_selector *selector = cot_selector_combine(experts, keep);
    side_forward(all, samples, selector);
    const uint8_t *kept = cot_soft_moe_kept(all->layer);
    cot_grains grains = side_grains(all, samples);
    bool right = kept != NULL;
    for (size_t i = 0; right && i < cot_grains_size(&grains); i++) {
        cot_real want[PER_SAMPLE];
        double mass[8];
        dense(alone, all->x + i * PER_SAMPLE, kept + i * experts, want, mass);
        right = right && keeps_the_largest(experts, keep, kept + i * experts, mass);
        right = right && close_to(all->y + i * PER_SAMPLE, want, PER_SAMPLE);
    }
    assert_on_every_rank(right);
    cot_selector_destroy(&selector);
}

static void kept_experts_like_a_dense_computation(void **state)
{
    (void)state;
    side all;
    side alone;
    create(&all, &plain_with_slots, comm_of_world(1));
    create(&alone, &plain_with_slots, comm_of_self());
    for (size_t b = 0; b < BATCHES; b++)
        for (size_t keep = 1; keep <= plain_with_slots.options.shape.E; keep++)
            check_kept(&all, &alone, batch_of(&plain_with_slots, b), keep);
    side_destroy(&alone);
    side_destroy(&all);
}

/* Keeping all the experts is the full layer; and after a pass with a selector, one without is what
 * it was. */
static void keeping_all_is_the_full_layer(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) {
        side all;
        cot_real full[MOST_BATCH * PER_SAMPLE];
        create(&all, &fixtures[i], comm_of_world(1));
        const size_t experts = fixtures[i].options.shape.E;
        cot_selector *selector = cot_selector_combine(experts, experts);
        side_forward(&all, MOST_BATCH, NULL);
        assert_on_every_rank(cot_soft_moe_kept(all.layer) == NULL);
        memcpy(full, all.whole_y, MOST_BATCH * PER_SAMPLE * sizeof *full);
        side_forward(&all, MOST_BATCH, selector);
        assert_on_every_rank(close_to(all.whole_y, full, MOST_BATCH * PER_SAMPLE));
        side_forward(&all, MOST_BATCH, NULL);
        assert_on_every_rank(same_bits(all.whole_y, full, MOST_BATCH * PER_SAMPLE));
        cot_selector_destroy(&selector);
        side_destroy(&all);
    }
}

/* Whatever of the weights was taken for an earlier pass, in another order. */
static void evaluations_take_the_weights_as_they_are(void **state)
{
    (void)state;
    enum { NUMBERS = MOST_BATCH * T * LONG };
    fixture f = plain_with_slots;
    side all;
    cot_real before[NUMBERS];
    cot_real evaluated[NUMBERS];
    f.options.shape.D = LONG;
    create(&all, &f, comm_of_world(1));
    assert_true(cot_expert_bank_is_small(&f.options.shape));
    assert_true(cot_gemm_prefers_transposed(H, LONG));
    cot_selector *selector = cot_selector_combine(f.options.shape.E, f.options.shape.E);
    side_forward(&all, MOST_BATCH, NULL);
    memcpy(before, all.whole_y, sizeof before);
    for (size_t i = 0; i < cot_params_count(all.params); i++) {
        const cot_param *param = cot_params_at(all.params, i);
        cot_scale(param->count, (cot_real)0.5, param->value, param->value);
    }
    side_forward(&all, MOST_BATCH, selector);
    memcpy(evaluated, all.whole_y, sizeof evaluated);
    side_forward(&all, MOST_BATCH, NULL);
    assert_on_every_rank(close_to(evaluated, all.whole_y, NUMBERS));
    assert_on_every_rank(!close_to(evaluated, before, NUMBERS));
    cot_selector_destroy(&selector);
    side_destroy(&all);
}

/* A selector that keeps nothing for anybody. */
static void select_none(cot_selector *selector, const cot_routing *routing, uint8_t *kept)
{
    (void)selector;
    memset(kept, 0, routing->experts);
}

static void keeping_nothing_gives_zeros(void **state)
{
    (void)state;
    side all;
    const cot_real zeros[MOST_BATCH * PER_SAMPLE] = {0};
    cot_selector selector = {select_none, NULL, NULL};
    create(&all, &plain_with_slots, comm_of_world(1));
    side_forward(&all, MOST_BATCH, &selector);
    assert_on_every_rank(same_bits(all.whole_y, zeros, MOST_BATCH * PER_SAMPLE));
    side_destroy(&all);
}

/* A batch and another have been seen, and a kept subset, which needs memory for a moment: a step
 * takes none. */
static void check_allocations(const fixture *f, cot_plan plan)
{
    side all;
    create_over(&all, f, comm_of_world(1), plan, 0, 1);
    cot_selector *selector = cot_selector_combine(f->options.shape.E, 3);
    size_t before = allocations;
    assert_true(before > 0);
    side_step(&all, f->most_batch);
    side_step(&all, 5);
    assert_on_every_rank(allocations == before);
    side_forward(&all, f->most_batch, selector);
    before = allocations;
    side_step(&all, f->most_batch);
    assert_on_every_rank(allocations == before);
    cot_selector_destroy(&selector);
    side_destroy(&all);
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    check_allocations(&plain_with_slots, COT_PLAN_SLOTS);
    check_allocations(&plain_with_slots, COT_PLAN_TOKENS);
    check_allocations(&fixtures[0], COT_PLAN_TOKENS);
    check_allocations(&of_four_tokens[0], COT_PLAN_TOKENS);
    check_allocations(&wide[0], COT_PLAN_TOKENS);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_number_of_ranks_like_one),
    cmocka_unit_test(any_number_of_chunks_like_one),
    cmocka_unit_test(recomputed_like_kept),
    cmocka_unit_test(tokens_like_slots),
    cmocka_unit_test(four_tokens_like_slots),
    cmocka_unit_test(replicas_like_one_and_among_themselves),
    cmocka_unit_test(kept_experts_like_a_dense_computation),
    cmocka_unit_test(keeping_all_is_the_full_layer),
    cmocka_unit_test(evaluations_take_the_weights_as_they_are),
    cmocka_unit_test(keeping_nothing_gives_zeros),
    cmocka_unit_test(a_step_allocates_nothing),
};

RUN_MPI_TESTS(tests)
