#include <coterie/exchange.h>
#include <coterie/memory.h>
#include <coterie/ordered_sum.h>
#include <coterie/shared.h>

#include <string.h>

/* What one side's table of slots looks like, with the memory behind it. */
typedef struct table {
    cot_slots slots;
    size_t *samples, *first;
} table;

struct cot_exchange {
    const cot_comm *comm;
    size_t experts, slots_per_expert, width, grains, max_batch;
    size_t first_expert, owned_experts;
    bool is_shared;
    size_t planned; /* samples of the full plan in force; 0: none */
    cot_grains home_grains;
    table home, owned;
    size_t *used;         /* [members,E]: samples of each member that use each expert */
    cot_shared *in, *out; /* memory of all ranks of the group; NULL on a group of one rank */
    cot_slot_buffers buffers;
    /* Messages, by member: its part of the home buffer and of the owned one, each as one element of
     * a type of its own, or none. */
    MPI_Datatype row; /* D numbers */
    MPI_Datatype *home_parts, *owned_parts;
    int *home_counts, *owned_counts, *displs;
    int *lengths, *places; /* [owned slots], for making types */
};

static size_t group_size(const cot_exchange *ex)
{
    return (size_t)ex->comm->group_size;
}

static table table_create(size_t experts, size_t slots_per_expert)
{
    table t = {.samples = cot_alloc(experts, sizeof(size_t)),
               .first = cot_alloc(experts, sizeof(size_t))};
    t.slots = (cot_slots){experts, slots_per_expert, t.samples, t.first};
    return t;
}

static void table_destroy(table *t)
{
    cot_free(t->first);
    cot_free(t->samples);
}

static size_t home_rows(const cot_exchange *ex)
{
    size_t samples = cot_grains_capacity(ex->max_batch, ex->grains, (size_t)ex->comm->size,
                                         (size_t)ex->comm->rank);
    return samples * ex->experts * ex->slots_per_expert;
}

size_t cot_exchange_expert_rows(const cot_exchange *ex)
{
    size_t samples = cot_grains_capacity(ex->max_batch, ex->grains, (size_t)ex->comm->replica_count,
                                         (size_t)ex->comm->replica);
    return samples * ex->slots_per_expert;
}

size_t cot_exchange_owned_rows(const cot_exchange *ex)
{
    return cot_exchange_expert_rows(ex) * ex->owned_experts;
}

/* ---- memory ---- */

/* One rank alone shares with nobody, but in the same way. */
static void take_own_buffers(cot_exchange *ex)
{
    size_t owned = cot_exchange_owned_rows(ex) * ex->width;
    cot_slot_buffers *b = &ex->buffers;
    b->owned_in = cot_alloc(owned, sizeof(cot_real));
    b->owned_out = cot_alloc(owned, sizeof(cot_real));
    b->home_in = b->owned_in;
    b->home_out = b->owned_out;
    if (ex->is_shared) return;
    b->home_out = cot_alloc(home_rows(ex) * ex->width, sizeof(cot_real));
    b->home_in = b->home_out;
}

/* Of the others' memory in each of the two buffers, a rank comes to use its own samples' rows. */
static size_t seen_bytes(const cot_exchange *ex)
{
    size_t slots = (ex->experts - ex->owned_experts) * ex->slots_per_expert;
    return 2 * home_rows(ex) / (ex->experts * ex->slots_per_expert) * slots * ex->width *
           sizeof(cot_real);
}

/* Every rank brings the memory of its experts. */
static bool take_shared_buffers(cot_exchange *ex)
{
    MPI_Comm group = ex->comm->group;
    size_t bytes = cot_exchange_owned_rows(ex) * ex->width * sizeof(cot_real);
    ex->in = cot_shared_create(group, bytes);
    if (ex->in != NULL) ex->out = cot_shared_create(group, bytes);
    if (ex->out == NULL) {
        cot_shared_destroy(&ex->in);
        return false;
    }
    cot_real *in = cot_shared_base(ex->in);
    cot_real *out = cot_shared_base(ex->out);
    ex->buffers = (cot_slot_buffers){in, out, in, out};
    cot_memory_see((long)seen_bytes(ex));
    return true;
}

