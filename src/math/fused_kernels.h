/* The kernels of fused.h, compiled once for each instruction set: by fused_*.c, which define
 * KERNELS. */
#include "math/fused.h"
#include "math/simd.h"

enum { T = COT_FUSED_TOKENS, L = COT_FUSED_LANES, MOST = COT_FUSED_HIDDEN };

/* So many hidden units that registers hold those of two slots, and two numbers of each beside a
 * slot's sums over tokens; as measured, for with 16 registers some go by way of memory all the
 * same. */
enum {
    MOST_OF_TWO_SLOTS = COT_VEC_REGISTERS == 32 ? 10 : MOST,
    MOST_TWICE = COT_VEC_REGISTERS == 32 ? 10 : 4
};

/* The arguments of a kernel; fused.h tells which it has. */
typedef struct job {
    const cot_fused_slots *slots;
    const cot_real *z, *w, *matrix, *bias, *hidden;
    cot_real *y, *to_w, *to_hidden;
    size_t n, row;
    bool adds;
    size_t begin, end; /* the columns of z and y at hand */
} job;

/* Some vectors of lanes, from `lane` on, and the slots from `slot` on. */
typedef void kernel(int H, const job *j, size_t lane, size_t slot);

/* With H known when it is compiled: sums live in registers. */
COT_INLINE void with_hidden(kernel *run, const job *j, size_t lane, size_t slot)
{
    switch (j->slots->H) {
    case 1:
        run(1, j, lane, slot);
        return;
    case 2:
        run(2, j, lane, slot);
        return;
    case 3:
        run(3, j, lane, slot);
        return;
    case 4:
        run(4, j, lane, slot);
        return;
    case 5:
        run(5, j, lane, slot);
        return;
    case 6:
        run(6, j, lane, slot);
        return;
    case 7:
        run(7, j, lane, slot);
        return;
    case 8:
        run(8, j, lane, slot);
        return;
    case 9:
        run(9, j, lane, slot);
        return;
    case 10:
        run(10, j, lane, slot);
        return;
    case 11:
        run(11, j, lane, slot);
        return;
    default:
        run(12, j, lane, slot);
    }
}

/* Columns of z, or y, that stay in the first-level cache from slot to slot: 17 KiB in lanes. */
enum { COLUMNS_AT_ONCE = 66 };

/* Part by part of the columns; so many slots at once, if there are as many. */
COT_INLINE void for_all_slots(kernel *run, size_t at_once, job j)
{
    const size_t D = j.slots->D;
    const size_t parts = (D + COLUMNS_AT_ONCE - 1) / COLUMNS_AT_ONCE;
    for (size_t lane = 0; lane < L; lane += COT_VEC)
        for (size_t part = 0; part < parts; part++) {
            j.begin = D * part / parts;
            j.end = D * (part + 1) / parts;
            for (size_t slot = 0; slot < j.slots->slots; slot += at_once)
                with_hidden(run, &j, lane, slot);
        }
}

/* ---- vectors ---- */

/* count vectors, L apart. */
COT_INLINE void load(int count, const cot_real *from, cot_vec *to)
{
    COT_UNROLL
    for (int i = 0; i < count; i++) to[i] = cot_vec_load(from + i * L);
}

COT_INLINE void store(int count, const cot_vec *from, cot_real *to)
{
    COT_UNROLL
    for (int i = 0; i < count; i++) cot_vec_store(to + i * L, from[i]);
}

COT_INLINE void clear(int count, cot_vec *x)
{
    COT_UNROLL
    for (int i = 0; i < count; i++) x[i] = cot_vec_zero();
}

/* A slot's sums over the columns before these. */
COT_INLINE void resume(int count, const job *j, const cot_real *from, cot_vec *sums)
{
    if (j->begin > 0)
        load(count, from, sums);
    else
        clear(count, sums);
}

/* Numbers, each in all lanes. */
COT_INLINE void spread(int count, const cot_real *from, cot_vec *to)
{
    COT_UNROLL
    for (int i = 0; i < count; i++) to[i] = cot_vec_all(from[i]);
}

/* Whether a sum is made of two, which take turns. Each multiply-add waits for the one before it in
 * its sum, and processors without AVX-512 look less far ahead for what they could do meanwhile. */
enum { TWO_SUMS = COT_VEC_REGISTERS < 32 };

