#include "support/fused.h"
#include "support/numbers.h"
#include "support/test.h"

#include <coterie/memory.h>

#include <math.h>
#include <string.h>

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES };

/* ---- what comes out, in double ---- */

/* A sum of products, the sum of their sizes, and the most roundings that one of them goes through
 * where every operation rounds. In any order it is off by at most as many half epsilons of `size`
 * (Higham 2002, section 3.1). */
typedef struct number {
    double value, size;
    size_t roundings;
} number;

static number exact(cot_real x)
{
    return (number){(double)x, fabs((double)x), 0};
}

static void add_product(number *sum, number a, number b)
{
    const size_t term = a.roundings + b.roundings + 1;
    sum->value += a.value * b.value;
    sum->size += a.size * b.size;
    sum->roundings = (sum->roundings > term ? sum->roundings : term) + 1;
}

static size_t expert_of(const fused_problem *p, size_t slot)
{
    return slot / p->s.P;
}

static number weight(const fused_problem *p, size_t slot, size_t t, size_t lane)
{
    return exact(p->w[(slot * T + t) * L + lane]);
}

/* x[t,d] - x[T-1,d], or x[T-1,d] of the last token. */
static number apart(const fused_problem *p, size_t d, size_t t, size_t lane)
{
    return exact(p->z[(d * T + t) * L + lane]);
}

static number hidden(const fused_problem *p, size_t slot, size_t h, size_t lane)
{
    return exact(p->hidden[(slot * p->s.H + h) * L + lane]);
}

/* Of W1, or of W2^T. */
static number weight_of_expert(const fused_problem *p, size_t slot, size_t d, size_t h)
{
    return exact(p->matrix[(expert_of(p, slot) * p->s.D + d) * p->s.H + h]);
}

static number before(const fused_problem *p, size_t i, bool adds)
{
    return exact(adds ? p->before[FUSED_PADDING + i] : 0);
}

/* z[T-1,d] + sum_{t<T-1} w[t] z[t,d] */
static number mixed(const fused_problem *p, size_t slot, size_t d, size_t lane)
{
    number sum = apart(p, d, T - 1, lane);
    for (size_t t = 0; t < T - 1; t++)
        add_product(&sum, weight(p, slot, t, lane), apart(p, d, t, lane));
    return sum;
}

/* Number d of W2^T hidden + b2. */
static number output(const fused_problem *p, size_t slot, size_t d, size_t lane)
{
    number sum = exact(p->b2 != NULL ? p->b2[expert_of(p, slot) * p->s.D + d] : 0);
    for (size_t h = 0; h < p->s.H; h++)
        add_product(&sum, weight_of_expert(p, slot, d, h), hidden(p, slot, h, lane));
    return sum;
}

/* Number d of W1 dhidden. */
static number dslot(const fused_problem *p, size_t slot, size_t d, size_t lane)
{
    number sum = {0};
    for (size_t h = 0; h < p->s.H; h++)
        add_product(&sum, weight_of_expert(p, slot, d, h), hidden(p, slot, h, lane));
    return sum;
}

/* The functions below: number i of a result [slots,H,lanes], [slots,T,lanes] or [D,T,lanes]. */

static number hidden_wanted(const fused_problem *p, size_t i)
{
    const size_t slot = i / L / p->s.H;
    const size_t h = i / L % p->s.H;
    number sum = exact(p->b1 != NULL ? p->b1[expert_of(p, slot) * p->s.H + h] : 0);
    for (size_t d = 0; d < p->s.D; d++)
        add_product(&sum, weight_of_expert(p, slot, d, h), mixed(p, slot, d, i % L));
    return sum;
}

static number dhidden_wanted(const fused_problem *p, size_t i)
{
    const size_t slot = i / L / p->s.H;
    number sum = {0};
    for (size_t d = 0; d < p->s.D; d++)
        add_product(&sum, weight_of_expert(p, slot, d, i / L % p->s.H), mixed(p, slot, d, i % L));
    return sum;
}

typedef number of_slot(const fused_problem *p, size_t slot, size_t d, size_t lane);

/* sum += the sum over d of z[d,t] times the slot's number. */
static void add_dots(number *sum, const fused_problem *p, size_t i, size_t t, of_slot *slots_number)
{
    for (size_t d = 0; d < p->s.D; d++)
        add_product(sum, apart(p, d, t, i % L), slots_number(p, i / L / T, d, i % L));
}

/* The sum over slots of w[t] times the slot's number. */
static number tokens_of(const fused_problem *p, size_t i, of_slot *slots_number)
{
    number sum = before(p, i, p->adds);
    for (size_t slot = 0; slot < p->s.slots; slot++)
        add_product(&sum, weight(p, slot, i / L % T, i % L),
                    slots_number(p, slot, i / L / T, i % L));
    return sum;
}

