#include <coterie/exchange.h>
#include <coterie/memory.h>
#include <coterie/ordered_sum.h>

#include <string.h>

/* What one rank's table of slots looks like, with the memory behind it. */
typedef struct table {
    cot_slots slots;
    size_t *samples, *first;
} table;

struct cot_exchange {
    const cot_comm *comm;
    size_t experts, slots_per_expert, grains, max_batch;
    size_t first_expert, owned_experts;
    size_t rounds;  /* the most grains that a rank of the group has */
    size_t planned; /* samples of the full plan in force; 0: none */
    cot_grains home_grains, owned_grains;
    table home, owned;
    MPI_Datatype row; /* D numbers */
    /* By round and group rank, in rows: what goes out of the home buffer, and what comes into the
     * owned one. */
    int *home_counts, *home_displs, *owned_counts, *owned_displs;
};

static table table_create(size_t grains, size_t experts, size_t slots_per_expert)
{
    table t = {.samples = cot_alloc(grains * experts, sizeof(size_t)),
               .first = cot_alloc(grains * experts, sizeof(size_t))};
    t.slots = (cot_slots){grains, experts, slots_per_expert, t.samples, t.first};
    return t;
}

static void table_destroy(table *t)
{
    cot_free(t->first);
    cot_free(t->samples);
}

/* Rows lie one after the other: grain by grain, expert by expert. */
static void table_place_rows(table *t)
{
    size_t next = 0;
    for (size_t i = 0; i < t->slots.grains * t->slots.experts; i++) {
        t->first[i] = next;
        next += t->slots.slots_per_expert * t->samples[i];
    }
}

static size_t group_size(const cot_exchange *ex)
{
    return (size_t)ex->comm->group_size;
}

/* The grains of the group's rank `member`. */
static cot_grains grains_of_member(const cot_exchange *ex, size_t samples, size_t member)
{
    size_t world_rank = (size_t)ex->comm->replica * group_size(ex) + member;
    return cot_grains_of(samples, ex->grains, (size_t)ex->comm->size, world_rank);
}

cot_exchange *cot_exchange_create(const cot_comm *comm, size_t experts, size_t slots_per_expert,
                                  size_t width, size_t grains, size_t max_batch)
{
    cot_exchange *ex = cot_alloc(1, sizeof *ex);
    *ex = (cot_exchange){.comm = comm,
                         .experts = experts,
                         .slots_per_expert = slots_per_expert,
                         .grains = grains,
                         .max_batch = max_batch};
    size_t members = group_size(ex);
    size_t me = (size_t)comm->group_rank;
    ex->first_expert = cot_shard_begin(experts, members, me);
    ex->owned_experts = cot_shard_size(experts, members, me);
    size_t group_grains =
        cot_shard_size(grains, (size_t)comm->replica_count, (size_t)comm->replica);
    for (size_t member = 0; member < members; member++) {
        cot_grains theirs = grains_of_member(ex, max_batch, member);
        if (theirs.end - theirs.first > ex->rounds) ex->rounds = theirs.end - theirs.first;
    }
    cot_grains mine = grains_of_member(ex, max_batch, me);
    ex->home = table_create(mine.end - mine.first, experts, slots_per_expert);
    ex->owned = table_create(group_grains, ex->owned_experts, slots_per_expert);
    ex->home_counts = cot_alloc(ex->rounds * members, sizeof(int));
    ex->home_displs = cot_alloc(ex->rounds * members, sizeof(int));
    ex->owned_counts = cot_alloc(ex->rounds * members, sizeof(int));
    ex->owned_displs = cot_alloc(ex->rounds * members, sizeof(int));
    COT_MPI(MPI_Type_contiguous(cot_comm_int(width), COT_MPI_REAL, &ex->row));
    COT_MPI(MPI_Type_commit(&ex->row));
    return ex;
}

void cot_exchange_destroy(cot_exchange **exchange)
{
    cot_exchange *ex = *exchange;
    if (ex == NULL) return;
    COT_MPI(MPI_Type_free(&ex->row));
    cot_free(ex->owned_displs);
    cot_free(ex->owned_counts);
    cot_free(ex->home_displs);
    cot_free(ex->home_counts);
    table_destroy(&ex->owned);
    table_destroy(&ex->home);
    cot_free(ex);
    *exchange = NULL;
}

bool cot_exchange_is_local(const cot_exchange *ex)
{
    return ex->comm->group_size == 1;
}

size_t cot_exchange_home_rows(const cot_exchange *ex)
{
    size_t samples = cot_grains_capacity(ex->max_batch, ex->grains, (size_t)ex->comm->size,
                                         (size_t)ex->comm->rank);
    return samples * ex->experts * ex->slots_per_expert;
}

size_t cot_exchange_owned_rows(const cot_exchange *ex)
{
    size_t samples = cot_grains_capacity(ex->max_batch, ex->grains, (size_t)ex->comm->replica_count,
                                         (size_t)ex->comm->replica);
    return samples * ex->owned_experts * ex->slots_per_expert;
}

static size_t begin_of_experts(const cot_exchange *ex, size_t member)
{
    return cot_shard_begin(ex->experts, group_size(ex), member);
}

/* A piece of a buffer, in elements of whatever the buffer holds. */
typedef struct span {
    size_t first, count;
} span;

