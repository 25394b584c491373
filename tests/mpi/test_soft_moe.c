/* The layer on several ranks against the layer on one, and a kept subset against a dense
 * computation. */
#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/gradients.h>
#include <coterie/memory.h>
#include <coterie/soft_moe.h>

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

enum { T = 3, H = 4, GRAINS = 8, MOST_BATCH = 22, MICRO_BATCHES = 2 };

/* The width of a token: short, or so long that products of several blocks' columns are made at
 * once.
 */
enum { SHORT = 5, LONG = 40, MOST_PER_SAMPLE = T * LONG };
static size_t D = SHORT;

static size_t per_sample(void)
{
    return T * D;
}

typedef struct fixture {
    const char *name;
    size_t experts, slots;
    cot_router_options router;
    cot_activation activation;
    bool bias;
} fixture;

/* The layer on one communicator, and what it gives, gathered on every rank of it. */
typedef struct side {
    const fixture *fixture;
    cot_comm *comm;
    cot_params *params;
    cot_soft_moe *layer;
    cot_gradients *gradients;
    cot_real *x, *y, *dy, *dx;    /* of the samples here */
    cot_real *whole_y, *whole_dx; /* [B,T,D] */
    cot_real *whole_grads;        /* every parameter, with all its experts */
} side;

static void create_with(side *s, const fixture *f, cot_comm *comm, cot_batching batching)
{
    *s = (side){.fixture = f, .comm = comm};
    size_t members = (size_t)comm->group_size;
    size_t me = (size_t)comm->group_rank;
    s->params = cot_params_create(cot_shard_begin(f->experts, members, me),
                                  cot_shard_begin(f->experts, members, me + 1));
    cot_soft_moe_options options = {
        {T, D, f->experts, f->slots, H}, f->router, f->activation, f->bias};
    batching.max_batch = MOST_BATCH;
    batching.grains = GRAINS;
    s->layer = cot_soft_moe_create(&options, 0, &batching, comm, s->params);
    cot_params_allocate(s->params);
    cot_params_initialize(s->params, 11);
    s->gradients = cot_gradients_create(comm, s->params,
                                        &(cot_gradients_options){.ordered = true,
                                                                 .node_ranks = batching.node_ranks,
                                                                 .most_batches = MICRO_BATCHES});
    const size_t here = MOST_BATCH * per_sample();
    cot_real **const arrays[] = {&s->x, &s->y, &s->dy, &s->dx, &s->whole_y, &s->whole_dx};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        *arrays[i] = cot_alloc(here, sizeof(cot_real));
    s->whole_grads = cot_alloc(cot_params_total(s->params), sizeof(cot_real));
}

static void create_over(side *s, const fixture *f, cot_comm *comm, cot_plan plan, size_t node_ranks,
                        size_t chunks)
{
    create_with(s, f, comm,
                (cot_batching){.node_ranks = node_ranks, .plan = plan, .chunks = chunks});
}

static void create(side *s, const fixture *f, cot_comm *comm)
{
    create_over(s, f, comm, COT_PLAN_SLOTS, 0, 1);
}

static void destroy(side *s)
{
    cot_real *const arrays[] = {s->x, s->y, s->dy, s->dx, s->whole_y, s->whole_dx, s->whole_grads};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cot_free(arrays[i]);
    cot_gradients_destroy(&s->gradients);
    cot_soft_moe_destroy(&s->layer);
    assert_null(s->layer);
    cot_params_destroy(&s->params);
    cot_comm_destroy(&s->comm);
}

static cot_grains grains_here(const side *s, size_t samples)
{
    return cot_grains_of(samples, GRAINS, (size_t)s->comm->size, (size_t)s->comm->rank);
}

/* The samples of all ranks, in order. */
static void gather_samples(const side *s, size_t samples, const cot_real *here, cot_real *whole)
{
    int counts[8];
    int displs[8];
    for (int r = 0; r < s->comm->size; r++) {
        cot_grains grains = cot_grains_of(samples, GRAINS, (size_t)s->comm->size, (size_t)r);
        counts[r] = cot_comm_int(cot_grains_size(&grains) * per_sample());
        displs[r] = cot_comm_int(cot_grains_begin(&grains) * per_sample());
    }
    COT_MPI(MPI_Allgatherv(here, counts[s->comm->rank], MPI_FLOAT, whole, counts, displs, MPI_FLOAT,
                           s->comm->world));
}