static number y_wanted(const fused_problem *p, size_t i)
{
    return tokens_of(p, i, output);
}

/* dy[t] = dz[t] + dz[T-1] */
static number dcombine_wanted(const fused_problem *p, size_t i)
{
    const size_t t = i / L % T;
    number sum = {0};
    add_dots(&sum, p, i, t, output);
    if (t < T - 1) add_dots(&sum, p, i, T - 1, output);
    return sum;
}

static number dx_wanted(const fused_problem *p, size_t i)
{
    return tokens_of(p, i, dslot);
}

static number ddispatch_wanted(const fused_problem *p, size_t i)
{
    const size_t t = i / L % T;
    number sum = {0};
    if (t < T - 1) add_dots(&sum, p, i, t, dslot);
    return sum;
}

/* What a sample in rows is mixed to, with weights [T,lanes] from its own lane on. */
static number mixed_sample(const fused_problem *p, const cot_real *z, const cot_real *w, size_t d)
{
    number sum = exact(z[(T - 1) * p->row + d]);
    for (size_t t = 0; t < T - 1; t++) add_product(&sum, exact(w[t * L]), exact(z[t * p->row + d]));
    return sum;
}

/* Number i of [experts,H,D], from all samples. */
static number dweights_wanted(const fused_problem *p, size_t i)
{
    const cot_fused_slots *s = &p->s;
    const size_t expert = i / s->D / s->H;
    const size_t h = i / s->D % s->H;
    number sum = before(p, i, true);
    for (size_t slot = expert * s->P; slot < (expert + 1) * s->P; slot++)
        for (size_t k = 0; k < p->n; k++) {
            const size_t at = k / L * s->slots + slot; /* slots have all blocks apart */
            add_product(
                &sum, exact(p->hidden[(at * s->H + h) * L + k % L]),
                mixed_sample(p, p->z + k * T * p->row, p->w + at * T * L + k % L, i % s->D));
        }
    return sum;
}

typedef number number_wanted(const fused_problem *p, size_t i);

/* Of the kernels' results, in the order of fused_kernels. */
static number_wanted *const wanted[FUSED_KERNELS][2] = {
    {hidden_wanted, NULL},         {y_wanted, NULL},         {dcombine_wanted, dhidden_wanted},
    {ddispatch_wanted, dx_wanted}, {ddispatch_wanted, NULL}, {dweights_wanted, NULL},
};

/* ---- right numbers ---- */

/* The bound of `number` twice: it leaves out products of roundings, and in the build in double the
 * sums made here are off by as much. */
static bool is_right(cot_real actual, number want)
{
    const double most = (double)want.roundings * (double)COT_REAL_EPSILON * want.size;
    return fabs((double)actual - want.value) <= most;
}

/* Every number of a result is what it should be, and what lies around them is as it was. */
static void check(const char *kernel, const char *set, const fused_problem *p, size_t size,
                  const number *want, const cot_real *result)
{
    for (size_t i = 0; i < FUSED_COUNT; i++) {
        const bool inside = i >= FUSED_PADDING && i < FUSED_PADDING + size;
        if (inside ? !is_right(result[i], want[i - FUSED_PADDING])
                   : !same_bits(result + i, p->before + i, 1))
            fail_msg("%s (%s), D %zu, H %zu, P %zu, slots %zu, n %zu: number %td of %zu is %g",
                     kernel, set, p->s.D, p->s.H, p->s.P, p->s.slots, p->n,
                     (ptrdiff_t)i - FUSED_PADDING, size, (double)result[i]);
    }
}

/* A kernel of every instruction set; `want` [2][FUSED_COUNT] is room. */
static void try_sets(size_t kernel, const fused_problem *p, const fused_arrays *a, number *want)
{
    const fused_kernel *k = &fused_kernels[kernel];
    fused_set list[FUSED_SETS];
    size_t sizes[2];
    for (int r = 0; r < 2; r++) {
        sizes[r] = fused_size(k->results[r], &p->s);
        for (size_t i = 0; i < sizes[r]; i++) want[r * FUSED_COUNT + i] = wanted[kernel][r](p, i);
    }
    for (size_t s = fused_sets(list); s-- > 0;) {
        fused_begin(p, a->results);
        fused_run(k, &list[s], p, (size_t[2]){0}, a->results);
        for (int r = 0; r < 2; r++)
            check(k->name, list[s].name, p, sizes[r], want + r * FUSED_COUNT, a->results[r]);
    }
}

