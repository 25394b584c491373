#include "moe/exchange_state.h"

#include <coterie/memory.h>

#include <string.h>

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

/* A part of `rows` rows; false, on every rank of the node, where it has too little memory to
 * share. */
static bool take(const cot_exchange *ex, node_memory *memory, size_t rows)
{
    const size_t row = ex->width * sizeof(cot_real);
    if (cot_nodes_size(ex->nodes, ex->nodes->mine) == 1) {
        memory->base = cot_alloc(rows, row);
        return true;
    }
    memory->shared = cot_shared_create(ex->nodes->here, rows * row);
    if (memory->shared == NULL) return false;
    memory->base = cot_shared_base(memory->shared);
    return true;
}

static void release(node_memory *memory)
{
    if (memory->shared == NULL) cot_free(memory->base);
    cot_shared_destroy(&memory->shared);
    memory->base = NULL;
}

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Of the memory that others of the node brought, what this rank comes to use, by whole pages: its
 * own samples' rows of every slot in both buffers of the experts; with several nodes, rows between
 * its own in those of the samples, and of a message in as many as there are ranks all rows of the
 * node's samples and of the other nodes'. What is read before it is written, Linux maps with what
 * lies in the same 64 KiB. */
static size_t seen_bytes(const cot_exchange *ex)
{
    const size_t page = 4096;
    const size_t around = 65536;
    const size_t ranks = cot_nodes_size(ex->nodes, ex->nodes->mine);
    const bool one = ex->nodes->count == 1;
    if (ex->in.shared == NULL) return 0;
    const size_t row = ex->width * sizeof(cot_real);
    const size_t here = exchange_node_experts(ex, ex->nodes->mine) * ex->slots_per_expert;
    const size_t slots = ex->experts * ex->slots_per_expert;
    const size_t others = here - ex->owned_experts * ex->slots_per_expert;
    const size_t own = home_rows(ex) / slots * row;
    const size_t all = cot_exchange_expert_rows(ex) / ex->slots_per_expert * row;
    const size_t node = one ? all : lesser(own * ranks, all);
    const size_t messages = (all - node) / ranks;
    const size_t owned = lesser(own + page + messages, all) + lesser(own + around + messages, all);
    const size_t home = lesser(own + around, node);
    if (own == 0) return 0;
    if (one) return others * owned;
    return others * owned + slots * (home - own) + (slots - here) * (node - home) / ranks;
}

/* Every rank brings the memory of its experts and, with several nodes, of its samples. */
static bool take_node_memory(cot_exchange *ex)
{
    const size_t owned = cot_exchange_owned_rows(ex);
    bool good = take(ex, &ex->in, owned) && take(ex, &ex->out, owned);
    if (good && ex->nodes->count > 1) good = take(ex, &ex->home_rows, home_rows(ex));
    return good;
}

static void release_node_memory(cot_exchange *ex)
{
    cot_memory_see(-(long)ex->seen);
    release(&ex->home_rows);
    release(&ex->out);
    release(&ex->in);
    cot_nodes_destroy(&ex->nodes);
}

/* Where one node cannot share what it needs, all ranks of the group are nodes of their own. */
static void take_buffers(cot_exchange *ex, size_t node_ranks)
{
    ex->nodes = cot_nodes_create(ex->comm->group, node_ranks);
    int good = take_node_memory(ex);
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, ex->comm->group));
    if (!good) {
        release_node_memory(ex);
        ex->nodes = cot_nodes_create(ex->comm->group, 1);
        good = take_node_memory(ex);
        COT_ASSERT(good);
    }
    bool one = ex->nodes->count == 1;
    ex->buffers = (cot_slot_buffers){.home_in = one ? ex->in.base : ex->home_rows.base,
                                     .home_out = one ? ex->out.base : ex->home_rows.base,
                                     .owned_in = ex->in.base,
                                     .owned_out = ex->out.base};
    ex->seen = seen_bytes(ex);
    cot_memory_see((long)ex->seen);
}

