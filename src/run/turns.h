/** Which of several ways of doing the same is the fastest, found by timing them in turns. */
#ifndef COTERIE_RUN_TURNS_H
#define COTERIE_RUN_TURNS_H

#include <stdbool.h>
#include <stddef.h>

/** Each way gets so many turns of so many runs, of which the first does not count, because the
 * caches hold what the others left. */
enum { TURNS = 4, TURN_RUNS = 4, TURN_TIMES = TURNS * (TURN_RUNS - 1) };

/** One way, by its kind. Ways of one kind differ by no more than a factor of two, so that all of
 * them are out when one of them is more than twice as slow as a way of another kind. */
typedef struct turn_taker {
    int kind;
    bool is_out;
    size_t timed;
    double seconds[TURN_TIMES];
    double typical, fastest; /**< of those timed: the median, and the least */
} turn_taker;

/** Let all take their turns; `run` does what way i does, once, and returns the seconds it took.
 * What takes more than twice as long as another, even in its fastest run, is out: no moment in
 * which something else has the cores decides that. Collective as `run` is, which then returns the
 * same on every rank. */
void turns_take(size_t count, turn_taker *ways, double (*run)(void *context, size_t i),
                void *context);

/** The way [begin, end) with the lowest median, of those that had a turn. */
size_t turns_fastest(const turn_taker *ways, size_t begin, size_t end);

#endif
