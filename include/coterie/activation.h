/** Activations of the experts, elementwise; an element gets the same bits at any position and length. */
#ifndef COTERIE_ACTIVATION_H
#define COTERIE_ACTIVATION_H

#include <coterie/real.h>
#include <stddef.h>

typedef enum cot_activation { COT_RELU, COT_GELU } cot_activation;

#endif