/* The gradients of all the parameters, one after the other, with the experts of all ranks. */
static void gather_gradients(const side *s)
{
    cot_real *next = s->whole_grads;
    for (size_t i = 0; i < cot_params_count(s->params); i++) {
        const cot_param *param = cot_params_at(s->params, i);
        size_t size = param->dims[0] * param->row_size;
        if (param->placement == COT_REPLICATED) {
            memcpy(next, param->grad, size * sizeof *next);
        } else {
            int counts[8];
            int displs[8];
            size_t members = (size_t)s->comm->group_size;
            for (size_t m = 0; m < members; m++) {
                counts[m] =
                    cot_comm_int(cot_shard_size(param->dims[0], members, m) * param->row_size);
                displs[m] =
                    cot_comm_int(cot_shard_begin(param->dims[0], members, m) * param->row_size);
            }
            COT_MPI(MPI_Allgatherv(param->grad, counts[s->comm->group_rank], MPI_FLOAT, next,
                                   counts, displs, MPI_FLOAT, s->comm->group));
        }
        next += size;
    }
}

static void draw_inputs(side *s, size_t samples)
{
    cot_real all[MOST_BATCH * MOST_PER_SAMPLE];
    cot_grains grains = grains_here(s, samples);
    size_t first = cot_grains_begin(&grains) * per_sample();
    size_t bytes = cot_grains_size(&grains) * per_sample() * sizeof *all;
    draw_normal(1, MOST_BATCH * per_sample(), all);
    memcpy(s->x, all + first, bytes);
    draw_normal(2, MOST_BATCH * per_sample(), all);
    memcpy(s->dy, all + first, bytes);
}

static void forward(side *s, size_t samples, cot_selector *selector)
{
    cot_noise noise = {.seed = 4, .step = 6, .first_sample = 3};
    cot_pass pass = {.samples = samples,
                     .training = selector == NULL,
                     .noise = s->fixture->router.noise > 0 ? &noise : NULL,
                     .selector = selector};
    draw_inputs(s, samples);
    cot_soft_moe_forward(s->layer, &pass, s->x, s->y);
    gather_samples(s, samples, s->y, s->whole_y);
}

/* One step. */
static void run(side *s, size_t samples)
{
    cot_gradients_begin(s->gradients);
    for (int batch = 0; batch < MICRO_BATCHES; batch++) {
        forward(s, samples, NULL);
        cot_soft_moe_backward(s->layer, s->dy, s->dx);
        cot_gradients_add_batch(s->gradients);
    }
    cot_gradients_finish(s->gradients);
    gather_samples(s, samples, s->dx, s->whole_dx);
    gather_gradients(s);
}

static bool close_to(const cot_real *a, const cot_real *b, size_t n)
{
    /* Sums of at most some hundred numbers, of size 10 at most, through a handful of products: an
     * order of magnitude above the largest difference seen. */
    const double tolerance = 1e-5;
    double largest = 1;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)b[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= tolerance * largest)) return false;
    return true;
}

static bool agrees(const cot_real *a, const cot_real *b, size_t n, bool exactly)
{
    return exactly ? same_bits(a, b, n) : close_to(a, b, n);
}

static void compare(const side *a, const side *b, size_t samples, bool exactly)
{
    size_t n = samples * per_sample();
    size_t params = cot_params_total(a->params);
    bool outputs = agrees(a->whole_y, b->whole_y, n, exactly);
    bool inputs = agrees(a->whole_dx, b->whole_dx, n, exactly);
    bool weights = agrees(a->whole_grads, b->whole_grads, params, exactly);
    if (!(outputs && inputs && weights))
        print_message("%s, %zu samples: outputs %d, input gradients %d, gradients %d\n",
                      a->fixture->name, samples, outputs, inputs, weights);
    assert_on_every_rank(outputs && inputs && weights);
    bool moved = false;
    for (size_t i = 0; i < params; i++) moved = moved || a->whole_grads[i] != 0;
    assert_on_every_rank(moved);
}

static const size_t batches[] = {MOST_BATCH, 16, 3, 1, MOST_BATCH};
enum { BATCHES = sizeof batches / sizeof batches[0] };

static void check_against_one_rank(const fixture *f)
{
    side all;
    side messages;
    side alone;
    create(&all, f, comm_of_world(1));
    create_over(&messages, f, comm_of_world(1), COT_PLAN_SLOTS, 1, 1);
    create(&alone, f, comm_of_self());
    for (size_t i = 0; i < BATCHES; i++) {
        run(&all, batches[i]);
        run(&messages, batches[i]);
        run(&alone, batches[i]);
        compare(&all, &messages, batches[i], true);
        compare(&all, &alone, batches[i], GRAINS % rank_count() == 0);
    }
    destroy(&alone);
    destroy(&messages);
    destroy(&all);
}

