/** Time, for reports only: nothing that decides a result depends on it. */
#ifndef COTERIE_CLOCK_H
#define COTERIE_CLOCK_H

#include <stddef.h>

/** Seconds of a monotonic clock with an arbitrary origin. */
double cot_seconds(void);

/** Room for cot_timestamp: "2024-01-31T12:00:00Z" and the terminating zero. */
#define COT_TIMESTAMP_SIZE 21

/** The time of day as ISO 8601 in UTC. */
void cot_timestamp(char text[COT_TIMESTAMP_SIZE]);

#endif
