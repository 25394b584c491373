#include "run/trace.h"

#include "run/replace.h"

#include <coterie/clock.h>
#include <coterie/memory.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double microseconds = 1e6;

/* Threads of a rank's process, as the viewer shows them. */
enum { THREAD_STEPS, THREAD_ASIDE };

enum { MESSAGE_TAG = 1 };

double cot_trace_origin(const cot_comm *comm)
{
    MPI_Comm node;
    COT_MPI(MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    COT_MPI(MPI_Barrier(comm->world));
    double origin = cot_seconds();
    COT_MPI(MPI_Bcast(&origin, 1, MPI_DOUBLE, 0, node));
    COT_MPI(MPI_Comm_free(&node));
    return origin;
}

/* ---- the text ---- */

typedef struct writer {
    FILE *file;
    double origin; /* of the rank at hand */
    uint64_t step; /* behind which its next step comes */
} writer;

static void write_names(const writer *w, int rank, bool first)
{
    fprintf(w->file,
            "%s{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, "
            "\"args\": {\"name\": \"rank %d\"}}",
            first ? "" : ",\n", rank, rank);
    const char *threads[] = {[THREAD_STEPS] = "steps", [THREAD_ASIDE] = "under way beside them"};
    for (int i = 0; i <= THREAD_ASIDE; i++)
        fprintf(w->file,
                ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, "
                "\"args\": {\"name\": \"%s\"}}",
                rank, i, threads[i]);
}

static void write_event(writer *w, int rank, const cot_ledger_event *event)
{
    bool is_step = event->phase == COT_PHASES;
    fprintf(w->file,
            ",\n{\"name\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, "
            "\"dur\": %.3f",
            is_step ? "step" : cot_phase_name((cot_phase)event->phase), rank,
            event->aside ? THREAD_ASIDE : THREAD_STEPS, microseconds * (event->begin - w->origin),
            microseconds * (event->end - event->begin));
    if (is_step) fprintf(w->file, ", \"args\": {\"step\": %lu}", (unsigned long)++w->step);
    if (event->layer >= 0) fprintf(w->file, ", \"args\": {\"layer\": %d}", event->layer);
    fputc('}', w->file);
}

/* ---- rank by rank ---- */

/* What a rank tells before its events. */
typedef struct heading {
    double origin;
    uint64_t count;
} heading;

static void send_events(const cot_comm *comm, const cot_ledger_event *events, const heading *own)
{
    COT_MPI(MPI_Send(own, sizeof *own, MPI_BYTE, 0, MESSAGE_TAG, comm->world));
    COT_MPI(MPI_Send(events, cot_comm_int(own->count * sizeof *events), MPI_BYTE, 0, MESSAGE_TAG,
                     comm->world));
}

static void receive_events(const cot_comm *comm, int rank, cot_ledger_event *events, heading *their)
{
    COT_MPI(MPI_Recv(their, sizeof *their, MPI_BYTE, rank, MESSAGE_TAG, comm->world,
                     MPI_STATUS_IGNORE));
    COT_MPI(MPI_Recv(events, cot_comm_int(their->count * sizeof *events), MPI_BYTE, rank,
                     MESSAGE_TAG, comm->world, MPI_STATUS_IGNORE));
}

/* Rank 0: its own events and, one rank after the other, those of all the others. */
static void write_ranks(const cot_comm *comm, FILE *file, const cot_ledger_event *own_events,
                        const heading *own, uint64_t first_step)
{
    cot_ledger_event *received = cot_alloc(TRACE_EVENTS, sizeof *received);
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n", file);
    for (int rank = 0; rank < comm->size; rank++) {
        heading their = *own;
        if (rank > 0) receive_events(comm, rank, received, &their);
        writer w = {file, their.origin, first_step};
        const cot_ledger_event *events = rank > 0 ? received : own_events;
        write_names(&w, rank, rank == 0);
        for (size_t i = 0; i < their.count; i++) write_event(&w, rank, &events[i]);
    }
    fputs("\n]}\n", file);
    cot_free(received);
}

static cot_status close_file(FILE *file, const char *partial, const char *path)
{
    bool good = ferror(file) == 0;
    good = fclose(file) == 0 && good;
    if (!good) return cot_fail(COT_E_IO, "%s: cannot be written; is the disk full?", partial);
    COT_TRY(cot_replace_sync(partial));
    return cot_replace_publish(partial, path);
}

cot_status cot_trace_write(const cot_comm *comm, const cot_ledger *ledger, uint64_t first_step,
                           double origin, const char *dir)
{
    char *path = cot_strprintf("%s/trace.json", dir);
    char *partial = cot_replace_partial(path);
    FILE *file = NULL;
    cot_status status = COT_OK;
    if (comm->rank == 0 && (file = fopen(partial, "w")) == NULL)
        status = cot_fail(COT_E_CREATE, "%s: cannot be created: %s", partial, strerror(errno));
    status = cot_comm_agree(comm, status);
    if (status != COT_OK) goto free_names;

    size_t count = 0;
    const cot_ledger_event *events = cot_ledger_events(ledger, &count);
    heading own = {origin, count};
    if (comm->rank > 0) {
        send_events(comm, events, &own);
    } else {
        write_ranks(comm, file, events, &own, first_step);
        status = close_file(file, partial, path);
        if (status != COT_OK) unlink(partial);
    }
    status = cot_comm_agree(comm, status);

free_names:
    cot_free(partial);
    cot_free(path);
    return status;
}