/* sum_i x[i] y[i] */
COT_INLINE cot_vec dot(int count, const cot_vec *x, const cot_vec *y)
{
    const int sums = TWO_SUMS && count > 2 ? 2 : 1;
    cot_vec sum[2];
    COT_UNROLL
    for (int i = 0; i < sums; i++) sum[i] = x[i] * y[i];
    COT_UNROLL
    for (int i = sums; i < count; i++)
        sum[i % sums] = cot_vec_multiply_add(x[i], y[i], sum[i % sums]);
    if (sums == 2) sum[0] += sum[1];
    return sum[0];
}

/* z[T-1] + sum_{t<T-1} w[t] z[t] */
COT_INLINE cot_vec mixed(const cot_vec *w, const cot_vec *z)
{
    if (TWO_SUMS) return cot_vec_multiply_add(w[0], z[0], z[T - 1]) + dot(T - 2, w + 1, z + 1);
    cot_vec sum = z[T - 1];
    COT_UNROLL
    for (int t = 0; t < T - 1; t++) sum = cot_vec_multiply_add(w[t], z[t], sum);
    return sum;
}

/* y[i] += a x[i] */
COT_INLINE void add_scaled(int count, cot_vec a, const cot_vec *x, cot_vec *y)
{
    COT_UNROLL
    for (int i = 0; i < count; i++) y[i] = cot_vec_multiply_add(a, x[i], y[i]);
}

/* ---- where a slot's numbers are ---- */

COT_INLINE size_t expert_of(const job *j, size_t slot)
{
    return j->slots->P == 1 ? slot : slot / j->slots->P;
}

COT_INLINE size_t weights_at(size_t slot, size_t lane)
{
    return slot * T * L + lane;
}

COT_INLINE size_t hidden_at(int H, size_t slot, size_t lane)
{
    return slot * (size_t)H * L + lane;
}

COT_INLINE const cot_real *matrix_of(int H, const job *j, size_t slot)
{
    return j->matrix + expert_of(j, slot) * (size_t)H * j->slots->D;
}

/* ---- forward ---- */

COT_INLINE void hidden_of(int H, const job *j, size_t lane, size_t slot)
{
    const cot_real *w1 = matrix_of(H, j, slot);
    cot_vec ws[T - 1], sum[MOST];
    load(T - 1, j->w + weights_at(slot, lane), ws);
    if (j->bias != NULL && j->begin == 0)
        spread(H, j->bias + expert_of(j, slot) * (size_t)H, sum);
    else
        resume(H, j, j->to_hidden + hidden_at(H, slot, lane), sum);
    for (size_t d = j->begin; d < j->end; d++) {
        cot_vec zs[T], w1s[MOST];
        load(T, j->z + d * T * L + lane, zs);
        spread(H, w1 + d * (size_t)H, w1s);
        add_scaled(H, mixed(ws, zs), w1s, sum);
    }
    store(H, sum, j->to_hidden + hidden_at(H, slot, lane));
}

static void run_hidden(const cot_fused_slots *s, const cot_real *z, const cot_real *w,
                       const cot_real *w1, const cot_real *b1, cot_real *to)
{
    const job j = {.slots = s, .z = z, .w = w, .matrix = w1, .bias = b1, .to_hidden = to};
    for_all_slots(hidden_of, 1, j);
}

/* Number d of a slot's output. */
COT_INLINE cot_vec output(int H, const job *j, size_t slot, size_t d, const cot_vec *w2s,
                          const cot_vec *hs)
{
    cot_vec sum = dot(H, w2s, hs);
    if (j->bias != NULL) sum += cot_vec_all(j->bias[expert_of(j, slot) * j->slots->D + d]);
    return sum;
}

/* One slot or two, which save loads and stores of y. */
COT_INLINE void add_outputs(int H, int slots, const job *j, size_t lane, size_t slot)
{
    const cot_real *w2[2];
    cot_vec ws[2][T], hs[2][MOST];
    COT_UNROLL
    for (int i = 0; i < slots; i++) {
        w2[i] = matrix_of(H, j, slot + (size_t)i);
        load(T, j->w + weights_at(slot + (size_t)i, lane), ws[i]);
        load(H, j->hidden + hidden_at(H, slot + (size_t)i, lane), hs[i]);
    }
    for (size_t d = j->begin; d < j->end; d++) {
        cot_real *y = j->y + d * T * L + lane;
        cot_vec ys[T], w2s[MOST];
        if (j->adds || slot > 0)
            load(T, y, ys);
        else
            clear(T, ys);
        COT_UNROLL
        for (int i = 0; i < slots; i++) {
            spread(H, w2[i] + d * (size_t)H, w2s);
            add_scaled(T, output(H, j, slot + (size_t)i, d, w2s, hs[i]), ws[i], ys);
        }
        store(T, ys, y);
    }
}

