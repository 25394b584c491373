/** The course of a few steps as a file that chrome://tracing and Perfetto show: trace.json. */
#ifndef COTERIE_RUN_TRACE_H
#define COTERIE_RUN_TRACE_H

#include <coterie/comm.h>
#include <coterie/ledger.h>

#include <stdint.h>

/** The first steps of a call, and the most events of a rank. */
enum { TRACE_STEPS = 20, TRACE_EVENTS = 1 << 16 };

/** The moment that traces of all ranks count from, on this rank's clock. The ranks of a node have
 * one clock; those of different nodes have different ones, which a barrier aligns. Collective over
 * the world. */
double cot_trace_origin(const cot_comm *comm);

/** Write what all ranks' ledgers have kept to `<dir>/trace.json`, in place of what was there; the
 * first step kept is the one behind `first_step`. Collective over the world; rank 0 writes.
 * Errors, on every rank alike: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status cot_trace_write(const cot_comm *comm, const cot_ledger *ledger,
                                          uint64_t first_step, double origin, const char *dir);

#endif
