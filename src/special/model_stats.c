#include <coterie/blas.h>
#include <coterie/memory.h>
#include <coterie/model_stats.h>
#include <coterie/normalize.h>
#include <coterie/vector.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Columns whose cosines with all columns are computed at a time. */
enum { COLUMNS_AT_ONCE = 256, NAME_SIZE = 40 };

/* Of one expert, [layers,E]; of one slot, [layers,S]. */
struct cot_model_stats {
    const cot_params *params;
    cot_norms *norms;
    const cot_comm *comm;
    size_t layers, D, E, S;
    cot_real *before; /* the values before an update, then their change; NULL without steps */
    double *weight, *gradient, *update;
    double *lowest, *mean, *highest; /* of cosines; one array, lowest first */
    cot_real *phi_hat;               /* [D,S]: normalized columns */
    cot_real *inverse;               /* [S] */
    cot_real *cosines;               /* [COLUMNS_AT_ONCE,S] */
};

static size_t param_size(const cot_model_stats *stats)
{
    return cot_params_replicated_size(stats->params) + cot_params_sharded_size(stats->params);
}

cot_model_stats *cot_model_stats_create(const cot_model *model, const cot_params *params,
                                        cot_norms *norms, const cot_comm *comm, bool steps)
{
    const cot_moe_shape *shape = cot_model_shape(model);
    cot_model_stats *stats = cot_alloc(1, sizeof *stats);
    stats->params = params;
    stats->norms = norms;
    stats->comm = comm;
    stats->layers = cot_model_layers(model);
    stats->D = shape->D;
    stats->E = shape->E;
    stats->S = shape->E * shape->P;
    const size_t experts = stats->layers * stats->E;
    const size_t slots = stats->layers * stats->S;
    stats->weight = cot_alloc(experts, sizeof *stats->weight);
    if (steps) {
        stats->gradient = cot_alloc(experts, sizeof *stats->gradient);
        stats->update = cot_alloc(experts, sizeof *stats->update);
        stats->before = cot_alloc(param_size(stats), sizeof *stats->before);
    }
    stats->lowest = cot_alloc(3 * slots, sizeof *stats->lowest);
    stats->mean = stats->lowest + slots;
    stats->highest = stats->mean + slots;
    stats->phi_hat = cot_alloc(stats->D * stats->S, sizeof *stats->phi_hat);
    stats->inverse = cot_alloc(stats->S, sizeof *stats->inverse);
    stats->cosines = cot_alloc(COLUMNS_AT_ONCE * stats->S, sizeof *stats->cosines);
    return stats;
}

void cot_model_stats_destroy(cot_model_stats **stats_at)
{
    cot_model_stats *stats = *stats_at;
    if (stats == NULL) return;
    cot_free(stats->cosines);
    cot_free(stats->inverse);
    cot_free(stats->phi_hat);
    cot_free(stats->lowest);
    cot_free(stats->before);
    cot_free(stats->update);
    cot_free(stats->gradient);
    cot_free(stats->weight);
    cot_free(stats);
    *stats_at = NULL;
}

/* ---- norms of experts ---- */

/* Whether a parameter is one of a layer's experts: "moe.<layer>.experts.w1". */
static bool belongs_to(const cot_param *param, size_t layer)
{
    char prefix[NAME_SIZE];
    snprintf(prefix, sizeof prefix, "moe.%zu.experts.", layer);
    return param->placement == COT_SHARDED && strncmp(param->name, prefix, strlen(prefix)) == 0;
}

/* norms [layers,E]: of all the parameters of an expert together, in an array laid out as the
 * values. Parameters add in the order of their registration. */
static void measure_experts(cot_model_stats *stats, const cot_real *array, double *norms)
{
    cot_norms_measure(stats->norms, array);
    memset(norms, 0, stats->layers * stats->E * sizeof *norms);
    for (size_t layer = 0; layer < stats->layers; layer++)
        for (size_t i = 0; i < cot_params_count(stats->params); i++) {
            if (!belongs_to(cot_params_at(stats->params, i), layer)) continue;
            for (size_t e = 0; e < stats->E; e++)
                norms[layer * stats->E + e] += cot_norms_squares(stats->norms, i, e);
        }
    for (size_t i = 0; i < stats->layers * stats->E; i++) norms[i] = sqrt(norms[i]);
}

void cot_model_stats_before_update(cot_model_stats *stats)
{
    const cot_real *values = cot_params_values(stats->params);
    COT_ASSERT(stats->before != NULL);
    measure_experts(stats, cot_params_grads(stats->params), stats->gradient);
    memcpy(stats->before, values, param_size(stats) * sizeof *values);
}