COT_INLINE void outputs_of(int H, const job *j, size_t lane, size_t slot)
{
    if (H <= MOST_OF_TWO_SLOTS && slot + 1 < j->slots->slots)
        add_outputs(H, 2, j, lane, slot);
    else
        add_outputs(H, 1, j, lane, slot);
}

static void run_outputs(const cot_fused_slots *s, const cot_real *w, const cot_real *w2,
                        const cot_real *b2, const cot_real *hidden, bool adds, cot_real *y)
{
    const job j = {
        .slots = s, .w = w, .matrix = w2, .bias = b2, .hidden = hidden, .adds = adds, .y = y};
    for_all_slots(outputs_of, s->H <= MOST_OF_TWO_SLOTS ? 2 : 1, j);
}

/* ---- backward ---- */

/* dw, dhidden or both: what both need together may be more than the registers hold. */
COT_INLINE void outputs_gradients(int H, bool to_w, bool to_hidden, const job *j, size_t lane,
                                  size_t slot)
{
    const size_t D = j->slots->D;
    const cot_real *w2 = matrix_of(H, j, slot);
    cot_vec ws[T - 1], hs[MOST], dws[T], dhs[MOST];
    load(T - 1, j->w + weights_at(slot, lane), ws);
    load(H, j->hidden + hidden_at(H, slot, lane), hs);
    resume(T, j, j->to_w + weights_at(slot, lane), dws);
    resume(H, j, j->to_hidden + hidden_at(H, slot, lane), dhs);
    for (size_t d = j->begin; d < j->end; d++) {
        cot_vec dzs[T], w2s[MOST];
        load(T, j->z + d * T * L + lane, dzs);
        spread(H, w2 + d * (size_t)H, w2s);
        if (to_w) add_scaled(T, output(H, j, slot, d, w2s, hs), dzs, dws);
        if (to_hidden) add_scaled(H, mixed(ws, dzs), w2s, dhs);
    }
    if (j->end == D) COT_UNROLL
    for (int t = 0; t < T - 1; t++) dws[t] += dws[T - 1]; /* of dy, from those of dz */
    if (to_w) store(T, dws, j->to_w + weights_at(slot, lane));
    if (to_hidden) store(H, dhs, j->to_hidden + hidden_at(H, slot, lane));
}

COT_INLINE void outputs_backward_of(int H, const job *j, size_t lane, size_t slot)
{
    if (H <= MOST_TWICE) {
        outputs_gradients(H, true, true, j, lane, slot);
    } else {
        outputs_gradients(H, true, false, j, lane, slot);
        outputs_gradients(H, false, true, j, lane, slot);
    }
}

static void run_outputs_backward(const cot_fused_slots *s, const cot_real *dz, const cot_real *w,
                                 const cot_real *w2, const cot_real *b2, const cot_real *hidden,
                                 cot_real *dw, cot_real *dhidden)
{
    const job j = {.slots = s,
                   .z = dz,
                   .w = w,
                   .matrix = w2,
                   .bias = b2,
                   .hidden = hidden,
                   .to_w = dw,
                   .to_hidden = dhidden};
    for_all_slots(outputs_backward_of, 1, j);
}

COT_INLINE void inputs_backward_of(int H, const job *j, size_t lane, size_t slot)
{
    const cot_real *w1 = matrix_of(H, j, slot);
    const bool adds = j->adds || slot > 0;
    cot_vec ws[T], dhs[MOST], dws[T];
    load(T, j->w + weights_at(slot, lane), ws);
    load(H, j->hidden + hidden_at(H, slot, lane), dhs);
    resume(T, j, j->to_w + weights_at(slot, lane), dws);
    for (size_t d = j->begin; d < j->end; d++) {
        cot_vec zs[T - 1], w1s[MOST];
        load(T - 1, j->z + d * T * L + lane, zs);
        spread(H, w1 + d * (size_t)H, w1s);
        cot_vec dslot = dot(H, w1s, dhs);
        add_scaled(T - 1, dslot, zs, dws);
        if (j->y == NULL) continue;
        cot_real *dx = j->y + d * T * L + lane;
        cot_vec dxs[T];
        if (adds)
            load(T, dx, dxs);
        else
            clear(T, dxs);
        add_scaled(T, dslot, ws, dxs);
        store(T, dxs, dx);
    }
    store(T, dws, j->to_w + weights_at(slot, lane));
}

