/** In how many chunks slots travel (exchange.h), as the first steps of a run find it: the work of a
 * chunk hides the travel of the others, but every chunk costs messages. Results are the same bits
 * with any number, so a measurement may choose. */
#ifndef COTERIE_RUN_CHUNK_TUNER_H
#define COTERIE_RUN_CHUNK_TUNER_H

#include <coterie/experiment.h>

/** The numbers to choose from, ascending. */
enum { CHUNK_CANDIDATES = 4 };
extern const size_t chunk_candidates[CHUNK_CANDIDATES];

typedef struct chunk_tuner chunk_tuner;

/** For batches of `samples` samples. NULL where there is nothing to choose: parallel.chunks says
 * how many, or the exchange is not of slots between nodes, or no rank has two experts. Collective
 * over the world. */
chunk_tuner *chunk_tuner_create(cot_experiment *experiment, size_t samples);
void chunk_tuner_destroy(chunk_tuner **tuner);

/** Behind a step on `samples` samples, which took so long here: set the number for the next one.
 * Once every number has had its steps, the fastest stays, the log says which, and true is returned;
 * the tuner is of no use then. Collective over the world. */
bool chunk_tuner_step(chunk_tuner *tuner, size_t samples, double seconds);

#endif
