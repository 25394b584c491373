/** The Soft MoE router: from tokens to slots and from slots back to tokens, for the samples of one rank.
 *
 *  For one sample X [T,D], with router matrix Phi [D,S] and scale s (Puigcerver et al. 2023, section 2; the variants of DESIGN's
 *  `router.normalize`):
 *
 *      L = Xhat Phihat s       logits    [T,S]
 *      Dsp = softmax of L over the tokens,  slots in = Dsp^T Xm    [S,D]
 *      Cmb = softmax of L over the slots,   Y = Cmb (slots out)    [T,D]
 *
 *  Knows nothing of MPI. A product whose shape depends on the batch works on one grain. */
#ifndef COTERIE_ROUTER_H
#define COTERIE_ROUTER_H

#include <coterie/param.h>
#include <coterie/shard.h>
#include <coterie/slots.h>

typedef enum cot_normalize {
    COT_NORMALIZE_NONE,   /**< Xhat = X, Phihat = Phi, s = 1, Xm = X */
    COT_NORMALIZE_LOGITS, /**< L2-normalized for the logits only: arXiv 2308.00951 and vmoe */
    COT_NORMALIZE_INPUTS  /**< as logits, and Xm = Xhat: the code behind arXiv 2409.00879 */
} cot_normalize;

typedef enum cot_router_init {
    COT_ROUTER_UNIFORM,      /**< uniform on [-1, 1) */
    COT_ROUTER_LECUN_NORMAL, /**< normal with variance 1/D */
    COT_ROUTER_ZEROS
} cot_router_init;

/** What the recipe says under `router:`. */
typedef struct cot_router_options {
    cot_normalize normalize;
    cot_router_init init;
    bool freeze;
    bool uniform_dispatch, uniform_combine;
    double noise; /**< standard deviation of Gaussian logit noise while training */
} cot_router_options;

#endif
