#include "support/samples.h"

#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/rng.h>
#include <coterie/shard.h>
#include <coterie/softmax.h>

#include <math.h>
#include <string.h>

void draw_sample(size_t index, size_t layer, bool classes, drawn_sample *sample)
{
    enum { WEIGHTS = DRAWN_TOKENS * DRAWN_ALL_SLOTS, OUTPUTS = DRAWN_EXPERTS * DRAWN_CLASSES };
    cot_stream stream = {
        .seed = 77, .index = index, .epoch = (uint32_t)layer, .purpose = COT_PURPOSE_TEST};
    cot_real logits[WEIGHTS];
    cot_real scratch[2 * DRAWN_ALL_SLOTS];
    cot_rng_normal(&stream, 0, WEIGHTS, 2, logits);
    logits[index % WEIGHTS] = -200; /* a weight of 0 */
    cot_softmax_rows(DRAWN_TOKENS, DRAWN_ALL_SLOTS, logits, sample->combine);
    cot_softmax_cols(DRAWN_TOKENS, DRAWN_ALL_SLOTS, logits, sample->dispatch, scratch);
    cot_rng_uniform(&stream, 100, DRAWN_ALL_SLOTS, 0, 3, sample->norms);
    cot_rng_normal(&stream, 200, DRAWN_CLASSES, 1, sample->base);
    cot_rng_normal(&stream, 300, OUTPUTS, 1, sample->effects);
    sample->loss = (cot_loss_options){COT_MEAN_SQUARED_ERROR, 0};
    if (classes) sample->loss = (cot_loss_options){COT_CROSS_ENTROPY, 0.1};
    cot_target target = {.value = sample->base[1] * 3 + 2};
    if (classes) {
        target.label = (int)((index * 7 + index / 5) % DRAWN_CLASSES);
        if (target.label == DRAWN_EMPTY_CLASS) target.label = 0;
    }
    sample->view = (cot_sample_view){.routing = {.sample = index,
                                                 .layer = layer,
                                                 .tokens = DRAWN_TOKENS,
                                                 .experts = DRAWN_EXPERTS,
                                                 .slots_per_expert = DRAWN_SLOTS,
                                                 .combine = sample->combine,
                                                 .dispatch = sample->dispatch},
                                     .slot_norms = sample->norms,
                                     .base = sample->base,
                                     .effects = sample->effects,
                                     .outputs = classes ? DRAWN_CLASSES : 1,
                                     .loss = &sample->loss,
                                     .target = target};
}

static cot_grains grains_of(const cot_comm *comm, size_t samples)
{
    return cot_grains_of(samples, DRAWN_GRAINS, (size_t)comm->size, (size_t)comm->rank);
}

size_t drawn_grains_here(const cot_comm *comm)
{
    cot_grains grains = grains_of(comm, DRAWN_BATCH);
    return grains.end - grains.first;
}

void visit_drawn(const cot_comm *comm, drawn_visit *visit, void *context)
{
    for (size_t first = 0; first < DRAWN_SAMPLES; first += DRAWN_BATCH) {
        size_t left = DRAWN_SAMPLES - first;
        cot_grains grains = grains_of(comm, left < DRAWN_BATCH ? left : DRAWN_BATCH);
        for (size_t g = grains.first; g < grains.end; g++)
            for (size_t i = 0; i < cot_grain_size(&grains, g); i++)
                visit(context, g - grains.first, first + cot_grain_begin(&grains, g) + i);
    }
}

bool ranks_divide_grains(const cot_comm *comm)
{
    return DRAWN_GRAINS % comm->size == 0;
}

size_t variable_size(const cot_catalog *catalog, const cot_variable *variable)
{
    size_t size = 1;
    char *axes = cot_strdup(variable->axes);
    char *rest = NULL;
    for (char *axis = strtok_r(axes, ",", &rest); axis != NULL; axis = strtok_r(NULL, ",", &rest)) {
        const cot_dimension *dimension = cot_catalog_dimension(catalog, axis);
        if (dimension == NULL) fail_msg("%s: there is no dimension %s", variable->name, axis);
        size *= dimension->size;
    }
    cot_free(axes);
    return size;
}

static const void *data_of(const cot_catalog *catalog, const char *name, cot_h5_type type)
{
    const cot_variable *variable = cot_catalog_variable(catalog, name);
    if (variable == NULL || variable->type != type) fail_msg("there is no %s of this type", name);
    return variable->data;
}

const double *reals_of(const cot_catalog *catalog, const char *name)
{
    return data_of(catalog, name, COT_H5_FLOAT64);
}

const int64_t *wholes_of(const cot_catalog *catalog, const char *name)
{
    return data_of(catalog, name, COT_H5_INT64);
}

/* Sums of DRAWN_SAMPLES terms in another order; some results are differences of such sums. */
static bool close_to(size_t n, const double *x, const double *y)
{
    const double tolerance = 1e-12;
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]) != isnan(y[i]) || isinf(x[i]) || isinf(y[i]) ||
            fabs(x[i] - y[i]) > tolerance * (1 + fabs(x[i])))
            return false;
    return true;
}

bool catalogs_agree(const cot_catalog *left, const cot_catalog *right, bool exactly)
{
    if (left->variable_count != right->variable_count || left->variable_count == 0) return false;
    for (size_t i = 0; i < left->variable_count; i++) {
        const cot_variable *one = &left->variables[i];
        const cot_variable *other = cot_catalog_variable(right, one->name);
        if (other == NULL || one->type != other->type) return false;
        size_t n = variable_size(left, one);
        if (n != variable_size(right, other)) return false;
        bool rounded = one->type == COT_H5_FLOAT64 && !exactly;
        if (rounded ? !close_to(n, one->data, other->data)
                    : memcmp(one->data, other->data, n * cot_h5_type_size(one->type)) != 0)
            return false;
    }
    return true;
}
