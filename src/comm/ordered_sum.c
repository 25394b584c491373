#include "comm/sketch.h"

#include <coterie/comm.h>
#include <coterie/memory.h>
#include <coterie/nodes.h>
#include <coterie/ordered_sum.h>
#include <coterie/shard.h>
#include <coterie/shared.h>
#include <coterie/tree.h>

#include <string.h>

/* Doubles are gathered so many at a time: one message for the scores of a batch. */
enum { AT_ONCE = 256 };

struct cot_ordered_sum {
    MPI_Comm comm;
    int rank, size;
    bool ordered;
    size_t capacity;
    cot_shared *shared;      /* the ranks' parts, [size, capacity], and the sum; NULL: messages */
    size_t seen;             /* bytes of it that other ranks brought, and this one touches */
    cot_real *parts;         /* what arrives: by halving the other's part of one half; else all
                                ranks' parts of this rank's segment, [size, segment] */
    double *doubles;         /* [size, AT_ONCE] */
    int *counts, *displs;    /* segments of the array, by rank */
    int *mine, *mine_displs; /* what arrives here: one part from every rank */
};

static bool halves(const cot_ordered_sum *sum)
{
    return (sum->size & (sum->size - 1)) == 0;
}

/* Every rank brings its part, and the last the sum too. */
static void share(cot_ordered_sum *sum)
{
    size_t ranks = (size_t)sum->size;
    size_t bytes = sum->capacity * sizeof(cot_real);
    bool last = sum->rank == sum->size - 1;
    sum->shared = cot_shared_create(sum->comm, last ? 2 * bytes : bytes);
    if (sum->shared == NULL) return;
    sum->seen = (ranks - 1) * bytes / ranks + (last ? 0 : bytes);
    cot_memory_see((long)sum->seen);
}

static void take_messages(cot_ordered_sum *sum)
{
    size_t ranks = (size_t)sum->size;
    size_t arrives = halves(sum) ? sum->capacity / 2 + 1 : ranks * (sum->capacity / ranks + 1);
    sum->parts = cot_alloc(arrives, sizeof *sum->parts);
}

cot_ordered_sum *cot_ordered_sum_create(MPI_Comm comm, size_t size, bool ordered, size_t node_ranks)
{
    cot_ordered_sum *sum = cot_alloc(1, sizeof *sum);
    sum->comm = comm;
    cot_sketch_place(comm, &sum->rank, &sum->size);
    sum->ordered = ordered;
    sum->capacity = size;
    size_t ranks = (size_t)sum->size;
    bool shares = ordered && size > 0 && ranks > 1 && node_ranks != 1;
    if (shares && cot_nodes_are_one(comm, node_ranks)) share(sum);
    if (ordered && ranks > 1 && sum->shared == NULL) take_messages(sum);
    sum->doubles = cot_alloc(ranks * AT_ONCE, sizeof *sum->doubles);
    sum->counts = cot_alloc(ranks, sizeof *sum->counts);
    sum->displs = cot_alloc(ranks, sizeof *sum->displs);
    sum->mine = cot_alloc(ranks, sizeof *sum->mine);
    sum->mine_displs = cot_alloc(ranks, sizeof *sum->mine_displs);
    return sum;
}

void cot_ordered_sum_destroy(cot_ordered_sum **sum)
{
    if (*sum == NULL) return;
    cot_free((*sum)->mine_displs);
    cot_free((*sum)->mine);
    cot_free((*sum)->displs);
    cot_free((*sum)->counts);
    cot_free((*sum)->doubles);
    cot_free((*sum)->parts);
    cot_memory_see(-(long)(*sum)->seen);
    cot_shared_destroy(&(*sum)->shared);
    cot_free(*sum);
    *sum = NULL;
}

/* ---- any number of ranks: rank r adds up segment r of the array ---- */

static void cut_segments(cot_ordered_sum *sum, size_t n)
{
    size_t ranks = (size_t)sum->size;
    size_t own = cot_shard_size(n, ranks, (size_t)sum->rank);
    for (size_t r = 0; r < ranks; r++) {
        sum->counts[r] = cot_comm_int(cot_shard_size(n, ranks, r));
        sum->displs[r] = cot_comm_int(cot_shard_begin(n, ranks, r));
        sum->mine[r] = cot_comm_int(own);
        sum->mine_displs[r] = cot_comm_int(r * own);
    }
}

static size_t bytes_of(const cot_ordered_sum *sum, size_t n, size_t number)
{
    size_t ranks = (size_t)sum->size;
    size_t own = cot_shard_size(n, ranks, (size_t)sum->rank);
    return (n - own + (ranks - 1) * own) * number;
}

static size_t add_segments(cot_ordered_sum *sum, size_t n, const cot_real *part, cot_real *total)
{
    cut_segments(sum, n);
    COT_MPI(MPI_Alltoallv(part, sum->counts, sum->displs, COT_MPI_REAL, sum->parts, sum->mine,
                          sum->mine_displs, COT_MPI_REAL, sum->comm));
    cot_tree_reduce((size_t)sum->size, (size_t)sum->counts[sum->rank], sum->parts);
    COT_MPI(MPI_Allgatherv(sum->parts, sum->counts[sum->rank], COT_MPI_REAL, total, sum->counts,
                           sum->displs, COT_MPI_REAL, sum->comm));
    return bytes_of(sum, n, sizeof(cot_real));
}

/* ---- a power of two: neighbours first, then pairs of pairs, which is the tree ---- */

typedef struct range {
    size_t begin, end;
} range;

