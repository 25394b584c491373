/** The Soft MoE layer on one communicator, and what it gives, gathered on every rank of it: one
 * side of a comparison, the other side being the same layer on another communicator or by another
 * way. */
#ifndef COTERIE_TEST_SIDES_H
#define COTERIE_TEST_SIDES_H

#include "moe/tokens_rules.h"

#include <coterie/gradients.h>
#include <coterie/soft_moe.h>

/** A layer, and the batches that it can take. */
typedef struct fixture {
    const char *name;
    cot_soft_moe_options options;
    size_t most_batch, grains;
    cot_tokens_way way; /**< how the plan tokens must compute the experts */
} fixture;

typedef struct side {
    const fixture *fixture;
    cot_comm *comm;
    cot_params *params;
    cot_soft_moe *layer;
    cot_gradients *gradients;
    cot_real *x, *y, *dy, *dx;    /**< of the samples here */
    cot_real *whole_y, *whole_dx; /**< [B,T,D] */
    cot_real *whole_grads;        /**< every parameter, with all its experts */
} side;

/** What `batching` says of plan, chunks, hidden rows and shared memory, with the fixture's batch
 * and grains. Asserts that the fixture's way is the one that the rules choose. The communicator
 * becomes the side's. Collective over it, as all below. */
void side_create(side *s, const fixture *f, cot_comm *comm, cot_batching batching);
void side_destroy(side *s);

/** Numbers of a sample's tokens, T D. */
size_t side_per_sample(const side *s);

/** The grains of this rank. */
cot_grains side_grains(const side *s, size_t samples);

/** A forward pass on samples that are the same on every side; without selector, for training. */
void side_forward(side *s, size_t samples, cot_selector *selector);

/** A step of two micro-batches. */
void side_step(side *s, size_t samples);

/** Whether a [n] is b [n] but for rounding. */
bool close_to(const cot_real *a, const cot_real *b, size_t n);

/** Outputs and all gradients of a step are the same bits or, unless `exactly`, close; and some
 * gradient is not 0. */
void sides_compare(const side *a, const side *b, size_t samples, bool exactly);

#endif