void cot_model_stats_after_update(cot_model_stats *stats)
{
    cot_add_scaled(param_size(stats), -1, cot_params_values(stats->params), stats->before);
    measure_experts(stats, stats->before, stats->update);
}

/* ---- the router ---- */

/* Of slot s, from its cosines with all the slots. */
static void summarize_slot(size_t s, size_t slots, const cot_real *cosines, double *lowest,
                           double *mean, double *highest)
{
    double sum = 0;
    *lowest = *highest = *mean = NAN;
    for (size_t j = 0; j < slots; j++) {
        double cosine = (double)cosines[j];
        if (j == s) continue;
        sum += cosine;
        if (!(cosine >= *lowest)) *lowest = cosine;
        if (!(cosine <= *highest)) *highest = cosine;
    }
    if (slots > 1) *mean = sum / (double)(slots - 1);
}

/* Slots [first,first+count) of a layer, from the normalized columns. */
static void measure_slots(cot_model_stats *stats, size_t layer, size_t first, size_t count)
{
    const size_t S = stats->S;
    cot_gemm(COT_T, COT_N, count, S, stats->D, 1, stats->phi_hat + first, S, stats->phi_hat, S, 0,
             stats->cosines, S);
    for (size_t i = 0; i < count; i++) {
        size_t at = layer * S + first + i;
        summarize_slot(first + i, S, stats->cosines + i * S, &stats->lowest[at], &stats->mean[at],
                       &stats->highest[at]);
    }
}

/* Every rank has the whole of Phi. They take turns with the products, whose shape is the same
 * whoever computes them; `turn` counts these. */
static void measure_router(cot_model_stats *stats, size_t layer, size_t *turn)
{
    const size_t S = stats->S;
    const size_t ranks = (size_t)stats->comm->size;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "moe.%zu.phi", layer);
    const cot_param *phi = cot_params_find(stats->params, name);
    COT_ASSERT(phi != NULL);
    cot_normalize_cols(COT_L2_MAX, stats->D, S, phi->value, stats->phi_hat, stats->inverse);
    for (size_t first = 0; first < S; first += COLUMNS_AT_ONCE) {
        size_t count = S - first < COLUMNS_AT_ONCE ? S - first : COLUMNS_AT_ONCE;
        if ((*turn)++ % ranks == (size_t)stats->comm->rank)
            measure_slots(stats, layer, first, count);
    }
}

void cot_model_stats_measure(cot_model_stats *stats)
{
    const size_t numbers = 3 * stats->layers * stats->S;
    size_t turn = 0;
    measure_experts(stats, cot_params_values(stats->params), stats->weight);
    memset(stats->lowest, 0, numbers * sizeof *stats->lowest);
    for (size_t layer = 0; layer < stats->layers; layer++) measure_router(stats, layer, &turn);
    /* All ranks but one have 0 there. */
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, stats->lowest, cot_comm_int(numbers), MPI_DOUBLE, MPI_SUM,
                          stats->comm->world));
}

/* ---- as variables ---- */

void cot_model_stats_list(const cot_model_stats *stats, cot_catalog *catalog)
{
    cot_catalog_add_axis(catalog, "layer", stats->layers, "Soft MoE layer");
    cot_catalog_add_axis(catalog, "expert", stats->E, "expert");
    cot_catalog_add_axis(catalog, "slot", stats->S, "slot; slots of an expert are neighbours");
    cot_catalog_add_reals(catalog, "weight_norm", "layer,expert", "1",
                          "L2 norm of all the parameters of an expert", stats->weight);
    if (stats->before != NULL) {
        cot_catalog_add_reals(catalog, "gradient_norm", "layer,expert", "1",
                              "L2 norm of an expert's gradient in the last step, before clipping",
                              stats->gradient);
        cot_catalog_add_reals(catalog, "update_norm", "layer,expert", "1",
                              "L2 norm of the change of an expert's parameters in the last step",
                              stats->update);
    }
    cot_catalog_add_reals(catalog, "router_similarity_min", "layer,slot", "1",
                          "smallest cosine of a slot's router column with another column",
                          stats->lowest);
    cot_catalog_add_reals(catalog, "router_similarity_mean", "layer,slot", "1",
                          "mean cosine of a slot's router column with the other columns",
                          stats->mean);
    cot_catalog_add_reals(catalog, "router_similarity_max", "layer,slot", "1",
                          "largest cosine of a slot's router column with another column",
                          stats->highest);
}