static void run_inputs_backward(const cot_fused_slots *s, const cot_real *z, const cot_real *w,
                                const cot_real *w1, const cot_real *dhidden, bool adds,
                                cot_real *dw, cot_real *dx)
{
    const job j = {.slots = s,
                   .z = z,
                   .w = w,
                   .matrix = w1,
                   .hidden = dhidden,
                   .adds = adds,
                   .to_w = dw,
                   .y = dx};
    for_all_slots(inputs_backward_of, 1, j);
}

/* ---- gradients of weights: vectors along D ---- */

/* The most vectors of columns that go together: registers hold H sums of each. */
COT_INLINE size_t columns_of(size_t H)
{
    const size_t sums = COT_VEC_REGISTERS - COT_VEC_REGISTERS / 4;
    return H * 4 <= sums ? 4 : H * 3 <= sums ? 3 : H * 2 <= sums ? 2 : 1;
}

/* Of a token's row, which has room for whole vectors. */
COT_INLINE void load_columns(int cols, const cot_real *from, cot_vec_end last, cot_vec *to)
{
    COT_UNROLL
    for (int v = 0; v < cols; v++) {
        const size_t back = v == cols - 1 ? last.back : 0;
        to[v] = cot_vec_load(from + v * COT_VEC - back);
    }
}

/* What one sample adds to H rows and some vectors of columns, of which the last may be cut. */
COT_INLINE void add_sample(int H, int cols, const cot_real *z, size_t row, const cot_real *w,
                           const cot_real *h, cot_vec_end last, cot_vec sum[MOST][4])
{
    cot_vec in[4];
    load_columns(cols, z + (T - 1) * row, last, in);
    COT_UNROLL
    for (int t = 0; t < T - 1; t++) {
        cot_vec zs[4];
        load_columns(cols, z + (size_t)t * row, last, zs);
        add_scaled(cols, cot_vec_all(w[t * L]), zs, in);
    }
    COT_UNROLL
    for (int k = 0; k < H; k++) add_scaled(cols, cot_vec_all(h[k * L]), in, sum[k]);
}

/* Bring the next expert's part into the first-level cache, while this one's sums are made. */
COT_INLINE void fetch_next(int H, int cols, const job *j, size_t slot, const cot_real *to)
{
    const size_t D = j->slots->D;
    if (slot + j->slots->P >= j->slots->slots) return;
    COT_UNROLL
    for (int k = 0; k < H; k++) {
        COT_UNROLL
        for (int v = 0; v < cols; v++)
            __builtin_prefetch(to + (size_t)(H + k) * D + v * COT_VEC, 1);
    }
}

/* All samples, for some vectors of columns from d on. */
COT_INLINE void add_columns(int H, int cols, const job *j, size_t d, size_t slot, cot_vec_end last)
{
    const size_t D = j->slots->D;
    cot_real *to = j->y + expert_of(j, slot) * (size_t)H * D + d;
    const cot_real *z = j->z + d;
    cot_vec sum[MOST][4];
    COT_UNROLL
    for (int k = 0; k < H; k++) {
        COT_UNROLL
        for (int v = 0; v < cols; v++) {
            const cot_real *at = to + (size_t)k * D + v * COT_VEC;
            sum[k][v] = v == cols - 1 ? cot_vec_load_end(at, last) : cot_vec_load(at);
        }
    }
    fetch_next(H, cols, j, slot, to);
    for (size_t i = 0; i < j->n; i += L, slot += j->slots->slots) { /* the slot in every block */
        const size_t samples = j->n - i < L ? j->n - i : L;
        const cot_real *w = j->w + weights_at(slot, 0);
        const cot_real *h = j->hidden + hidden_at(H, slot, 0);
        for (size_t lane = 0; lane < samples; lane++, z += T * j->row)
            add_sample(H, cols, z, j->row, w + lane, h + lane, last, sum);
    }
    COT_UNROLL
    for (int k = 0; k < H; k++) {
        cot_real *at = to + (size_t)k * D;
        COT_UNROLL
        for (int v = 0; v < cols - 1; v++) cot_vec_store(at + v * COT_VEC, sum[k][v]);
        if (cols > 1)
            cot_vec_store_end(at + (cols - 1) * COT_VEC, last, sum[k][cols - 1]);
        else /* the strip before has added to the columns that they share */
            cot_vec_store_end_alone(at, last, sum[k][0]);
    }
}

