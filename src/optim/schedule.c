#include <coterie/schedule.h>

#include <math.h>

static const double pi = 3.14159265358979323846;

double cot_schedule_factor(const cot_schedule *schedule, uint64_t step, uint64_t total)
{
    uint64_t warmup = schedule->warmup_steps;
    if (step < warmup) return (double)(step + 1) / (double)warmup;
    double done = (double)(step - warmup);
    switch (schedule->kind) {
    case COT_COSINE: {
        double length = total > warmup ? (double)(total - warmup) : 1;
        double share = done < length ? done / length : 1;
        return schedule->final + (1 - schedule->final) * 0.5 * (1 + cos(pi * share));
    }
    case COT_STEP:
        return pow(schedule->factor, floor(done / (double)schedule->every));
    case COT_CONSTANT:
        break;
    }
    return 1;
}
