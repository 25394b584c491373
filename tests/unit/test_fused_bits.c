/* The promise of math/fused.h: a slot's and a sample's numbers have the same bits in any company.
 */
#include "support/fused.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>

#include <string.h>

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES };

/* Columns that leave cut vectors and make several strips. */
enum { D = FUSED_MOST_D, EXPERTS = FUSED_MOST_EXPERTS };

/* What a test does with one kernel. */
typedef void body(const fused_kernel *k, const fused_set *set, const fused_problem *p,
                  const fused_arrays *a);

static void with_all_shapes(const fused_set *set, const fused_arrays *a, size_t kernel, size_t n,
                            body *test)
{
    for (size_t H = 1; H <= COT_FUSED_HIDDEN; H++)
        for (size_t P = 1; P <= FUSED_MOST_P; P += 1 + H % 2) {
            const cot_fused_slots s = {D, H, P, EXPERTS * P};
            const fused_problem p = fused_problem_of(a, s, n, (H + P) % 2 == 0, (H + P) % 3 == 0);
            test(&fused_kernels[kernel], set, &p, a);
        }
}

static void with_kernels(size_t first, size_t end, size_t n, body *test)
{
    fused_arrays a = fused_draw();
    fused_set list[FUSED_SETS];
    for (size_t s = fused_sets(list); s-- > 0;)
        for (size_t k = first; k < end; k++) with_all_shapes(&list[s], &a, k, n, test);
    fused_release(&a);
}

/* ---- slots ---- */

/* Some of a problem's experts, alone. */
static fused_problem experts_of(const fused_problem *p, size_t first, size_t count)
{
    const cot_fused_slots *s = &p->s;
    fused_problem part = *p;
    part.s.slots = count * s->P;
    part.w += first * s->P * T * L;
    part.hidden += first * s->P * s->H * L;
    part.matrix += first * s->H * s->D;
    if (p->b1 != NULL) part.b1 += first * s->H;
    if (p->b2 != NULL) part.b2 += first * s->D;
    part.adds = p->adds || first > 0;
    return part;
}

/* All experts in calls of `at_once`. A result that is a sum over slots goes on where the call
 * before has ended, others have their place. */
static void run_in_parts(const fused_kernel *k, const fused_set *set, const fused_problem *p,
                         size_t at_once, cot_real *const results[2])
{
    fused_begin(p, results);
    for (size_t e = 0; e < EXPERTS; e += at_once) {
        const size_t count = EXPERTS - e < at_once ? EXPERTS - e : at_once;
        const fused_problem part = experts_of(p, e, count);
        const cot_fused_slots before = {D, p->s.H, p->s.P, e * p->s.P};
        size_t offsets[2];
        for (int r = 0; r < 2; r++)
            offsets[r] = k->results[r] == FUSED_TOKENS ? 0 : fused_size(k->results[r], &before);
        fused_run(k, set, &part, offsets, results);
    }
}

static void try_slots(const fused_kernel *k, const fused_set *set, const fused_problem *p,
                      const fused_arrays *a)
{
    fused_begin(p, a->results);
    fused_run(k, set, p, (size_t[2]){0}, a->results);
    for (size_t at_once = 1; at_once < EXPERTS; at_once++) {
        run_in_parts(k, set, p, at_once, a->others);
        for (int r = 0; r < 2; r++) assert_same_bits(a->others[r], a->results[r], FUSED_COUNT);
    }
}

/* An expert's slots alone, and among those of others: with P of 1 one slot by one. The samples are
 * one block, as a block has the slots of all experts. */
static void slots_alone_and_together(void **state)
{
    (void)state;
    with_kernels(0, FUSED_KERNELS, L - 3, try_slots);
}

/* ---- samples ---- */

/* Numbers of one sample in a lane of their own, and 0 in the others. */
static void move_lane(size_t rows, const cot_real *from, size_t from_lane, cot_real *to,
                      size_t lane)
{
    memset(to, 0, rows * L * sizeof *to);
    for (size_t row = 0; row < rows; row++) to[row * L + lane] = from[row * L + from_lane];
}