static void take_buffers(cot_exchange *ex, bool messages)
{
    bool alone = group_size(ex) == 1;
    ex->is_shared = alone;
    if (!alone && !messages && cot_shared_possible(ex->comm->group))
        ex->is_shared = take_shared_buffers(ex);
    if (alone || !ex->is_shared) take_own_buffers(ex);
}

static void release_buffers(cot_exchange *ex)
{
    const cot_slot_buffers *b = &ex->buffers;
    if (ex->in == NULL) {
        if (b->home_out != b->owned_out) cot_free(b->home_out);
        cot_free(b->owned_out);
        cot_free(b->owned_in);
    }
    if (ex->in != NULL) cot_memory_see(-(long)seen_bytes(ex));
    cot_shared_destroy(&ex->out);
    cot_shared_destroy(&ex->in);
}

static void take_message_plan(cot_exchange *ex)
{
    size_t members = group_size(ex);
    size_t slots = ex->owned_experts * ex->slots_per_expert + 1;
    ex->home_parts = cot_alloc(members, sizeof *ex->home_parts);
    ex->owned_parts = cot_alloc(members, sizeof *ex->owned_parts);
    ex->home_counts = cot_alloc(members, sizeof(int));
    ex->owned_counts = cot_alloc(members, sizeof(int));
    ex->displs = cot_alloc(members, sizeof(int));
    ex->lengths = cot_alloc(slots, sizeof(int));
    ex->places = cot_alloc(slots, sizeof(int));
    COT_MPI(MPI_Type_contiguous(cot_comm_int(ex->width), COT_MPI_REAL, &ex->row));
    COT_MPI(MPI_Type_commit(&ex->row));
    for (size_t m = 0; m < members; m++) ex->home_parts[m] = ex->owned_parts[m] = MPI_DATATYPE_NULL;
}

static void free_parts(cot_exchange *ex)
{
    for (size_t m = 0; m < group_size(ex); m++) {
        if (ex->home_parts[m] == MPI_DATATYPE_NULL) continue;
        COT_MPI(MPI_Type_free(&ex->owned_parts[m]));
        COT_MPI(MPI_Type_free(&ex->home_parts[m]));
    }
}

static void release_message_plan(cot_exchange *ex)
{
    free_parts(ex);
    COT_MPI(MPI_Type_free(&ex->row));
    cot_free(ex->places);
    cot_free(ex->lengths);
    cot_free(ex->displs);
    cot_free(ex->owned_counts);
    cot_free(ex->home_counts);
    cot_free(ex->owned_parts);
    cot_free(ex->home_parts);
}

cot_exchange *cot_exchange_create(const cot_comm *comm, size_t experts, size_t slots_per_expert,
                                  size_t width, size_t grains, size_t max_batch, bool messages)
{
    cot_exchange *ex = cot_alloc(1, sizeof *ex);
    *ex = (cot_exchange){.comm = comm,
                         .experts = experts,
                         .slots_per_expert = slots_per_expert,
                         .width = width,
                         .grains = grains,
                         .max_batch = max_batch};
    size_t members = group_size(ex);
    size_t me = (size_t)comm->group_rank;
    ex->first_expert = cot_shard_begin(experts, members, me);
    ex->owned_experts = cot_shard_size(experts, members, me);
    ex->home = table_create(experts, slots_per_expert);
    ex->owned = table_create(ex->owned_experts, slots_per_expert);
    ex->used = cot_alloc(members * experts, sizeof *ex->used);
    take_buffers(ex, messages);
    if (!ex->is_shared) take_message_plan(ex);
    return ex;
}

void cot_exchange_destroy(cot_exchange **exchange)
{
    cot_exchange *ex = *exchange;
    if (ex == NULL) return;
    if (!ex->is_shared) release_message_plan(ex);
    release_buffers(ex);
    cot_free(ex->used);
    table_destroy(&ex->owned);
    table_destroy(&ex->home);
    cot_free(ex);
    *exchange = NULL;
}

const cot_slot_buffers *cot_exchange_buffers(const cot_exchange *ex)
{
    return &ex->buffers;
}

