#include "run/turns.h"

#include <coterie/bench.h>
#include <coterie/status.h>

#include <string.h>

static void take_turn(turn_taker *way, double (*run)(void *context, size_t i), void *context,
                      size_t i)
{
    double sorted[TURN_TIMES];
    COT_ASSERT(way->timed + TURN_RUNS - 1 <= TURN_TIMES);
    (void)run(context, i);
    for (int k = 1; k < TURN_RUNS; k++) way->seconds[way->timed++] = run(context, i);
    memcpy(sorted, way->seconds, way->timed * sizeof *sorted);
    way->typical = cot_spread_of(way->timed, sorted).median; /* which sorts them */
    way->fastest = sorted[0];
}

static bool is_better(const turn_taker *way, const turn_taker *best)
{
    if (way->timed == 0) return false;
    if (best->timed == 0) return true;
    return way->is_out == best->is_out ? way->typical < best->typical : best->is_out;
}

size_t turns_fastest(const turn_taker *ways, size_t begin, size_t end)
{
    size_t best = begin;
    for (size_t i = begin; i < end; i++)
        if (is_better(&ways[i], &ways[best])) best = i;
    COT_ASSERT(ways[best].timed > 0);
    return best;
}

/* Put way i out if the best so far shows it to be too slow. */
static void compare(size_t count, turn_taker *ways, size_t i)
{
    const turn_taker *best = &ways[turns_fastest(ways, 0, count)];
    if (ways[i].timed == 0 || ways[i].fastest <= 2 * best->typical) return;
    ways[i].is_out = true;
    for (size_t j = i + 1; j < count; j++)
        if (ways[j].kind == ways[i].kind && best->kind != ways[i].kind) ways[j].is_out = true;
}

void turns_take(size_t count, turn_taker *ways, double (*run)(void *context, size_t i),
                void *context)
{
    for (int turn = 0; turn < TURNS; turn++)
        for (size_t i = 0; i < count; i++) {
            if (ways[i].is_out) continue;
            take_turn(&ways[i], run, context, i);
            for (size_t j = 0; j < count; j++) compare(count, ways, j);
        }
}
