/** A disk that fails on order, for tests that are linked with fault.c; the rules are explained
 * there. */
#ifndef COTERIE_FAULT_H
#define COTERIE_FAULT_H

/** The beginning of rules for what is written to a file that is not finished. */
#define WRITES "call=write,pwrite,pwritev match=*.partial "

/** Replace the rules of this process; "" for none. Counters start anew. */
void fault_set(const char *rules);

#endif