/* What a sample has in lanes, alone in a block. */
typedef struct one_sample {
    cot_real z[D * T * L];
    cot_real w[EXPERTS * FUSED_MOST_P * T * L];
    cot_real hidden[EXPERTS * FUSED_MOST_P * COT_FUSED_HIDDEN * L];
    cot_real before[FUSED_COUNT];
} one_sample;

/* Sample `i` of a problem as the only one, in lane `lane`. */
static fused_problem sample_of(const fused_problem *p, size_t i, size_t lane, one_sample *room)
{
    const cot_fused_slots *s = &p->s;
    const size_t at = i / L * s->slots; /* the first slot in its block */
    fused_problem one = *p;
    one.n = 1;
    move_lane(s->slots * T, p->w + at * T * L, i % L, room->w, lane);
    move_lane(s->slots * s->H, p->hidden + at * s->H * L, i % L, room->hidden, lane);
    one.w = room->w;
    one.hidden = room->hidden;
    return one;
}

/* The same for kernels that have tokens and results in lanes too. */
static fused_problem lane_of(const fused_problem *p, size_t i, size_t lane, one_sample *room)
{
    const size_t rows = (FUSED_COUNT - 2 * FUSED_PADDING) / L;
    fused_problem one = sample_of(p, i, lane, room);
    move_lane(D * T, p->z, i, room->z, lane);
    move_lane(rows, p->before + FUSED_PADDING, i, room->before + FUSED_PADDING, lane);
    one.z = room->z;
    one.before = room->before;
    return one;
}

static void try_lanes(const fused_kernel *k, const fused_set *set, const fused_problem *p,
                      const fused_arrays *a)
{
    one_sample *room = cot_alloc(1, sizeof *room);
    fused_begin(p, a->results);
    fused_run(k, set, p, (size_t[2]){0}, a->results);
    for (size_t i = 0; i < L; i++) {
        const size_t lane = (i * 5 + 3) % L; /* in another vector, and elsewhere in it */
        const fused_problem one = lane_of(p, i, lane, room);
        fused_begin(&one, a->others);
        fused_run(k, set, &one, (size_t[2]){0}, a->others);
        for (int r = 0; r < 2; r++)
            for (size_t row = 0; row < fused_size(k->results[r], &p->s) / L; row++)
                assert_same_bits(a->others[r] + FUSED_PADDING + row * L + lane,
                                 a->results[r] + FUSED_PADDING + row * L + i, 1);
    }
    cot_free(room);
}

/* A sample among fifteen others, and alone in another lane. */
static void samples_alone_and_together(void **state)
{
    (void)state;
    with_kernels(0, FUSED_IN_LANES, L, try_lanes);
}

/* Sample by sample, so that any cut of them into calls gives the same bits. An expert's slots are
 * added up one after the other, each over all samples of the call: cuts show where it has several.
 */
static void try_samples(const fused_kernel *k, const fused_set *set, const fused_problem *p,
                        const fused_arrays *a)
{
    if (p->s.P > 1) return;
    one_sample *room = cot_alloc(1, sizeof *room);
    fused_begin(p, a->results);
    fused_run(k, set, p, (size_t[2]){0}, a->results);
    fused_begin(p, a->others);
    for (size_t i = 0; i < p->n; i++) {
        fused_problem one = sample_of(p, i, 0, room);
        one.z += i * T * p->row;
        fused_run(k, set, &one, (size_t[2]){0}, a->others);
    }
    assert_same_bits(a->others[0], a->results[0], FUSED_COUNT);
    cot_free(room);
}

static void gradients_of_weights_sample_by_sample(void **state)
{
    (void)state;
    with_kernels(FUSED_IN_LANES, FUSED_KERNELS, FUSED_MOST_SAMPLES, try_samples);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(slots_alone_and_together),
    cmocka_unit_test(samples_alone_and_together),
    cmocka_unit_test(gradients_of_weights_sample_by_sample),
};

RUN_UNIT_TESTS(tests)
