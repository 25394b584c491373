/* The rows of a pair of nodes: samples of the one, experts of the other. At home they lie one after
 * the other; at the owners, each slot has a run of rows for these samples. A message takes
 * consecutive slots until they make up a piece. So where runs are long, each is a message of its
 * own, which MPI copies from place to place; where they are short, a data type puts them in their
 * places; and a run of more than LONGEST bytes is cut evenly. Both nodes cut in the same way, and
 * deal the messages out among their ranks. */
#include "comm/sketch.h"
#include "moe/exchange_state.h"

#include <coterie/clock.h>
#include <coterie/memory.h>
#include <coterie/ordered_sum.h>

#include <string.h>

/* Between ranks of one machine, a message costs some 2 µs beside its bytes, and a data type has
 * them copied by way of a buffer: twice from core to core. Which takes longer depends on how
 * near the cores are, so it is measured. Over TCP either is as fast. */
static const size_t pieces[] = {160 << 10, 32 << 10};
enum { PIECES = sizeof pieces / sizeof pieces[0] };

/* Over TCP, a message of 1 MiB with its header would wait for the other side to answer, and so for
 * its work. With what src/cli/main.c sets. */
enum { LONGEST = 1020 << 10 };

/* Over TCP, a step of MPI's progress takes in one fragment at the most, of 64 KiB. */
enum { POLLS = 16 };

/* Two ranks list what is between them in the same order, and begin the legs in the same order: so
 * messages match without tags to tell them apart. */
enum { TAG = 0 };

/* The message at hand. */
typedef struct draft {
    size_t home, owner; /* nodes */
    size_t number;      /* among the pair's messages */
    size_t rows;        /* so far */
    int blocks;         /* of rows next to each other, on this rank's side */
} draft;

static size_t group_size(const cot_exchange *ex)
{
    return (size_t)ex->comm->group_size;
}

size_t exchange_node_experts(const cot_exchange *ex, size_t n)
{
    return cot_shard_begin(ex->experts, group_size(ex), ex->nodes->begins[n + 1]) -
           cot_shard_begin(ex->experts, group_size(ex), ex->nodes->begins[n]);
}

static size_t row_bytes(const cot_exchange *ex)
{
    return ex->width * sizeof(cot_real);
}

/* Rows of the longest message. */
static size_t longest_rows(const cot_exchange *ex)
{
    return row_bytes(ex) < LONGEST ? LONGEST / row_bytes(ex) : 1;
}

/* A message is a slot or more, or a part of one. A pair of nodes has as many slots as the owner;
 * and of one slot, all the nodes of a group together cut at the most as often as if its samples
 * were one node's. */
static size_t most_messages(const cot_exchange *ex)
{
    size_t own = exchange_node_experts(ex, ex->nodes->mine);
    size_t away = ex->experts - own;
    size_t samples = cot_exchange_expert_rows(ex) / ex->slots_per_expert;
    size_t cuts = samples / longest_rows(ex);
    return (away + own * (ex->nodes->count - 1) + ex->experts * cuts) * ex->slots_per_expert;
}

void exchange_messages_create(cot_exchange *ex)
{
    ex->piece = pieces[0];
    if (ex->nodes->count == 1) return;
    size_t most = most_messages(ex);
    size_t slots = ex->experts * ex->slots_per_expert;
    ex->messages = cot_alloc(most, sizeof *ex->messages);
    ex->chunk_messages = cot_alloc(exchange_most_owned(ex) + 1, sizeof *ex->chunk_messages);
    for (int leg = 0; leg < COT_LEGS; leg++) {
        ex->requests[leg] = cot_alloc(most, sizeof(MPI_Request));
        for (size_t i = 0; i < most; i++) ex->requests[leg][i] = MPI_REQUEST_NULL;
    }
    ex->lengths = cot_alloc(slots, sizeof(int));
    ex->places = cot_alloc(slots, sizeof(int));
    ex->numbers = cot_alloc(2 * ex->nodes->count, sizeof *ex->numbers);
    COT_MPI(MPI_Type_contiguous(cot_comm_int(ex->width), COT_MPI_REAL, &ex->row));
    COT_MPI(MPI_Type_commit(&ex->row));
}

static void forget_messages(cot_exchange *ex)
{
    for (size_t i = 0; i < ex->message_count; i++)
        if (ex->messages[i].type != ex->row) COT_MPI(MPI_Type_free(&ex->messages[i].type));
    ex->message_count = 0;
}

