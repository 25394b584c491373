/** Which of several ways of doing the same is the fastest, found by timing them in turns. */
#ifndef COTERIE_RUN_TURNS_H
#define COTERIE_RUN_TURNS_H

#include <stdbool.h>
#include <stddef.h>

/** Each way gets so many turns of so many runs, of which the first does not count, because the
 * caches hold what the others left. */
enum { TURNS = 4, TURN_RUNS = 4, TURN_TIMES = TURNS * (TURN_RUNS - 1) };

/** One way; all but `kind` is 0 before. Of one kind, no later way is more than twice as fast as an
 * earlier one: where one is out because of another kind, so are those behind it. */
typedef struct turn_taker {
    int kind;
    bool is_out;
    size_t timed;
    double seconds[TURN_TIMES];
    double typical, fastest; /**< of those timed: the median, and the least */
} turn_taker;

/** Let all take their turns; `run` does what way i does, once, and returns the seconds it took.
 * What takes more than twice as long as another, even in its fastest run, is out: a moment shorter
 * than a turn, in which something else has the cores, does not decide that. Collective as `run` is,
 * which then returns the same on every rank. */
void turns_take(size_t count, turn_taker *ways, double (*run)(void *context, size_t i),
                void *context);

/** The way of [begin, end) with the lowest median, among those that are not out as long as there
 * are any: the others were timed in their first turns alone. One of them had a turn. */
size_t turns_fastest(const turn_taker *ways, size_t begin, size_t end);

#endif