/* Strip number `strip` of the columns, all of about the same width. */
COT_INLINE void weights_of(int H, const job *j, size_t strip, size_t slot)
{
    const size_t D = j->slots->D;
    const size_t most = columns_of((size_t)H);
    const size_t vectors = (D + COT_VEC - 1) / COT_VEC;
    const size_t strips = (vectors + most - 1) / most;
    const size_t begin = vectors * strip / strips;
    const size_t end = vectors * (strip + 1) / strips;
    const size_t cut = end * COT_VEC > D ? end * COT_VEC - D : 0;
    const cot_vec_end last = cot_vec_end_of(cut);
    if (most > 3 && end - begin == 4)
        add_columns(H, 4, j, begin * COT_VEC, slot, last);
    else if (most > 2 && end - begin == 3)
        add_columns(H, 3, j, begin * COT_VEC, slot, last);
    else if (most > 1 && end - begin == 2)
        add_columns(H, 2, j, begin * COT_VEC, slot, last);
    else if (!COT_VEC_MASKS && D < COT_VEC)
        add_columns(H, 1, j, begin * COT_VEC, slot, cot_vec_end_masked(cut));
    else
        add_columns(H, 1, j, begin * COT_VEC, slot, last);
}

/* Strip by strip, so that the samples' numbers of these columns stay in the first-level cache from
 * slot to slot. */
static void run_weights(const cot_fused_slots *s, size_t n, const cot_real *z, size_t row,
                        const cot_real *w, const cot_real *hidden, cot_real *dweights)
{
    const job j = {.slots = s, .z = z, .row = row, .w = w, .hidden = hidden, .n = n, .y = dweights};
    const size_t width = columns_of(s->H) * COT_VEC;
    const size_t strips = (s->D + width - 1) / width;
    for (size_t strip = 0; strip < strips; strip++)
        for (size_t slot = 0; slot < s->slots; slot++) with_hidden(weights_of, &j, strip, slot);
}

/* ---- into lanes, and back ---- */

/* Where the square of columns from c on begins: where masks cost, on columns of the one before it
 * rather than be cut. */
COT_INLINE size_t square_begin(size_t c, size_t cols)
{
    return COT_VEC_MASKS || cols < COT_VEC || c + COT_VEC <= cols ? c : cols - COT_VEC;
}

COT_INLINE cot_vec load_row(const cot_real *x, size_t n)
{
    return COT_VEC_MASKS || n < COT_VEC ? cot_vec_load_part(x, cot_vec_first(n)) : cot_vec_load(x);
}

COT_INLINE void store_row(cot_real *y, size_t n, cot_vec x)
{
    if (COT_VEC_MASKS || n < COT_VEC)
        cot_vec_store_part(y, cot_vec_first(n), x);
    else
        cot_vec_store(y, x);
}

static void to_lanes(size_t n, size_t cols, const cot_real *x, size_t row, cot_real *lanes,
                     size_t col)
{
    for (size_t lane = 0; lane < L; lane += COT_VEC)
        for (size_t next = 0; next < cols; next += COT_VEC) {
            const size_t c = square_begin(next, cols);
            const size_t here = cols - c < COT_VEC ? cols - c : COT_VEC;
            cot_vec v[COT_VEC];
            COT_UNROLL
            for (size_t i = 0; i < COT_VEC; i++)
                v[i] = lane + i < n ? load_row(x + (lane + i) * row + c, here) : cot_vec_zero();
            cot_vec_transpose(v);
            COT_UNROLL
            for (size_t i = 0; i < COT_VEC; i++)
                if (i < here) cot_vec_store(lanes + (c + i) * col + lane, v[i]);
        }
}

static void from_lanes(size_t n, size_t cols, const cot_real *lanes, size_t col, cot_real *x,
                       size_t row)
{
    for (size_t lane = 0; lane < n; lane += COT_VEC)
        for (size_t next = 0; next < cols; next += COT_VEC) {
            const size_t c = square_begin(next, cols);
            const size_t here = cols - c < COT_VEC ? cols - c : COT_VEC;
            cot_vec v[COT_VEC];
            COT_UNROLL
            for (size_t i = 0; i < COT_VEC; i++)
                v[i] = i < here ? cot_vec_load(lanes + (c + i) * col + lane) : cot_vec_zero();
            cot_vec_transpose(v);
            COT_UNROLL
            for (size_t i = 0; i < COT_VEC; i++)
                if (lane + i < n) store_row(x + (lane + i) * row + c, here, v[i]);
        }
}

const cot_fused_kernels KERNELS = {run_hidden,          run_outputs, run_outputs_backward,
                                   run_inputs_backward, run_weights, to_lanes,
                                   from_lanes};