static const fixture fixtures[] = {
    {"plain", 8, 1, {.normalize = COT_NORMALIZE_NONE}, COT_RELU, false},
    {"logits, noise, gelu, biases",
     5,
     3,
     {.normalize = COT_NORMALIZE_LOGITS, .noise = 0.5},
     COT_GELU,
     true},
    {"inputs", 13, 2, {.normalize = COT_NORMALIZE_INPUTS}, COT_RELU, true},
    {"two experts, uniform dispatch",
     2,
     2,
     {.normalize = COT_NORMALIZE_INPUTS, .uniform_dispatch = true},
     COT_GELU,
     false},
    {"one expert, uniform combine",
     1,
     1,
     {.normalize = COT_NORMALIZE_LOGITS, .uniform_combine = true},
     COT_RELU,
     true}};
enum { FIXTURES = sizeof fixtures / sizeof fixtures[0] };

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
    size_t most = (f->experts + (size_t)rank_count() - 1) / (size_t)rank_count();
    size_t want = node_ranks >= (size_t)rank_count() ? 1 : chunks;
    if (want > most) want = most;
    assert_on_every_rank(cot_exchange_chunks(cot_soft_moe_exchange(cut.layer)) == want);
    for (size_t i = 0; i < BATCHES; i++) {
        run(&whole, batches[i]);
        run(&cut, batches[i]);
        compare(&whole, &cut, batches[i], true);
    }
    /* Another number between two steps. */
    cot_soft_moe_set_chunks(cut.layer, 2);
    run(&cut, batches[BATCHES - 1]);
    compare(&whole, &cut, batches[BATCHES - 1], true);
    destroy(&cut);
    destroy(&whole);
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
        run(&all, batches[i]);
        run(&messages, batches[i]);
        run(&alone, batches[i]);
        run(&slots, batches[i]);
        compare(&all, &messages, batches[i], true);
        compare(&all, &alone, batches[i], GRAINS % rank_count() == 0);
        compare(&alone, &slots, batches[i], false);
    }
    destroy(&slots);
    destroy(&alone);
    destroy(&messages);
    destroy(&all);
}

static void tokens_like_slots(void **state)
{
    (void)state;
    const size_t widths[] = {SHORT, LONG};
    for (size_t w = 0; w < 2; w++) {
        D = widths[w];
        for (size_t i = 0; i < FIXTURES; i++) check_tokens(&fixtures[i]);
    }
    D = SHORT;
}

/* Hidden rows that are computed again: the same bits as where they are kept. */
static void check_recomputed(const fixture *f, cot_plan plan, size_t node_ranks)
{
    side kept;
    side again;
    cot_batching batching = {.node_ranks = node_ranks, .plan = plan, .chunks = 2};
    create_with(&kept, f, comm_of_world(1), batching);
    batching.hidden = COT_HIDDEN_RECOMPUTED;
    create_with(&again, f, comm_of_world(1), batching);
    for (size_t i = 0; i < BATCHES; i++) {
        run(&kept, batches[i]);
        run(&again, batches[i]);
        compare(&kept, &again, batches[i], true);
    }
    destroy(&again);
    destroy(&kept);
}

static void recomputed_like_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++)
        for (size_t node_ranks = 0; node_ranks < 2; node_ranks++) {
            check_recomputed(&fixtures[i], COT_PLAN_SLOTS, node_ranks);
            check_recomputed(&fixtures[i], COT_PLAN_TOKENS, node_ranks);
        }
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
        run(&all, batches[b]);
        run(&two, batches[b]);
        run(&alone, batches[b]);
        compare(&all, &two, batches[b], true);
        compare(&all, &alone, batches[b], false);
    }
    destroy(&alone);
    destroy(&two);
    destroy(&all);
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
    const size_t P = alone->fixture->slots;
    const size_t S = alone->fixture->experts * P;
    const cot_real *phi = cot_params_find(alone->params, "moe.0.phi")->value;
    double logits[T * 32] = {0};
    double dispatch[T * 32];
    double combine[T * 32];
    double out[MOST_PER_SAMPLE] = {0};
    for (size_t i = 0; i < T * S; i++)
        for (size_t d = 0; d < D; d++)
            logits[i] += (double)x[i / S * D + d] * (double)phi[d * S + i % S];
    for (size_t j = 0; j < S; j++) softmax(T, S, logits + j, dispatch + j);
    for (size_t t = 0; t < T; t++) softmax(S, 1, logits + t * S, combine + t * S);
    for (size_t e = 0; e < alone->fixture->experts; e++) mass[e] = 0;
    for (size_t j = 0; j < S; j++) {
        double slot[LONG] = {0};
        double slot_out[LONG];
        for (size_t t = 0; t < T; t++) {
            mass[j / P] += combine[t * S + j];
            for (size_t d = 0; d < D; d++) slot[d] += dispatch[t * S + j] * (double)x[t * D + d];
        }
        if (!kept[j / P]) continue;
        expert(alone, j / P, slot, slot_out);
        for (size_t i = 0; i < per_sample(); i++)
            out[i] += combine[i / D * S + j] * slot_out[i % D];
    }
    for (size_t i = 0; i < per_sample(); i++) y[i] = (cot_real)out[i];
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
    "plain, two slots", 7, 2, {.normalize = COT_NORMALIZE_NONE}, COT_RELU, false};