cot_exchange *cot_exchange_create(const cot_comm *comm, size_t experts, size_t slots_per_expert,
                                  size_t width, size_t grains, size_t max_batch, size_t node_ranks)
{
    cot_exchange *ex = cot_alloc(1, sizeof *ex);
    *ex = (cot_exchange){.comm = comm,
                         .experts = experts,
                         .slots_per_expert = slots_per_expert,
                         .width = width,
                         .grains = grains,
                         .max_batch = max_batch,
                         .chunks = 1};
    size_t members = group_size(ex);
    size_t me = (size_t)comm->group_rank;
    ex->first_expert = cot_shard_begin(experts, members, me);
    ex->owned_experts = cot_shard_size(experts, members, me);
    ex->home = table_create(experts, slots_per_expert);
    ex->owned = table_create(ex->owned_experts, slots_per_expert);
    ex->home_first = cot_alloc(experts, sizeof *ex->home_first);
    ex->owned_first = cot_alloc(experts, sizeof *ex->owned_first);
    take_buffers(ex, node_ranks);
    ex->before = cot_alloc((ex->nodes->count + 1) * experts, sizeof *ex->before);
    ex->before_me = cot_alloc(2 * experts, sizeof *ex->before_me);
    ex->mine = ex->before_me + experts;
    exchange_messages_create(ex);
    exchange_messages_choose(ex);
    return ex;
}

void cot_exchange_destroy(cot_exchange **exchange)
{
    cot_exchange *ex = *exchange;
    if (ex == NULL) return;
    exchange_messages_destroy(ex);
    cot_free(ex->before_me);
    cot_free(ex->before);
    release_node_memory(ex);
    cot_free(ex->owned_first);
    cot_free(ex->home_first);
    table_destroy(&ex->owned);
    table_destroy(&ex->home);
    cot_free(ex);
    *exchange = NULL;
}

const cot_slot_buffers *cot_exchange_buffers(const cot_exchange *ex)
{
    return &ex->buffers;
}

size_t cot_exchange_nodes(const cot_exchange *ex)
{
    return ex->nodes->count;
}

const char *cot_exchange_way(const cot_exchange *ex)
{
    if (ex->nodes->count == 1) return "in shared memory";
    return ex->nodes->count == group_size(ex) ? "by messages" : "by messages between nodes";
}

/* ---- plans ---- */

size_t exchange_most_owned(const cot_exchange *ex)
{
    return (ex->experts + group_size(ex) - 1) / group_size(ex);
}

void cot_exchange_set_chunks(cot_exchange *ex, size_t chunks)
{
    size_t most = exchange_most_owned(ex);
    size_t before = ex->chunks;
    if (ex->nodes->count == 1 || chunks == 0) chunks = 1;
    ex->chunks = chunks < most ? chunks : most;
    if (ex->chunks != before) ex->planned = 0;
}

size_t cot_exchange_chunks(const cot_exchange *ex)
{
    return ex->chunks;
}

size_t exchange_chunk_begin(const cot_exchange *ex, size_t member, size_t chunk)
{
    return cot_shard_begin(cot_shard_size(ex->experts, group_size(ex), member), ex->chunks, chunk);
}

size_t cot_exchange_chunk_begin(const cot_exchange *ex, size_t chunk)
{
    return exchange_chunk_begin(ex, (size_t)ex->comm->group_rank, chunk);
}

/* The grains of the group's rank `member`. */
static cot_grains grains_of_member(const cot_exchange *ex, size_t samples, size_t member)
{
    size_t world_rank = (size_t)ex->comm->replica * group_size(ex) + member;
    return cot_grains_of(samples, ex->grains, (size_t)ex->comm->size, world_rank);
}

cot_grains cot_exchange_grains_of(const cot_exchange *ex, size_t samples)
{
    return grains_of_member(ex, samples, (size_t)ex->comm->group_rank);
}

size_t exchange_used(const cot_exchange *ex, size_t e, size_t first, size_t end)
{
    return ex->before[end * ex->experts + e] - ex->before[first * ex->experts + e];
}

/* The home table: all experts, the samples of the node. Of one group that is one node, this is the
 * owners' table as well. */
static void place_home_rows(cot_exchange *ex)
{
    const size_t node = ex->nodes->mine;
    size_t next = 0;
    for (size_t e = 0; e < ex->experts; e++) {
        ex->home_first[e] = next;
        ex->home.samples[e] = exchange_used(ex, e, node, node + 1);
        ex->home.first[e] = next + ex->before_me[e] - exchange_used(ex, e, 0, node);
        next += ex->slots_per_expert * ex->home.samples[e];
    }
}