/* The rows of grain g for the experts [begin, end): one piece, by the order of rows. */
static span rows_of(const table *t, size_t g, size_t begin, size_t end)
{
    span rows = {begin < end ? cot_slots_first(&t->slots, g, begin) : 0, 0};
    for (size_t e = begin; e < end; e++) rows.count += cot_slots_rows(&t->slots, g, e);
    return rows;
}

/* The same experts' entries in the table itself, [grains, experts]. */
static span entries_of(const table *t, size_t g, size_t begin, size_t end)
{
    return (span){g * t->slots.experts + begin, end - begin};
}

/* Counts and displacements of every round: in round i, each rank's i-th grain travels, if it has
 * one. */
static void plan_rounds(cot_exchange *ex, span (*part)(const table *, size_t, size_t, size_t))
{
    for (size_t round = 0; round < ex->rounds; round++) {
        for (size_t member = 0; member < group_size(ex); member++) {
            cot_grains theirs = grains_of_member(ex, ex->home_grains.samples, member);
            span out = {0, 0};
            span in = {0, 0};
            if (round < ex->home.slots.grains)
                out = part(&ex->home, round, begin_of_experts(ex, member),
                           begin_of_experts(ex, member + 1));
            if (theirs.first + round < theirs.end)
                in = part(&ex->owned, theirs.first + round - ex->owned_grains.first, 0,
                          ex->owned_experts);
            size_t at = round * group_size(ex) + member;
            ex->home_counts[at] = cot_comm_int(out.count);
            ex->home_displs[at] = cot_comm_int(out.first);
            ex->owned_counts[at] = cot_comm_int(in.count);
            ex->owned_displs[at] = cot_comm_int(in.first);
        }
    }
}

static void plan_rows(cot_exchange *ex)
{
    table_place_rows(&ex->home);
    table_place_rows(&ex->owned);
    plan_rounds(ex, rows_of);
}

/* All rounds of one direction; counts and displacements in elements of `type`. */
static void travel(const cot_exchange *ex, MPI_Datatype type, const void *send,
                   const int *send_counts, const int *send_displs, void *receive,
                   const int *receive_counts, const int *receive_displs)
{
    for (size_t round = 0; round < ex->rounds; round++) {
        size_t at = round * group_size(ex);
        COT_MPI(MPI_Alltoallv(send, send_counts + at, send_displs + at, type, receive,
                              receive_counts + at, receive_displs + at, type, ex->comm->group));
    }
}

static void set_grains(cot_exchange *ex, size_t samples)
{
    COT_ASSERT(samples <= ex->max_batch);
    ex->home_grains = grains_of_member(ex, samples, (size_t)ex->comm->group_rank);
    ex->owned_grains = cot_grains_of(samples, ex->grains, (size_t)ex->comm->replica_count,
                                     (size_t)ex->comm->replica);
}

/* Every expert is used by every sample of the grain. */
static void fill_full(table *t, const cot_grains *grains)
{
    for (size_t g = 0; g < t->slots.grains; g++)
        for (size_t e = 0; e < t->slots.experts; e++)
            t->samples[g * t->slots.experts + e] = cot_grain_size(grains, grains->first + g);
}

void cot_exchange_plan(cot_exchange *ex, size_t samples)
{
    if (ex->planned == samples && samples > 0) return;
    set_grains(ex, samples);
    fill_full(&ex->home, &ex->home_grains);
    fill_full(&ex->owned, &ex->owned_grains);
    plan_rows(ex);
    ex->planned = samples;
}

void cot_exchange_plan_kept(cot_exchange *ex, size_t samples, const size_t *used)
{
    _Static_assert(sizeof(size_t) == sizeof(unsigned long), "MPI_UNSIGNED_LONG carries size_t");
    set_grains(ex, samples);
    memcpy(ex->home.samples, used, ex->home.slots.grains * ex->experts * sizeof *used);
    /* First the owners learn how many samples of each grain use each of their experts. */
    plan_rounds(ex, entries_of);
    travel(ex, MPI_UNSIGNED_LONG, ex->home.samples, ex->home_counts, ex->home_displs,
           ex->owned.samples, ex->owned_counts, ex->owned_displs);
    plan_rows(ex);
    ex->planned = 0;
}

const cot_grains *cot_exchange_home_grains(const cot_exchange *ex)
{
    return &ex->home_grains;
}

const cot_grains *cot_exchange_owned_grains(const cot_exchange *ex)
{
    return &ex->owned_grains;
}

const cot_slots *cot_exchange_home_slots(const cot_exchange *ex)
{
    return &ex->home.slots;
}

const cot_slots *cot_exchange_owned_slots(const cot_exchange *ex)
{
    return &ex->owned.slots;
}

void cot_exchange_to_owners(cot_exchange *ex, const cot_real *home, cot_real *owned)
{
    if (cot_exchange_is_local(ex))
        COT_ASSERT(home == owned);
    else
        travel(ex, ex->row, home, ex->home_counts, ex->home_displs, owned, ex->owned_counts,
               ex->owned_displs);
}

void cot_exchange_to_homes(cot_exchange *ex, const cot_real *owned, cot_real *home)
{
    if (cot_exchange_is_local(ex))
        COT_ASSERT(home == owned);
    else
        travel(ex, ex->row, owned, ex->owned_counts, ex->owned_displs, home, ex->home_counts,
               ex->home_displs);
}