void exchange_messages_destroy(cot_exchange *ex)
{
    if (ex->nodes->count == 1) return;
    forget_messages(ex);
    COT_MPI(MPI_Type_free(&ex->row));
    cot_free(ex->numbers);
    cot_free(ex->places);
    cot_free(ex->lengths);
    for (int leg = 0; leg < COT_LEGS; leg++) cot_free(ex->requests[leg]);
    cot_free(ex->chunk_messages);
    cot_free(ex->messages);
}

/* ---- plan ---- */

/* Rows of this rank's side, from `place` on. */
static void add_rows(cot_exchange *ex, draft *d, size_t place, size_t rows)
{
    int last = d->blocks - 1;
    d->rows += rows;
    if (last >= 0 && (size_t)ex->places[last] + (size_t)ex->lengths[last] == place) {
        ex->lengths[last] = cot_comm_int((size_t)ex->lengths[last] + rows);
        return;
    }
    ex->places[d->blocks] = cot_comm_int(place);
    ex->lengths[d->blocks] = cot_comm_int(rows);
    d->blocks++;
}

/* The draft as a message to or from this rank of the group. */
static void list_message(cot_exchange *ex, const draft *d, size_t peer)
{
    COT_ASSERT(ex->message_count < most_messages(ex));
    message *m = &ex->messages[ex->message_count++];
    *m = (message){.peer = cot_comm_int(peer),
                   .at_home = d->home == ex->nodes->mine,
                   .rows = d->rows,
                   .place = (size_t)ex->places[0],
                   .count = ex->lengths[0],
                   .type = ex->row};
    if (d->blocks == 1) return;
    m->place = 0;
    m->count = 1;
    COT_MPI(MPI_Type_indexed(d->blocks, ex->lengths, ex->places, ex->row, &m->type));
    COT_MPI(MPI_Type_commit(&m->type));
}

/* The draft is complete: deal it to a rank of either node, and begin another. */
static void close_draft(cot_exchange *ex, draft *d)
{
    const cot_nodes *nodes = ex->nodes;
    if (d->rows == 0) return;
    size_t home_rank = (d->number + d->owner) % cot_nodes_size(nodes, d->home);
    size_t owner_rank = (d->number + d->home) % cot_nodes_size(nodes, d->owner);
    if (d->home == nodes->mine && home_rank == nodes->rank)
        list_message(ex, d, nodes->begins[d->owner] + owner_rank);
    if (d->owner == nodes->mine && owner_rank == nodes->rank)
        list_message(ex, d, nodes->begins[d->home] + home_rank);
    d->number++;
    d->rows = 0;
    d->blocks = 0;
}

/* Slot p of expert e, for the samples of the pair's home. */
static void add_slot(cot_exchange *ex, draft *d, size_t e, size_t p)
{
    size_t rows = exchange_used(ex, e, d->home, d->home + 1);
    if (rows == 0) return;
    size_t place = ex->home_first[e] + p * rows;
    if (d->home != ex->nodes->mine)
        place = ex->owned_first[e] + p * exchange_used(ex, e, 0, ex->nodes->count) +
                exchange_used(ex, e, 0, d->home);
    const size_t parts = (rows + longest_rows(ex) - 1) / longest_rows(ex);
    for (size_t i = 0; i < parts; i++) {
        size_t more = cot_shard_size(rows, parts, i);
        if (d->rows + more > longest_rows(ex)) close_draft(ex, d);
        add_rows(ex, d, place + cot_shard_begin(rows, parts, i), more);
        if (d->rows * row_bytes(ex) >= ex->piece) close_draft(ex, d);
    }
}

/* One chunk of a pair of nodes, of which this rank's is one: the chunk of each of the owners. */
static void plan_pair(cot_exchange *ex, size_t home, size_t owner, size_t chunk, size_t *number)
{
    const size_t *members = ex->nodes->begins + owner;
    draft d = {.home = home, .owner = owner, .number = *number};
    for (size_t m = members[0]; m < members[1]; m++) {
        size_t first = cot_shard_begin(ex->experts, group_size(ex), m);
        size_t end = first + exchange_chunk_begin(ex, m, chunk + 1);
        for (size_t e = first + exchange_chunk_begin(ex, m, chunk); e < end; e++)
            for (size_t p = 0; p < ex->slots_per_expert; p++) add_slot(ex, &d, e, p);
    }
    close_draft(ex, &d);
    *number = d.number;
}

