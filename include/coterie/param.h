/** The registry of parameters: name, axes, value, gradient, replicated or sharded by expert.
 *
 * Layers register what they need at creation; then the registry takes all memory at once, in one
 * flat array of values and one of gradients: first the replicated parameters, those whose gradient
 * is summed over ranks and then those that are gathered, then this rank's shard of the expert
 * parameters, each in the order of registration. Optimizer moments use the same layout. A sharded
 * parameter's first axis is the expert. Nothing here is collective. */
#ifndef COTERIE_PARAM_H
#define COTERIE_PARAM_H

#include <coterie/real.h>
#include <coterie/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COT_PARAM_MAX_AXES = 4, COT_PARAM_NAME_SIZE = 64 };

typedef enum cot_placement { COT_REPLICATED, COT_SHARDED } cot_placement;

typedef enum cot_init {
    COT_INIT_ZEROS,
    COT_INIT_ONES,
    COT_INIT_UNIFORM, /**< uniform in [-init_scale, init_scale) */
    COT_INIT_NORMAL   /**< normal with standard deviation init_scale */
} cot_init;

/** What a layer says of a parameter. */
typedef struct cot_param_spec {
    const char *name; /**< "moe.0.experts.w1" */
    const char *axes; /**< "E,D,H": one letter an axis */
    size_t dims[COT_PARAM_MAX_AXES];
    cot_placement placement;
    cot_init init;
    double init_scale;
    bool decay;  /**< weight decay applies: not to biases, norms and scales */
    bool frozen; /**< keeps its initial value */
} cot_param_spec;

typedef struct cot_param {
    char name[COT_PARAM_NAME_SIZE];
    char axes[2 * COT_PARAM_MAX_AXES];
    size_t axis_count, dims[COT_PARAM_MAX_AXES]; /**< the whole parameter's shape */
    cot_placement placement;
    cot_init init;
    double init_scale;
    bool decay, frozen;
    bool gathered;   /**< see cot_params_gather */
    size_t row_size; /**< elements in one index of the first axis: of one expert, when sharded */
    size_t first_row, rows; /**< the part of the first axis that this rank holds */
    size_t offset, count;   /**< that part's place in the flat arrays */
    cot_real *value, *grad; /**< [rows, row_size]; NULL until cot_params_allocate */
} cot_param;

typedef struct cot_params cot_params;

/** A registry for a rank that holds the experts [first_expert, end_expert). */
cot_params *cot_params_create(size_t first_expert, size_t end_expert);
void cot_params_destroy(cot_params **params);

/** Register a parameter; the pointer stays valid, and its value and grad are set by
 * cot_params_allocate. */
cot_param *cot_params_add(cot_params *params, const cot_param_spec *spec);

/** The backward pass leaves the whole gradient of this replicated parameter on every rank, instead
 * of this rank's share: there is nothing to sum. To be said before cot_params_allocate. */
void cot_params_gather(cot_params *params, const cot_param *param);

/** Take the memory of all registered parameters; none can be added afterwards. */
void cot_params_allocate(cot_params *params);

/** Draw the initial values: element i of a parameter is a pure function of (seed, name, i), so a
 * shard holds the same bits as the whole would. */
void cot_params_initialize(cot_params *params, uint64_t seed);

size_t cot_params_count(const cot_params *params);
cot_param *cot_params_at(const cot_params *params, size_t i);
/** NULL when there is none of that name. */
cot_param *cot_params_find(const cot_params *params, const char *name);

/** The flat arrays: [summed | gathered | sharded], and their lengths; the first two are the
 * replicated parameters. */
size_t cot_params_summed_size(const cot_params *params);
size_t cot_params_replicated_size(const cot_params *params);
size_t cot_params_sharded_size(const cot_params *params);
cot_real *cot_params_values(const cot_params *params);
cot_real *cot_params_grads(const cot_params *params);

/** Elements of all parameters together, over all experts: the model's parameter count. */
size_t cot_params_total(const cot_params *params);

#endif
