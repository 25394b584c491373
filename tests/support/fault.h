/** A disk that fails on order, for tests that are linked with fault.c; the rules are explained
 * there. */
#ifndef COTERIE_FAULT_H
#define COTERIE_FAULT_H

/** Replace the rules of this process; "" for none. Counters start anew. */
void fault_set(const char *rules);

#endif
