#include "run/libraries.h"
#include "run/operations.h"
#include "run/trainer.h"

#include <coterie/forecast.h>

#include <string.h>

/* ---- one forecast ---- */

static void start_counting(long before[COT_MEMORY_PARTS])
{
    cot_memory_mark(COT_MEMORY_OTHER);
    for (int i = 0; i < COT_MEMORY_PARTS; i++) before[i] = cot_memory_of((cot_memory_part)i);
}

static size_t count_from(const long before[COT_MEMORY_PARTS], size_t counted[COT_MEMORY_PARTS])
{
    size_t total = 0;
    for (int i = 0; i < COT_MEMORY_PARTS; i++) {
        long bytes = cot_memory_of((cot_memory_part)i) - before[i];
        counted[i] = bytes > 0 ? (size_t)bytes : 0;
        total += counted[i];
    }
    return total;
}

static void add_up(const operations *list, const cot_site *site, cot_forecast *forecast)
{
    double each[OPERATIONS_MOST];
    /* Ranks beyond the cores take turns, and messages wait for them. */
    double crowd = (double)(site->ranks / site->nodes) / (double)site->machine->cores;
    for (size_t i = 0; i < list->count; i++)
        each[i] = operation_seconds(&list->list[i], site->machine);
    operations_add_up(list, each, site->machine, crowd <= 1, forecast->seconds);
    forecast->step = 0;
    for (int i = 0; i < COT_PHASES; i++) {
        if (crowd > 1) forecast->seconds[i] *= crowd;
        forecast->step += forecast->seconds[i];
    }
}

static void look_at(const cot_experiment *ex, const cot_site *site, cot_forecast *forecast)
{
    operations list;
    operations_of_step(ex, site->ranks / site->nodes, &list);
    operations_bytes(&list, forecast->bytes);
    forecast->shares_memory =
        ex->comm->group_size > 1 &&
        cot_exchange_nodes(cot_soft_moe_exchange(cot_model_layer(ex->model, 0))) == 1;
    forecast->settings.exchange = cot_plan_choose(ex->batching.plan, cot_model_shape(ex->model));
    forecast->settings.grains = ex->batching.grains;
    forecast->parts = ex->parts;
    forecast->parameters = cot_params_total(ex->params);
    forecast->has_seconds = false;
    if (site->machine == NULL) return;
    forecast->unknown = operations_unknown(&list, site->machine);
    forecast->has_seconds = forecast->unknown == COT_KERNELS;
    if (!forecast->has_seconds) return;
    add_up(&list, site, forecast);
}

/* One rank of the run. Every cut of samples, grains and experts gives the last rank as much as any
 * other. */
static cot_status sketch(const cot_recipe *recipe, cot_dataset *dataset, const cot_site *site,
                         cot_forecast *forecast)
{
    trainer t = {.recipe = recipe};
    cot_sketch_place place = {site->ranks, site->ranks - 1, site->nodes};
    long before[COT_MEMORY_PARTS];
    start_counting(before);
    cot_memory_sketch(true);
    cot_status status = trainer_sketch(&t, dataset, &place);
    if (status == COT_OK) {
        forecast->memory_total = count_from(before, forecast->memory);
        look_at(t.experiment, site, forecast);
    }
    trainer_destroy(&t);
    cot_memory_sketch(false);
    return status;
}

/* What all forecasts of one call share. */
typedef struct source {
    const cot_recipe *recipe;
    const cot_site *site;
    cot_dataset *dataset;
    size_t process, data; /* bytes of the process itself, and of the data set */
} source;

static cot_status forecast_of(const source *from, const cot_settings *settings,
                              cot_forecast *forecast_out)
{
    cot_recipe changed = *from->recipe;
    cot_forecast forecast = {.settings = *settings};
    changed.parallel.exchange = settings->exchange;
    changed.parallel.expert_replicas = settings->replicas;
    changed.parallel.grains = settings->grains;
    COT_TRY(sketch(&changed, from->dataset, from->site, &forecast));
    forecast.memory[COT_MEMORY_DATA] += from->data;
    forecast.process = from->process;
    forecast.memory_total += from->data + from->process;
    *forecast_out = forecast;
    return COT_OK;
}

/* ---- the best ---- */

