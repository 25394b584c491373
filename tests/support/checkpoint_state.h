/** A small training state for tests of checkpoints: two replicated and two sharded parameters, two
 * moments. */
#ifndef COTERIE_CHECKPOINT_STATE_H
#define COTERIE_CHECKPOINT_STATE_H

#include <coterie/checkpoint.h>

enum { STATE_EXPERTS = 5 };

/** The state of a rank that holds the experts [first, end), each number a function of its place and
 * `salt` alone. */
cot_training_state make_state(size_t first, size_t end, uint64_t step, double salt);

/** The state of this rank in the world of `comm`, experts cut over its expert group. */
cot_training_state make_shard(const cot_comm *comm, uint64_t step, double salt);

void free_state(cot_training_state *state);

/** Whether values, moments and progress are the same bits. */
bool states_equal(const cot_training_state *left, const cot_training_state *right);

extern const cot_checkpoint_info test_info;

#endif
