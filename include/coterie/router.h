/** The Soft MoE router: from tokens to slots and from slots back to tokens, for the samples of one
 * rank.
 *
 * For one sample X [T,D], with router matrix Phi [D,S] and scale s (Puigcerver et al. 2023, section
 * 2; the hats and Xm: cot_normalize):
 *
 *     L = s Xhat Phihat                    logits [T,S]
 *     Dsp = softmax of L over the tokens   slots in = Dsp^T Xm [S,D]
 *     Cmb = softmax of L over the slots    Y = Cmb (slots out) [T,D]
 *
 * Knows nothing of MPI. A product whose shape depends on the batch works on one grain. */
#ifndef COTERIE_ROUTER_H
#define COTERIE_ROUTER_H

#include <coterie/param.h>
#include <coterie/shard.h>
#include <coterie/slots.h>

#include <stdint.h>

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

/** The dimensions of one Soft MoE layer; S = E P. */
typedef struct cot_moe_shape {
    size_t T, D, E, P, H;
} cot_moe_shape;

/** Where the noise of one batch comes from: keyed by seed, step, layer, the sample's place in the
 * step's batch, token and slot. */
typedef struct cot_noise {
    uint64_t seed, step;
    size_t first_sample; /**< place in the step's batch of the first sample at hand */
} cot_noise;

typedef struct cot_router cot_router;

/** Register Phi [D,E,P] and, when normalizing, the scale [1] under `prefix` ("moe.0"), and take
 * workspace for `capacity` samples in at most `grains` grains of at most `grain_capacity`. `layer`
 * keys the noise. */
cot_router *cot_router_create(const cot_router_options *options, const cot_moe_shape *shape,
                              size_t layer, size_t capacity, size_t grains, size_t grain_capacity,
                              cot_params *params, const char *prefix);
void cot_router_destroy(cot_router **router);

/** Compute logits, dispatch and combine weights of the samples of `grains`: x [b,T,D], kept by
 * reference until the backward pass. noise NULL: none. */
void cot_router_route(cot_router *router, const cot_grains *grains, const cot_noise *noise,
                      const cot_real *x);

/** slot_in rows [S,D] of each sample = Dsp^T Xm, laid out by `slots`. kept [b,E], or NULL when
 * every expert is. */
void cot_router_dispatch(const cot_router *router, const cot_grains *grains, const cot_slots *slots,
                         const uint8_t *kept, cot_real *slot_in);

/** y [b,T,D] = Cmb slot_out; what is not kept counts as 0, and Cmb is not renormalized. norms
 * [b,S] = the L2 norms of the slot outputs, unless NULL; only where every expert is kept. */
void cot_router_combine(const cot_router *router, const cot_grains *grains, const cot_slots *slots,
                        const uint8_t *kept, const cot_real *slot_out, cot_real *y,
                        cot_real *norms);

/** From dy [b,T,D]: the gradient with respect to slot_out overwrites slot_out, whose values it
 * needs; the combine weights' share of the logits' gradient is kept for
 * cot_router_dispatch_backward. All experts are kept in training. */
void cot_router_combine_backward(cot_router *router, const cot_grains *grains,
                                 const cot_slots *slots, const cot_real *dy, cot_real *slot_out);

/** From the gradient with respect to slot_in: dPhi and dscale overwrite the parameters' grad with
 * the sum over this rank's grains (by cot_tree); dx [b,T,D] is overwritten, unless NULL. */
void cot_router_dispatch_backward(cot_router *router, const cot_grains *grains,
                                  const cot_slots *slots, const cot_real *dslot_in, cot_real *dx);

/** Combine weights [b,T,S] and dispatch weights [b,T,S] of the last batch routed. */
const cot_real *cot_router_combine_weights(const cot_router *router);
const cot_real *cot_router_dispatch_weights(const cot_router *router);

/** Its parameters Phi and scale; the scale is NULL where there is none. */
const cot_param *cot_router_phi(const cot_router *router);
const cot_param *cot_router_scale(const cot_router *router);

#endif