bool cot_exchange_is_shared(const cot_exchange *ex)
{
    return ex->is_shared;
}

/* ---- plans ---- */

/* The grains of the group's rank `member`. */
static cot_grains grains_of_member(const cot_exchange *ex, size_t samples, size_t member)
{
    size_t world_rank = (size_t)ex->comm->replica * group_size(ex) + member;
    return cot_grains_of(samples, ex->grains, (size_t)ex->comm->size, world_rank);
}

/* Samples that use expert e, of the members before `end`. */
static size_t used_before(const cot_exchange *ex, size_t e, size_t end)
{
    size_t samples = 0;
    for (size_t m = 0; m < end; m++) samples += ex->used[m * ex->experts + e];
    return samples;
}

/* The owners' tables, of which this rank keeps its experts' part; where memory is shared, also its
 * samples' part. */
static void place_shared_rows(cot_exchange *ex)
{
    size_t next = 0;
    for (size_t e = 0; e < ex->experts; e++) {
        size_t samples = used_before(ex, e, group_size(ex));
        if (e >= ex->first_expert && e < ex->first_expert + ex->owned_experts) {
            ex->owned.samples[e - ex->first_expert] = samples;
            ex->owned.first[e - ex->first_expert] = next;
        }
        ex->home.samples[e] = samples;
        ex->home.first[e] = next + used_before(ex, e, (size_t)ex->comm->group_rank);
        next += ex->slots_per_expert * samples;
    }
}

/* Without shared memory, both sides have buffers of their own, which begin with their own rows. */
static void place_own_rows(cot_exchange *ex)
{
    const size_t *mine = ex->used + (size_t)ex->comm->group_rank * ex->experts;
    size_t next = 0;
    for (size_t e = 0; e < ex->experts; e++) {
        ex->home.samples[e] = mine[e];
        ex->home.first[e] = next;
        next += ex->slots_per_expert * mine[e];
    }
    next = 0;
    for (size_t e = 0; e < ex->owned_experts; e++) {
        ex->owned.samples[e] = used_before(ex, ex->first_expert + e, group_size(ex));
        ex->owned.first[e] = next;
        next += ex->slots_per_expert * ex->owned.samples[e];
    }
}

/* Blocks of rows as one element, which counts unless it is empty. */
static int make_part(const cot_exchange *ex, int blocks, MPI_Datatype *part)
{
    COT_MPI(MPI_Type_indexed(blocks, ex->lengths, ex->places, ex->row, part));
    COT_MPI(MPI_Type_commit(part));
    return blocks > 0;
}

/* The rows of a member's experts are one block of the home buffer. */
static void plan_home_part(cot_exchange *ex, size_t member)
{
    size_t begin = cot_shard_begin(ex->experts, group_size(ex), member);
    size_t end = cot_shard_begin(ex->experts, group_size(ex), member + 1);
    size_t rows = 0;
    for (size_t e = begin; e < end; e++) rows += cot_slots_rows(&ex->home.slots, e);
    ex->lengths[0] = cot_comm_int(rows);
    ex->places[0] = begin < end ? cot_comm_int(ex->home.first[begin]) : 0;
    ex->home_counts[member] = make_part(ex, rows > 0, &ex->home_parts[member]);
}

/* Those of a member's samples are a few rows of each slot in the owned buffer. */
static void plan_owned_part(cot_exchange *ex, size_t member)
{
    int blocks = 0;
    for (size_t e = 0; e < ex->owned_experts; e++) {
        size_t expert = ex->first_expert + e;
        size_t place = used_before(ex, expert, member);
        size_t samples = ex->used[member * ex->experts + expert];
        for (size_t p = 0; p < ex->slots_per_expert && samples > 0; p++, blocks++) {
            ex->lengths[blocks] = cot_comm_int(samples);
            ex->places[blocks] = cot_comm_int(cot_slots_row(&ex->owned.slots, e, p, place));
        }
    }
    ex->owned_counts[member] = make_part(ex, blocks, &ex->owned_parts[member]);
}

