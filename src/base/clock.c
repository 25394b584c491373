#include <coterie/clock.h>

#include <time.h>

double cot_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cot_timestamp(char text[COT_TIMESTAMP_SIZE])
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, COT_TIMESTAMP_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc);
}
