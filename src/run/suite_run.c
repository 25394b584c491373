/* The work of a suite: one member after the other, then the report. */
#include "run/suite_member.h"
#include "run/trainer.h"

#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/report.h>

#include <inttypes.h>
#include <stdio.h>

typedef struct work {
    const cot_comm *world;
    cot_suite *suite;
    size_t first, end; /* the members that this call is about */
    double started;
    /* Of the members that this call has trained: sums over x = experts, y = seconds. */
    double n, x, y, xx, xy;
} work;

/* ---- what the user sees ---- */

enum { DURATION_SIZE = 32 };
static void print_duration(double seconds, char text[DURATION_SIZE])
{
    enum { MINUTE = 60, HOUR = 3600 };
    unsigned long s = seconds > 0 ? (unsigned long)(seconds + 0.5) : 0;
    if (s >= HOUR)
        snprintf(text, DURATION_SIZE, "%lu h %02lu min", s / HOUR, s % HOUR / MINUTE);
    else if (s >= MINUTE)
        snprintf(text, DURATION_SIZE, "%lu min %02lu s", s / MINUTE, s % MINUTE);
    else
        snprintf(text, DURATION_SIZE, "%lu s", s);
}

/* At a fixed hidden width of all experts together, the experts' own work is the same for every E,
 * and routing grows with E: a straight line through the members so far. */
static double estimate(const work *w, uint64_t experts)
{
    double spread = w->n * w->xx - w->x * w->x;
    double slope = spread > 0 ? (w->n * w->xy - w->x * w->y) / spread : 0;
    if (slope < 0) slope = 0;
    return (w->y - slope * w->x) / w->n + slope * (double)experts;
}

static double estimate_rest(const work *w, size_t from)
{
    double seconds = 0;
    for (size_t i = from; i < w->end; i++) {
        const cot_suite_member *member = &w->suite->members[i];
        double left = member->state < COT_MEMBER_TRAINED
                          ? 1 - (double)member->step / (double)member->steps
                          : 0;
        seconds += left * estimate(w, member->experts);
    }
    return seconds;
}

/* A member that was resumed counts by the share that this call has done. */
static void note_time(work *w, const cot_suite_member *member, uint64_t first_step, double seconds)
{
    if (first_step >= member->steps) return;
    double x = (double)member->experts;
    double y = seconds * (double)member->steps / (double)(member->steps - first_step);
    w->n += 1;
    w->x += x;
    w->y += y;
    w->xx += x * x;
    w->xy += x * y;
}

static void announce(const work *w, size_t i)
{
    const cot_suite_member *member = &w->suite->members[i];
    char elapsed[DURATION_SIZE];
    char rest[DURATION_SIZE];
    char times[3 * DURATION_SIZE] = "";
    print_duration(cot_seconds() - w->started, elapsed);
    if (w->n > 0) {
        print_duration(estimate_rest(w, i), rest);
        snprintf(times, sizeof times, "; %s so far, about %s left", elapsed, rest);
    }
    cot_info("member %zu, %zu of %zu: %" PRIu64 " experts, seed %" PRIu64 "%s", i, i + 1,
             w->suite->count, member->experts, member->seed, times);
}

static void warn_of_width(const cot_suite *suite)
{
    size_t total = suite->recipe->model.expert_hidden_total;
    for (size_t i = 0; total > 0 && i < suite->count; i++)
        if (suite->members[i].experts > total) {
            cot_warn("%" PRIu64 " experts cannot share a hidden width of %zu: each has 1, so all "
                     "together are larger than those of other members",
                     suite->members[i].experts, total);
            return;
        }
}

/* ---- one member ---- */

/* A run that has ended is entered again too: an interruption may have left its links behind. */
static cot_status train_and_study(work *w, cot_suite_member *member)
{
    const cot_train_options options = {.resume = "auto"};
    double began = cot_seconds();
    uint64_t first_step = member->step;
    COT_TRY(cot_train(w->world, member->recipe, &options));
    if (trainer_shall_stop(w->world)) return COT_E_STOPPED;
    COT_TRY(suite_study_make(w->world, member));
    note_time(w, member, first_step, cot_seconds() - began);
    return COT_OK;
}

static cot_status run_member(work *w, size_t i)
{
    cot_suite_member *member = &w->suite->members[i];
    if (member->state == COT_MEMBER_DONE) {
        cot_info("member %zu, %zu of %zu: %" PRIu64 " experts, seed %" PRIu64 ", is done", i, i + 1,
                 w->suite->count, member->experts, member->seed);
        if (w->world->rank == 0) suite_warn_of_changes(member);
        return COT_OK;
    }
    announce(w, i);
    cot_status status = train_and_study(w, member);
    if (status == COT_E_STOPPED)
        cot_info("the suite has stopped in member %zu; the same command goes on", i);
    return status;
}

/* ---- all of them ---- */

static cot_status run_members(work *w)
{
    cot_status worst = COT_OK;
    for (size_t i = w->first; i < w->end; i++) {
        if (trainer_shall_stop(w->world)) return COT_E_STOPPED;
        cot_status status = run_member(w, i);
        if (status != COT_OK && status != COT_E_INTERNAL) return status;
        if (status != COT_OK) {
            cot_warn("%s: left as it is; the other members go on", w->suite->members[i].dir);
            worst = status;
        }
    }
    return worst;
}

static bool all_are_done(const cot_suite *suite)
{
    for (size_t i = 0; i < suite->count; i++)
        if (suite->members[i].state != COT_MEMBER_DONE) return false;
    return true;
}

/* Of those who finish the last members at the same time, at least one sees all of them done. */
static void make_report(const cot_comm *world, const cot_suite *suite)
{
    if (!suite->recipe->output.report) return;
    if (all_are_done(suite))
        cot_report(world, suite->recipe->output.dir);
    else
        cot_info("the report is made when all members are done");
}

cot_status cot_suite_run(const cot_comm *world, cot_suite *suite, size_t first, size_t count)
{
    work w = {.world = world,
              .suite = suite,
              .first = first,
              .end = first + count,
              .started = cot_seconds()};
    warn_of_width(suite);
    trainer_catch_signals();
    cot_status status = run_members(&w);
    cot_suite_look(world, suite);
    if (status == COT_OK) make_report(world, suite);
    COT_MPI(MPI_Barrier(world->world)); /* a signal is no end of a suite whose page is being made */
    trainer_restore_signals();
    return status;
}
