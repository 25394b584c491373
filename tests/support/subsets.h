/** The experts that a drawn sample keeps, and what comes of it, by plain loops: what tests hold the
 * study against. */
#ifndef COTERIE_TEST_SUBSETS_H
#define COTERIE_TEST_SUBSETS_H

#include "support/samples.h"

enum { SUBSETS = 1 << DRAWN_EXPERTS };

/** What a sample's outputs are with some of the experts. */
typedef struct outcome {
    double loss;
    bool right;
    cot_real outputs[DRAWN_CLASSES];
} outcome;

/** With the experts of a set, a number whose bits say who belongs to it; loss by the sample's
 * options. */
outcome outcome_of(const drawn_sample *sample, unsigned set);

/** mass [E]: the experts' mean combine mass over all drawn samples of a layer. */
void mean_masses(size_t layer, double *mass);

/** The first `keep` experts of an order; a random one by seed. */
unsigned subset_of(const drawn_sample *sample, cot_order order, uint64_t seed, size_t keep);

/** The fewest experts of largest combine mass that hold a share of it. */
unsigned subset_by_mass(const drawn_sample *sample, double share);

#endif