/* Every node begins with another partner. */
void exchange_messages_plan(cot_exchange *ex)
{
    const size_t count = ex->nodes->count;
    const size_t mine = ex->nodes->mine;
    if (count == 1) return;
    forget_messages(ex);
    memset(ex->numbers, 0, 2 * count * sizeof *ex->numbers);
    for (size_t c = 0; c < ex->chunks; c++) {
        ex->chunk_messages[c] = ex->message_count;
        for (size_t d = 1; d < count; d++) {
            size_t to = (mine + d) % count;
            size_t from = (mine + count - d) % count;
            plan_pair(ex, mine, to, c, &ex->numbers[to]);
            plan_pair(ex, from, mine, c, &ex->numbers[count + from]);
        }
    }
    ex->chunk_messages[ex->chunks] = ex->message_count;
}

/* ---- inside a node ---- */

/* What this rank's samples have in a chunk of one owner of its node, by hand. */
static void copy_for(const cot_exchange *ex, size_t member, bool to_owner, const cot_real *from,
                     cot_real *to, size_t chunk)
{
    size_t begin = cot_shard_begin(ex->experts, group_size(ex), member);
    for (size_t e = begin + exchange_chunk_begin(ex, member, chunk);
         e < begin + exchange_chunk_begin(ex, member, chunk + 1); e++) {
        size_t samples = exchange_used(ex, e, 0, ex->nodes->count);
        size_t before = ex->before_me[e];
        size_t numbers = ex->mine[e] * ex->width;
        for (size_t p = 0; p < ex->slots_per_expert && numbers > 0; p++) {
            size_t home = cot_slots_row(&ex->home.slots, e, p, 0);
            size_t owned = ex->owned_first[e] + p * samples + before;
            memcpy(to + (to_owner ? owned : home) * ex->width,
                   from + (to_owner ? home : owned) * ex->width, numbers * sizeof *to);
        }
    }
}

/* ---- moving ---- */

/* From where to where a leg goes. */
typedef struct path {
    bool to_owner;
    cot_real *home, *owned;
} path;

static path path_of(const cot_exchange *ex, cot_leg leg)
{
    const cot_slot_buffers *b = &ex->buffers;
    bool inputs = leg == COT_LEG_INPUTS || leg == COT_LEG_DINPUTS;
    return (path){.to_owner = leg == COT_LEG_INPUTS || leg == COT_LEG_DOUTPUTS,
                  .home = inputs ? b->home_in : b->home_out,
                  .owned = inputs ? b->owned_in : b->owned_out};
}

/* All ranks of the node are here, and see what each has written. */
static void meet(cot_exchange *ex, cot_leg leg)
{
    bool inputs = leg == COT_LEG_INPUTS || leg == COT_LEG_DINPUTS;
    cot_shared *owned = inputs ? ex->in.shared : ex->out.shared;
    cot_shared *home = ex->home_rows.shared;
    if (owned == NULL) return;
    if (home != NULL) cot_shared_sync(home);
    cot_shared_meet(owned);
    if (home != NULL) cot_shared_sync(home);
}

/* Of the messages in [first, end), those that this rank receives, or those that it sends; their
 * bytes. */
static size_t post(cot_exchange *ex, cot_leg leg, size_t first, size_t end, bool receives)
{
    const path way = path_of(ex, leg);
    size_t sum = 0;
    for (size_t i = first; i < end; i++) {
        const message *m = &ex->messages[i];
        if ((m->at_home == way.to_owner) == receives) continue;
        cot_real *rows = (m->at_home ? way.home : way.owned) + m->place * ex->width;
        MPI_Request *request = &ex->requests[leg][i];
        sum += m->rows;
        if (receives)
            COT_MPI(MPI_Irecv(rows, m->count, m->type, m->peer, TAG, ex->comm->group, request));
        else
            COT_MPI(MPI_Isend(rows, m->count, m->type, m->peer, TAG, ex->comm->group, request));
    }
    return sum * row_bytes(ex);
}

/* A chunk to or from the owners of this node. */
static void copy_here(const cot_exchange *ex, cot_leg leg, size_t chunk)
{
    const path way = path_of(ex, leg);
    const size_t *members = ex->nodes->begins + ex->nodes->mine;
    for (size_t m = members[0]; m < members[1]; m++)
        copy_for(ex, m, way.to_owner, way.to_owner ? way.home : way.owned,
                 way.to_owner ? way.owned : way.home, chunk);
}