static void add(size_t n, const cot_real *x, cot_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

/* Send one range of the array and receive another, or what is to be added to it. */
static size_t swap(const cot_ordered_sum *sum, int partner, const cot_real *from, range sent,
                   cot_real *to, range received)
{
    size_t n = sent.end - sent.begin;
    COT_MPI(MPI_Sendrecv(from + sent.begin, cot_comm_int(n), COT_MPI_REAL, partner, 0, to,
                         cot_comm_int(received.end - received.begin), COT_MPI_REAL, partner, 0,
                         sum->comm, MPI_STATUS_IGNORE));
    return n * sizeof(cot_real);
}

/* The lower half for the rank without `bit` in its number, the upper one for the other. */
static range half_of(range whole, int bit, int rank)
{
    size_t middle = whole.begin + (whole.end - whole.begin) / 2;
    return (rank & bit) == 0 ? (range){whole.begin, middle} : (range){middle, whole.end};
}

/* Reduce-scatter by recursive halving, all-gather by recursive doubling (Thakur, Rabenseifner,
 * Gropp 2005). Partners add the same two numbers, so they need not agree on an order. */
static size_t halve_and_double(cot_ordered_sum *sum, size_t n, const cot_real *part,
                               cot_real *total)
{
    range held[8 * sizeof(int)] = {{0, n}};
    size_t bytes = 0;
    int level = 0;
    if (total != part) memcpy(total, part, n * sizeof *total);
    for (int bit = 1; bit < sum->size; bit *= 2, level++) {
        int partner = sum->rank ^ bit;
        range keep = half_of(held[level], bit, sum->rank);
        bytes += swap(sum, partner, total, half_of(held[level], bit, partner), sum->parts, keep);
        add(keep.end - keep.begin, sum->parts, total + keep.begin);
        held[level + 1] = keep;
    }
    for (int bit = sum->size / 2; bit > 0; bit /= 2, level--) {
        int partner = sum->rank ^ bit;
        range theirs = half_of(held[level - 1], bit, partner);
        bytes += swap(sum, partner, total, held[level], total + theirs.begin, theirs);
    }
    return bytes;
}

/* ---- in shared memory: rank r adds up segment r of the array, where it lies ---- */

static void add_in_place(cot_ordered_sum *sum, size_t n, const cot_real *part, cot_real *total)
{
    const size_t ranks = (size_t)sum->size;
    const size_t me = (size_t)sum->rank;
    cot_real *parts = cot_shared_base(sum->shared);
    cot_real *whole = parts + ranks * sum->capacity;
    cot_real *own = parts + cot_shard_begin(n, ranks, me);
    const size_t count = cot_shard_size(n, ranks, me);
    memcpy(parts + me * sum->capacity, part, n * sizeof *part);
    cot_shared_meet(sum->shared);
    for (size_t stride = 1; stride < ranks; stride *= 2)
        for (size_t r = 0; r + stride < ranks; r += 2 * stride)
            add(count, own + (r + stride) * sum->capacity, own + r * sum->capacity);
    /* The sum has a place of its own: a rank may write its next part while others read. */
    memcpy(whole + cot_shard_begin(n, ranks, me), own, count * sizeof *own);
    cot_shared_meet(sum->shared);
    memcpy(total, whole, n * sizeof *total);
}

size_t cot_ordered_sum_real(cot_ordered_sum *sum, size_t n, const cot_real *part, cot_real *total)
{
    COT_ASSERT(n <= sum->capacity);
    if (sum->size == 1) {
        if (total != part) memcpy(total, part, n * sizeof *total);
        return 0;
    }
    if (!sum->ordered) {
        const void *send = total != part ? (const void *)part : MPI_IN_PLACE;
        COT_MPI(MPI_Allreduce(send, total, cot_comm_int(n), COT_MPI_REAL, MPI_SUM, sum->comm));
        return bytes_of(sum, n, sizeof(cot_real));
    }
    if (sum->shared != NULL) {
        add_in_place(sum, n, part, total);
        return 0;
    }
    return halves(sum) ? halve_and_double(sum, n, part, total) : add_segments(sum, n, part, total);
}

/* ---- doubles, few at a time ---- */

static size_t add_few(cot_ordered_sum *sum, size_t n, double *values)
{
    int count = cot_comm_int(n);
    COT_MPI(MPI_Allgather(values, count, MPI_DOUBLE, sum->doubles, count, MPI_DOUBLE, sum->comm));
    cot_tree_reduce_double((size_t)sum->size, n, sum->doubles);
    memcpy(values, sum->doubles, n * sizeof *values);
    return ((size_t)sum->size - 1) * n * sizeof *values;
}

/* At most AT_ONCE for each rank. */
static size_t add_many(cot_ordered_sum *sum, size_t n, double *values)
{
    cut_segments(sum, n);
    COT_MPI(MPI_Alltoallv(values, sum->counts, sum->displs, MPI_DOUBLE, sum->doubles, sum->mine,
                          sum->mine_displs, MPI_DOUBLE, sum->comm));
    cot_tree_reduce_double((size_t)sum->size, (size_t)sum->counts[sum->rank], sum->doubles);
    COT_MPI(MPI_Allgatherv(sum->doubles, sum->counts[sum->rank], MPI_DOUBLE, values, sum->counts,
                           sum->displs, MPI_DOUBLE, sum->comm));
    return bytes_of(sum, n, sizeof *values);
}

size_t cot_ordered_sum_doubles(cot_ordered_sum *sum, size_t n, double *values)
{
    const size_t most = (size_t)sum->size * AT_ONCE;
    size_t bytes = 0;
    if (n <= AT_ONCE) return add_few(sum, n, values);
    for (size_t first = 0; first < n; first += most)
        bytes += add_many(sum, n - first < most ? n - first : most, values + first);
    return bytes;
}