/* Cut vectors of every instruction set, and strips of columns that differ in width. */
static const size_t widths[] = {1, 3, 5, 7, 8, 9, 16, 49, FUSED_MOST_D};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* With biases and without, added to what there is and not, each with one to three experts. */
static void right_numbers(void **state)
{
    (void)state;
    fused_arrays a = fused_draw();
    number *want = cot_alloc(2 * FUSED_COUNT, sizeof *want);
    for (size_t H = 1; H <= COT_FUSED_HIDDEN; H++)
        for (size_t i = 0; i < WIDTHS; i++)
            for (size_t P = 1; P <= FUSED_MOST_P; P++) {
                const size_t choice = (H + i + P) % 4;
                const size_t experts = 1 + (H + i) % FUSED_MOST_EXPERTS;
                const cot_fused_slots s = {widths[i], H, P, experts * P};
                const fused_problem p =
                    fused_problem_of(&a, s, L, choice % 2 == 1, choice / 2 == 1);
                for (size_t k = 0; k < FUSED_IN_LANES; k++) try_sets(k, &p, &a, want);
            }
    cot_free(want);
    fused_release(&a);
}

/* Blocks of samples full and not; each width meets each H. */
static void right_gradients_of_weights(void **state)
{
    (void)state;
    fused_arrays a = fused_draw();
    number *want = cot_alloc(2 * FUSED_COUNT, sizeof *want);
    for (size_t n = 1; n <= FUSED_MOST_SAMPLES; n++)
        for (size_t i = 0; i < WIDTHS; i++) {
            const size_t H = 1 + (n * 5 + i) % COT_FUSED_HIDDEN;
            const size_t P = 1 + (n / 4 + i) % FUSED_MOST_P;
            const size_t experts = 1 + (n + i) % FUSED_MOST_EXPERTS;
            const cot_fused_slots s = {widths[i], H, P, experts * P};
            const fused_problem p = fused_problem_of(&a, s, n, false, true);
            try_sets(FUSED_IN_LANES, &p, &a, want);
        }
    cot_free(want);
    fused_release(&a);
}

/* ---- into lanes, and back ---- */

/* Samples i and columns c at x[i * row + c], and in lanes at lanes[c * col + i]. */
typedef struct layout {
    size_t n, cols, row, col;
} layout;

/* Lanes without a sample become 0; those of columns that lie apart are not touched between. */
static void check_to_lanes(const fused_set *set, const layout *m, const fused_arrays *a)
{
    cot_real *want = a->others[0];
    memcpy(want, a->before, FUSED_COUNT * sizeof *want);
    memcpy(a->results[0], a->before, FUSED_COUNT * sizeof *want);
    for (size_t c = 0; c < m->cols; c++)
        for (size_t i = 0; i < L; i++)
            want[FUSED_PADDING + c * m->col + i] = i < m->n ? a->z[i * m->row + c] : 0;
    set->kernels->to_lanes(m->n, m->cols, a->z, m->row, a->results[0] + FUSED_PADDING, m->col);
    assert_same_bits(a->results[0], want, FUSED_COUNT);
}

/* Rows beyond n stay what they were, and so does what lies between rows. */
static void check_from_lanes(const fused_set *set, const layout *m, const fused_arrays *a)
{
    cot_real *want = a->others[0];
    memcpy(want, a->before, FUSED_COUNT * sizeof *want);
    memcpy(a->results[0], a->before, FUSED_COUNT * sizeof *want);
    for (size_t c = 0; c < m->cols; c++)
        for (size_t i = 0; i < m->n; i++)
            want[FUSED_PADDING + i * m->row + c] = a->z[c * m->col + i];
    set->kernels->from_lanes(m->n, m->cols, a->z, m->col, a->results[0] + FUSED_PADDING, m->row);
    assert_same_bits(a->results[0], want, FUSED_COUNT);
}

static void to_lanes_and_back(void **state)
{
    (void)state;
    fused_arrays a = fused_draw();
    fused_set list[FUSED_SETS];
    for (size_t s = fused_sets(list); s-- > 0;)
        for (size_t n = 1; n <= L; n++)
            for (size_t cols = 1; cols <= FUSED_MOST_D; cols += 1 + cols / 16) {
                const size_t between = (n + cols) % 4;
                const layout m = {n, cols, cols + between, between % 2 == 0 ? L : T * L};
                check_to_lanes(&list[s], &m, &a);
                check_from_lanes(&list[s], &m, &a);
            }
    fused_release(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(right_numbers),
    cmocka_unit_test(right_gradients_of_weights),
    cmocka_unit_test(to_lanes_and_back),
};

RUN_UNIT_TESTS(tests)
