/* What the keys of a recipe must satisfy together. A check names every key it looks at. */
#include "recipe_keys.h"

static cot_status check_model(const cot_recipe *recipe, const char *origin)
{
    const cot_model_options *model = &recipe->model;
    if (model->expert_hidden == 0 && model->expert_hidden_total == 0)
        return cot_fail(
            COT_E_CONFIG,
            "%s: model.expert_hidden and model.expert_hidden_total are both 0; set one of them",
            origin);
    if (model->expert_hidden > 0 && model->expert_hidden_total > 0)
        return cot_fail(
            COT_E_CONFIG,
            "%s: model.expert_hidden is %zu and model.expert_hidden_total is %zu; one must be 0",
            origin, model->expert_hidden, model->expert_hidden_total);
    if (model->router.init == COT_ROUTER_ZEROS && model->router.normalize != COT_NORMALIZE_NONE)
        return cot_fail(
            COT_E_CONFIG,
            "%s: router.init zeros has no direction to normalize; use router.normalize none or "
            "another router.init",
            origin);
    return COT_OK;
}

/* l2norm is the one source with values for targets; the others have classes. */
static cot_status check_loss(const cot_recipe *recipe, const char *origin)
{
    bool classes = recipe->data.source != COT_DATA_L2NORM;
    bool cross_entropy = recipe->loss.kind == COT_CROSS_ENTROPY;
    if (cross_entropy && !classes)
        return cot_fail(
            COT_E_CONFIG,
            "%s: loss.kind cross_entropy needs classes, but data.source l2norm has values; use "
            "mean_squared_error",
            origin);
    if (!cross_entropy && classes)
        return cot_fail(COT_E_CONFIG,
                        "%s: loss.kind mean_squared_error needs values (data.source l2norm); use "
                        "cross_entropy for classes",
                        origin);
    if (!cross_entropy && recipe->loss.label_smoothing > 0)
        return cot_fail(COT_E_CONFIG,
                        "%s: loss.label_smoothing is for loss.kind cross_entropy only", origin);
    return COT_OK;
}

/* How many samples there are to take or cut, the data set knows. */
static cot_status check_data(const cot_recipe *recipe, const char *origin)
{
    if (recipe->data.source == COT_DATA_IDX && recipe->data.path[0] == '\0')
        return cot_fail(COT_E_CONFIG,
                        "%s: data.path is empty; data.source idx needs the folder of its files",
                        origin);
    return COT_OK;
}

static cot_status check_run(const cot_recipe *recipe, const char *origin)
{
    size_t grains = recipe->parallel.grains;
    if ((grains & (grains - 1)) != 0)
        return cot_fail(COT_E_CONFIG,
                        "%s: parallel.grains %zu is not a power of two (1, 2, 4, 8, ...)", origin,
                        grains);
    if (recipe->train.accumulate > recipe->train.batch)
        return cot_fail(COT_E_CONFIG, "%s: train.accumulate %zu is above train.batch %zu", origin,
                        recipe->train.accumulate, recipe->train.batch);
    if (recipe->schedule.kind == COT_STEP && recipe->schedule.every == 0)
        return cot_fail(
            COT_E_CONFIG,
            "%s: schedule.every is 0; schedule.kind step needs the steps between two drops",
            origin);
    return COT_OK;
}

static cot_status check_stats(const cot_recipe *recipe, const char *origin)
{
    const cot_counts *keep = &recipe->stats.keep;
    for (size_t i = 0; i < keep->count; i++)
        if (keep->values[i] > recipe->model.experts)
            return cot_fail(COT_E_CONFIG, "%s: stats.keep %lu is above model.experts %zu", origin,
                            (unsigned long)keep->values[i], recipe->model.experts);
    return COT_OK;
}

cot_status cot_recipe_check(const cot_recipe *recipe, const char *origin)
{
    COT_TRY(check_model(recipe, origin));
    COT_TRY(check_loss(recipe, origin));
    COT_TRY(check_data(recipe, origin));
    COT_TRY(check_stats(recipe, origin));
    return check_run(recipe, origin);
}