static bool is_faster(const cot_forecast *a, const cot_forecast *b)
{
    return a->has_seconds && (!b->has_seconds || a->step < b->step);
}

/* What the recipe asks for, and the same by either exchange plan; a choice that is left to the
 * time taken goes by it here too. */
static cot_status forecast_asked(const source *from, cot_choice *choice)
{
    const cot_recipe *recipe = from->recipe;
    cot_settings settings = {recipe->parallel.exchange, recipe->parallel.expert_replicas,
                             recipe->parallel.grains};
    COT_TRY(forecast_of(from, &settings, &choice->asked));
    for (int plan = COT_PLAN_SLOTS; plan <= COT_PLAN_TOKENS; plan++) {
        settings.exchange = (cot_plan)plan;
        COT_TRY(forecast_of(from, &settings, &choice->exchanges[plan]));
    }
    bool measures = recipe->parallel.exchange == COT_PLAN_AUTO && !recipe->parallel.reproducible;
    if (measures && choice->asked.has_seconds)
        choice->asked = choice->exchanges[is_faster(&choice->exchanges[COT_PLAN_TOKENS],
                                                    &choice->exchanges[COT_PLAN_SLOTS])];
    return COT_OK;
}

/* All grains worth trying, of one exchange plan and number of replicas. */
static cot_status try_grains(const source *from, cot_settings settings, cot_forecast *best)
{
    const size_t spans = 8;
    size_t least = 1;
    while (least < (size_t)from->site->ranks) least *= 2;
    size_t most = spans * least;
    if (most > COT_MOST_GRAINS) most = COT_MOST_GRAINS;
    /* Every rank has one, whatever the recipe says. */
    if (!from->recipe->parallel.reproducible) least = most = from->recipe->parallel.grains;
    for (size_t grains = least; grains <= most; grains *= 2) {
        cot_forecast found;
        settings.grains = grains;
        COT_TRY(forecast_of(from, &settings, &found));
        if (is_faster(&found, best)) *best = found;
    }
    return COT_OK;
}

static cot_status find_best(const source *from, cot_choice *choice)
{
    const double worth_a_change = 0.97;
    const size_t ranks = (size_t)from->site->ranks;
    choice->best = choice->asked;
    for (size_t replicas = 1; replicas <= ranks; replicas++) {
        if (ranks % replicas != 0) continue;
        for (int plan = COT_PLAN_SLOTS; plan <= COT_PLAN_TOKENS; plan++)
            COT_TRY(try_grains(from, (cot_settings){(cot_plan)plan, replicas, 0}, &choice->best));
    }
    choice->has_best = choice->best.has_seconds;
    if (choice->asked.has_seconds && choice->best.step > worth_a_change * choice->asked.step)
        choice->best = choice->asked;
    return COT_OK;
}

/* Of the process before anything is created: by the profile, or of this one, as if in a run. */
static cot_status process_bytes(const cot_site *site, size_t *bytes_out)
{
    cot_comm *self = NULL;
    if (site->machine != NULL) {
        *bytes_out = site->machine->base_bytes;
        return COT_OK;
    }
    COT_TRY(cot_comm_create(MPI_COMM_SELF, 1, &self));
    libraries_touch(self);
    cot_comm_destroy(&self);
    *bytes_out = cot_memory_resident();
    return COT_OK;
}

cot_status cot_forecast_run(const cot_recipe *recipe, const cot_site *site, cot_choice *choice_out)
{
    source from = {.recipe = recipe, .site = site};
    cot_choice choice = {0};
    COT_TRY(process_bytes(site, &from.process));
    cot_memory_mark(COT_MEMORY_OTHER);
    long before = cot_memory_of(COT_MEMORY_DATA);
    COT_TRY(cot_dataset_create(&recipe->data, &from.dataset));
    cot_memory_mark(COT_MEMORY_DATA);
    from.data = (size_t)(cot_memory_of(COT_MEMORY_DATA) - before);
    cot_status status = forecast_asked(&from, &choice);
    if (status == COT_OK && site->machine != NULL) status = find_best(&from, &choice);
    cot_dataset_destroy(&from.dataset);
    cot_memory_mark(COT_MEMORY_DATA);
    if (status == COT_OK) *choice_out = choice;
    return status;
}