static void check_kept(side *all, const side *alone, size_t samples, size_t keep)
{
    const size_t experts = all->fixture->experts;
    cot_selector *selector = cot_selector_combine(experts, keep);
    forward(all, samples, selector);
    const uint8_t *kept = cot_soft_moe_kept(all->layer);
    cot_grains grains = grains_here(all, samples);
    bool right = kept != NULL;
    for (size_t i = 0; right && i < cot_grains_size(&grains); i++) {
        cot_real want[MOST_PER_SAMPLE];
        double mass[8];
        dense(alone, all->x + i * per_sample(), kept + i * experts, want, mass);
        right = right && keeps_the_largest(experts, keep, kept + i * experts, mass);
        right = right && close_to(all->y + i * per_sample(), want, per_sample());
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
        for (size_t keep = 1; keep <= plain_with_slots.experts; keep++)
            check_kept(&all, &alone, batches[b], keep);
    destroy(&alone);
    destroy(&all);
}

/* Keeping all the experts is the full layer; and after a pass with a selector, one without is what
 * it was. */
static void keeping_all_is_the_full_layer(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) {
        side all;
        cot_real full[MOST_BATCH * MOST_PER_SAMPLE];
        create(&all, &fixtures[i], comm_of_world(1));
        cot_selector *selector = cot_selector_combine(fixtures[i].experts, fixtures[i].experts);
        forward(&all, MOST_BATCH, NULL);
        assert_on_every_rank(cot_soft_moe_kept(all.layer) == NULL);
        memcpy(full, all.whole_y, MOST_BATCH * per_sample() * sizeof *full);
        forward(&all, MOST_BATCH, selector);
        assert_on_every_rank(close_to(all.whole_y, full, MOST_BATCH * per_sample()));
        forward(&all, MOST_BATCH, NULL);
        assert_on_every_rank(same_bits(all.whole_y, full, MOST_BATCH * per_sample()));
        cot_selector_destroy(&selector);
        destroy(&all);
    }
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
    const cot_real zeros[MOST_BATCH * MOST_PER_SAMPLE] = {0};
    cot_selector selector = {select_none, NULL, NULL};
    create(&all, &plain_with_slots, comm_of_world(1));
    forward(&all, MOST_BATCH, &selector);
    assert_on_every_rank(same_bits(all.whole_y, zeros, MOST_BATCH * per_sample()));
    destroy(&all);
}

/* A batch and another have been seen, and a kept subset, which needs memory for a moment: a step
 * takes none. */
static void a_step_allocates_nothing(void **state)
{
    (void)state;
    for (int plan = COT_PLAN_SLOTS; plan <= COT_PLAN_TOKENS; plan++) {
        side all;
        create_over(&all, &plain_with_slots, comm_of_world(1), (cot_plan)plan, 0, 1);
        cot_selector *selector = cot_selector_combine(7, 3);
        size_t before = allocations;
        assert_true(before > 0);
        run(&all, MOST_BATCH);
        run(&all, 5);
        assert_on_every_rank(allocations == before);
        forward(&all, MOST_BATCH, selector);
        before = allocations;
        run(&all, MOST_BATCH);
        assert_on_every_rank(allocations == before);
        cot_selector_destroy(&selector);
        destroy(&all);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_number_of_ranks_like_one),
    cmocka_unit_test(any_number_of_chunks_like_one),
    cmocka_unit_test(recomputed_like_kept),
    cmocka_unit_test(tokens_like_slots),
    cmocka_unit_test(replicas_like_one_and_among_themselves),
    cmocka_unit_test(kept_experts_like_a_dense_computation),
    cmocka_unit_test(keeping_all_is_the_full_layer),
    cmocka_unit_test(keeping_nothing_gives_zeros),
    cmocka_unit_test(a_step_allocates_nothing),
};

RUN_MPI_TESTS(tests)
