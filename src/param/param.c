#include <coterie/memory.h>
#include <coterie/param.h>
#include <coterie/rng.h>

#include <stdio.h>
#include <string.h>

struct cot_params {
    size_t first_expert, end_expert;
    size_t count, capacity;
    cot_param **list; /* pointers, so that a parameter stays in place when the list grows */
    size_t summed_size, replicated_size, sharded_size;
    cot_real *values, *grads; /* [summed | gathered | sharded] */
};

cot_params *cot_params_create(size_t first_expert, size_t end_expert)
{
    COT_ASSERT(first_expert <= end_expert);
    cot_params *params = cot_alloc(1, sizeof *params);
    params->first_expert = first_expert;
    params->end_expert = end_expert;
    return params;
}

void cot_params_destroy(cot_params **params)
{
    if (*params == NULL) return;
    for (size_t i = 0; i < (*params)->count; i++) cot_free((*params)->list[i]);
    cot_free((*params)->list);
    cot_free((*params)->values);
    cot_free((*params)->grads);
    cot_free(*params);
    *params = NULL;
}

static void grow_list(cot_params *params)
{
    size_t capacity = params->capacity == 0 ? 16 : 2 * params->capacity;
    cot_param **list = cot_alloc(capacity, sizeof(cot_param *));
    if (params->count > 0) memcpy(list, params->list, params->count * sizeof(cot_param *));
    cot_free(params->list);
    params->list = list;
    params->capacity = capacity;
}

static size_t count_axes(const char *axes)
{
    size_t letters = (strlen(axes) + 1) / 2;
    COT_ASSERT(letters >= 1 && letters <= COT_PARAM_MAX_AXES && strlen(axes) == 2 * letters - 1);
    return letters;
}

static void set_shape(const cot_params *params, const cot_param_spec *spec, cot_param *param)
{
    bool sharded = spec->placement == COT_SHARDED;
    param->axis_count = count_axes(spec->axes);
    param->row_size = 1;
    for (size_t i = 0; i < param->axis_count; i++) {
        COT_ASSERT(spec->dims[i] > 0);
        param->dims[i] = spec->dims[i];
        if (i > 0) param->row_size *= spec->dims[i];
    }
    COT_ASSERT(!sharded || params->end_expert <= param->dims[0]);
    param->first_row = sharded ? params->first_expert : 0;
    param->rows = sharded ? params->end_expert - params->first_expert : param->dims[0];
    param->count = param->rows * param->row_size;
}

cot_param *cot_params_add(cot_params *params, const cot_param_spec *spec)
{
    /* A name is one link in a checkpoint, so it holds no slash. */
    COT_ASSERT(params->values == NULL && cot_params_find(params, spec->name) == NULL);
    COT_ASSERT(strlen(spec->name) < COT_PARAM_NAME_SIZE && strchr(spec->name, '/') == NULL);
    if (params->count == params->capacity) grow_list(params);
    cot_param *param = cot_alloc(1, sizeof *param);
    params->list[params->count++] = param;
    set_shape(params, spec, param);
    snprintf(param->name, sizeof param->name, "%s", spec->name);
    snprintf(param->axes, sizeof param->axes, "%s", spec->axes);
    param->placement = spec->placement;
    param->init = spec->init;
    param->init_scale = spec->init_scale;
    param->decay = spec->decay;
    param->frozen = spec->frozen;
    if (param->placement == COT_SHARDED) {
        params->sharded_size += param->count;
    } else {
        params->replicated_size += param->count;
        params->summed_size += param->count;
    }
    return param;
}

void cot_params_gather(cot_params *params, const cot_param *param)
{
    cot_param *mine = cot_params_find(params, param->name);
    COT_ASSERT(params->values == NULL && mine == param && param->placement == COT_REPLICATED);
    if (param->gathered) return;
    mine->gathered = true;
    params->summed_size -= param->count;
}

void cot_params_allocate(cot_params *params)
{
    COT_ASSERT(params->values == NULL);
    size_t total = params->replicated_size + params->sharded_size;
    params->values = cot_alloc(total, sizeof *params->values);
    cot_memory_mark(COT_MEMORY_PARAMETERS);
    params->grads = cot_alloc(total, sizeof *params->grads);
    cot_memory_mark(COT_MEMORY_GRADIENTS);
    size_t summed = 0;
    size_t gathered = params->summed_size;
    size_t sharded = params->replicated_size;
    for (size_t i = 0; i < params->count; i++) {
        cot_param *param = params->list[i];
        size_t *next = param->placement == COT_SHARDED ? &sharded
                       : param->gathered               ? &gathered
                                                       : &summed;
        param->offset = *next;
        param->value = params->values + param->offset;
        param->grad = params->grads + param->offset;
        *next += param->count;
    }
}

static void initialize(cot_param *param, uint64_t seed)
{
    cot_stream stream = {.seed = seed, .index = cot_hash(param->name), .purpose = COT_PURPOSE_INIT};
    size_t first = param->first_row * param->row_size;
    cot_real scale = (cot_real)param->init_scale;
    switch (param->init) {
    case COT_INIT_ZEROS:
    case COT_INIT_ONES:
        for (size_t i = 0; i < param->count; i++)
            param->value[i] = (cot_real)(param->init == COT_INIT_ONES);
        break;
    case COT_INIT_UNIFORM:
        cot_rng_uniform(&stream, first, param->count, -scale, scale, param->value);
        break;
    case COT_INIT_NORMAL:
        cot_rng_normal(&stream, first, param->count, scale, param->value);
        break;
    }
}

void cot_params_initialize(cot_params *params, uint64_t seed)
{
    COT_ASSERT(params->values != NULL);
    for (size_t i = 0; i < params->count; i++) initialize(params->list[i], seed);
}

size_t cot_params_count(const cot_params *params)
{
    return params->count;
}

cot_param *cot_params_at(const cot_params *params, size_t i)
{
    COT_ASSERT(i < params->count);
    return params->list[i];
}

cot_param *cot_params_find(const cot_params *params, const char *name)
{
    for (size_t i = 0; i < params->count; i++)
        if (strcmp(params->list[i]->name, name) == 0) return params->list[i];
    return NULL;
}

size_t cot_params_summed_size(const cot_params *params)
{
    return params->summed_size;
}

size_t cot_params_replicated_size(const cot_params *params)
{
    return params->replicated_size;
}

size_t cot_params_sharded_size(const cot_params *params)
{
    return params->sharded_size;
}

cot_real *cot_params_values(const cot_params *params)
{
    return params->values;
}

cot_real *cot_params_grads(const cot_params *params)
{
    return params->grads;
}

size_t cot_params_total(const cot_params *params)
{
    size_t total = 0;
    for (size_t i = 0; i < params->count; i++)
        total += params->list[i]->dims[0] * params->list[i]->row_size;
    return total;
}