/* The owned table: the experts of the node, of which this rank knows its own, and all samples. */
static void place_owned_rows(cot_exchange *ex)
{
    const size_t members = group_size(ex);
    const size_t *begins = ex->nodes->begins + ex->nodes->mine;
    const size_t end = cot_shard_begin(ex->experts, members, begins[1]);
    size_t next = 0;
    for (size_t e = cot_shard_begin(ex->experts, members, begins[0]); e < end; e++) {
        size_t samples = exchange_used(ex, e, 0, ex->nodes->count);
        ex->owned_first[e] = next;
        if (e >= ex->first_expert && e < ex->first_expert + ex->owned_experts) {
            ex->owned.samples[e - ex->first_expert] = samples;
            ex->owned.first[e - ex->first_expert] = next;
        }
        next += ex->slots_per_expert * samples;
    }
}

static void place_rows(cot_exchange *ex)
{
    place_home_rows(ex);
    place_owned_rows(ex);
    exchange_messages_plan(ex);
    ex->has_rows = true;
}

/* Where rows are to lie elsewhere, nobody may still be reading those of the last batch. */
static void await_readers(cot_exchange *ex)
{
    cot_shared *home = ex->nodes->count == 1 ? ex->in.shared : ex->home_rows.shared;
    if (home != NULL && ex->has_rows) cot_shared_meet(home);
}

static void fill(size_t experts, size_t samples, size_t *row)
{
    for (size_t e = 0; e < experts; e++) row[e] = samples;
}

/* Of a batch, the group's samples in front of its member `member`, or all. */
static size_t samples_before(const cot_exchange *ex, size_t samples, size_t member)
{
    const size_t members = group_size(ex);
    const cot_grains first = grains_of_member(ex, samples, 0);
    const cot_grains last = grains_of_member(ex, samples, member < members ? member : members - 1);
    size_t end = cot_grains_begin(&last) + (member < members ? 0 : cot_grains_size(&last));
    return end - cot_grains_begin(&first);
}

/* Every sample uses every expert. */
static void use_all(cot_exchange *ex, size_t samples)
{
    const size_t E = ex->experts;
    const size_t me = (size_t)ex->comm->group_rank;
    const size_t before_me = samples_before(ex, samples, me);
    for (size_t n = 0; n <= ex->nodes->count; n++)
        fill(E, samples_before(ex, samples, ex->nodes->begins[n]), ex->before + n * E);
    fill(E, before_me, ex->before_me);
    fill(E, samples_before(ex, samples, me + 1) - before_me, ex->mine);
}

/* Every rank knows its own, and has the sums of those in front. The first rank of each node tells
 * these to all, and the last rank those of all. */
static void use_some(cot_exchange *ex, const size_t *used)
{
    _Static_assert(sizeof(size_t) == sizeof(unsigned long), "MPI_UNSIGNED_LONG carries size_t");
    const cot_nodes *nodes = ex->nodes;
    const size_t E = ex->experts;
    const MPI_Comm group = ex->comm->group;
    size_t *node = ex->before + nodes->mine * E;
    size_t *all = ex->before + nodes->count * E;
    memcpy(ex->mine, used, E * sizeof *used);
    COT_MPI(MPI_Exscan(used, ex->before_me, cot_comm_int(E), MPI_UNSIGNED_LONG, MPI_SUM, group));
    if (ex->comm->group_rank == 0) fill(E, 0, ex->before_me); /* MPI leaves it undefined */
    memset(ex->before, 0, (nodes->count + 1) * E * sizeof *ex->before);
    if (nodes->rank == 0) memcpy(node, ex->before_me, E * sizeof *node);
    for (size_t e = 0; ex->comm->group_rank == ex->comm->group_size - 1 && e < E; e++)
        all[e] = ex->before_me[e] + used[e];
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, ex->before, cot_comm_int((nodes->count + 1) * E),
                          MPI_UNSIGNED_LONG, MPI_SUM, group));
}

void cot_exchange_plan(cot_exchange *ex, size_t samples)
{
    if (ex->planned == samples && samples > 0) return;
    COT_ASSERT(samples <= ex->max_batch);
    await_readers(ex);
    use_all(ex, samples);
    ex->home_grains = cot_exchange_grains_of(ex, samples);
    place_rows(ex);
    ex->planned = samples;
}

void cot_exchange_plan_kept(cot_exchange *ex, size_t samples, const size_t *used)
{
    COT_ASSERT(samples <= ex->max_batch);
    use_some(ex, used); /* all ranks wait for each other in it: nobody reads rows any more */
    ex->home_grains = cot_exchange_grains_of(ex, samples);
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