/* Copies come first, chunk by chunk: beside messages in one machine's memory they would be in their
 * way, and on a network little else waits for them than the first chunk's messages. */
size_t cot_exchange_start(cot_exchange *ex, cot_leg leg, size_t first, size_t end)
{
    if (ex->nodes->count == 1) return 0;
    const size_t *messages = ex->chunk_messages;
    size_t bytes = 0;
    meet(ex, leg);
    (void)post(ex, leg, messages[first], messages[end], true);
    for (size_t c = first; c < end; c++) {
        copy_here(ex, leg, c);
        bytes += post(ex, leg, messages[c], messages[c + 1], false);
    }
    return bytes;
}

void cot_exchange_finish(cot_exchange *ex, cot_leg leg, size_t chunk)
{
    if (ex->nodes->count > 1) {
        size_t first = ex->chunk_messages[chunk];
        COT_MPI(MPI_Waitall(cot_comm_int(ex->chunk_messages[chunk + 1] - first),
                            ex->requests[leg] + first, MPI_STATUSES_IGNORE));
    }
    meet(ex, leg);
}

/* Whether nothing of this leg is on its way; if something is, one step of MPI's progress. */
static bool poll_leg(cot_exchange *ex, int leg)
{
    int done = 0;
    COT_MPI(MPI_Testall(cot_comm_int(ex->message_count), ex->requests[leg], &done,
                        MPI_STATUSES_IGNORE));
    return done != 0;
}

/* Progress is of everything, whichever leg is asked about. */
void cot_exchange_progress(cot_exchange *ex)
{
    if (ex->nodes->count == 1) return;
    for (int i = 0, leg = 0; i < POLLS; i++)
        while (poll_leg(ex, leg))
            if (++leg == COT_LEGS) return;
}

void cot_exchange_run(cot_exchange *ex, cot_leg leg)
{
    (void)cot_exchange_start(ex, leg, 0, ex->chunks);
    for (size_t c = 0; c < ex->chunks; c++) cot_exchange_finish(ex, leg, c);
}

/* ---- pieces ---- */

/* Inputs there, outputs back: seconds of the rank that took longest. */
static double time_piece(cot_exchange *ex, size_t piece)
{
    ex->piece = piece;
    exchange_messages_plan(ex);
    COT_MPI(MPI_Barrier(ex->comm->group));
    double seconds = cot_seconds();
    cot_exchange_run(ex, COT_LEG_INPUTS);
    cot_exchange_run(ex, COT_LEG_OUTPUTS);
    seconds = cot_seconds() - seconds;
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, ex->comm->group));
    return seconds;
}

static bool is_one_machine(MPI_Comm comm)
{
    return cot_sketch_of(comm) == NULL && cot_nodes_are_one(comm, 0);
}

/* Whether any rank of the group has other messages with one piece than with another. */
static bool pieces_differ(cot_exchange *ex)
{
    int differ = 0;
    const size_t messages = ex->message_count;
    for (size_t i = 0; i < PIECES; i++) {
        ex->piece = pieces[i];
        exchange_messages_plan(ex);
        if (ex->message_count != messages) differ = 1;
    }
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &differ, 1, MPI_INT, MPI_MAX, ex->comm->group));
    return differ != 0;
}

/* In turns, as many as there is time for; each by its fastest. */
static size_t fastest_piece(cot_exchange *ex)
{
    enum { TURNS = 7 };
    const double most_seconds = 0.2;
    double fastest[PIECES];
    double spent = 0;
    size_t best = 0;
    for (size_t i = 0; i < PIECES; i++) fastest[i] = time_piece(ex, pieces[i]); /* new memory */
    for (size_t turn = 0; turn < TURNS && spent < most_seconds; turn++)
        for (size_t i = 0; i < PIECES; i++) {
            double seconds = time_piece(ex, pieces[i]);
            spent += seconds;
            if (turn == 0 || seconds < fastest[i]) fastest[i] = seconds;
        }
    for (size_t i = 1; i < PIECES; i++)
        if (fastest[i] < fastest[best]) best = i;
    return pieces[best];
}

void exchange_messages_choose(cot_exchange *ex)
{
    if (ex->nodes->count == 1 || !is_one_machine(ex->comm->group)) return;
    cot_exchange_plan(ex, ex->max_batch);
    ex->piece = pieces_differ(ex) ? fastest_piece(ex) : pieces[0];
    exchange_messages_plan(ex);
}