static void place_rows(cot_exchange *ex)
{
    if (ex->is_shared) {
        place_shared_rows(ex);
        return;
    }
    place_own_rows(ex);
    free_parts(ex);
    for (size_t m = 0; m < group_size(ex); m++) {
        plan_home_part(ex, m);
        plan_owned_part(ex, m);
    }
}

void cot_exchange_plan(cot_exchange *ex, size_t samples)
{
    if (ex->planned == samples && samples > 0) return;
    COT_ASSERT(samples <= ex->max_batch);
    for (size_t m = 0; m < group_size(ex); m++) {
        cot_grains theirs = grains_of_member(ex, samples, m);
        for (size_t e = 0; e < ex->experts; e++)
            ex->used[m * ex->experts + e] = cot_grains_size(&theirs);
    }
    ex->home_grains = grains_of_member(ex, samples, (size_t)ex->comm->group_rank);
    place_rows(ex);
    ex->planned = samples;
}

void cot_exchange_plan_kept(cot_exchange *ex, size_t samples, const size_t *used)
{
    _Static_assert(sizeof(size_t) == sizeof(unsigned long), "MPI_UNSIGNED_LONG carries size_t");
    COT_ASSERT(samples <= ex->max_batch);
    int experts = cot_comm_int(ex->experts);
    COT_MPI(MPI_Allgather(used, experts, MPI_UNSIGNED_LONG, ex->used, experts, MPI_UNSIGNED_LONG,
                          ex->comm->group));
    ex->home_grains = grains_of_member(ex, samples, (size_t)ex->comm->group_rank);
    place_rows(ex);
    ex->planned = 0;
}

const cot_grains *cot_exchange_home_grains(const cot_exchange *ex)
{
    return &ex->home_grains;
}

const cot_slots *cot_exchange_home_slots(const cot_exchange *ex)
{
    return &ex->home.slots;
}

const cot_slots *cot_exchange_owned_slots(const cot_exchange *ex)
{
    return &ex->owned.slots;
}

/* ---- moving ---- */

static void meet(cot_shared *memory)
{
    if (memory != NULL) cot_shared_meet(memory);
}

static void to_owners(const cot_exchange *ex, const cot_real *home, cot_real *owned)
{
    COT_MPI(MPI_Alltoallw(home, ex->home_counts, ex->displs, ex->home_parts, owned,
                          ex->owned_counts, ex->displs, ex->owned_parts, ex->comm->group));
}

void cot_exchange_inputs_to_owners(cot_exchange *ex)
{
    if (ex->is_shared)
        meet(ex->in);
    else
        to_owners(ex, ex->buffers.home_in, ex->buffers.owned_in);
}

void cot_exchange_outputs_to_owners(cot_exchange *ex)
{
    if (ex->is_shared)
        meet(ex->out);
    else
        to_owners(ex, ex->buffers.home_out, ex->buffers.owned_out);
}

void cot_exchange_outputs_to_homes(cot_exchange *ex)
{
    const cot_slot_buffers *b = &ex->buffers;
    if (ex->is_shared)
        meet(ex->out);
    else
        COT_MPI(MPI_Alltoallw(b->owned_out, ex->owned_counts, ex->displs, ex->owned_parts,
                              b->home_out, ex->home_counts, ex->displs, ex->home_parts,
                              ex->comm->group));
}

/* ---- what is sent ---- */

static size_t bytes_of_rows(const cot_exchange *ex, size_t rows)
{
    return ex->is_shared ? 0 : rows * ex->width * sizeof(cot_real);
}

size_t cot_exchange_bytes_to_owners(const cot_exchange *ex)
{
    size_t rows = 0;
    for (size_t e = 0; e < ex->experts; e++)
        if (e < ex->first_expert || e >= ex->first_expert + ex->owned_experts)
            rows += cot_slots_rows(&ex->home.slots, e);
    return bytes_of_rows(ex, rows);
}

size_t cot_exchange_bytes_to_homes(const cot_exchange *ex)
{
    size_t rows = 0;
    for (size_t e = 0; e < ex->owned_experts; e++)
        rows += cot_slots_rows(&ex->owned.slots, e) -
                cot_slots_rows(&ex->home.slots, ex->first_expert + e);
    return bytes_of_rows(ex, rows);
}
