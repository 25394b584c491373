/** What a run would take, before it is queued: memory, messages and time of a training step.
 *
 * Memory is exact bookkeeping: what a rank takes is created, on ranks that are only thought of, and
 * counted (cot_memory_mark). Messages and time add up what the step consists of; seconds of each
 * part come from a machine profile. Not collective. */
#ifndef COTERIE_FORECAST_H
#define COTERIE_FORECAST_H

#include <coterie/ledger.h>
#include <coterie/machine.h>
#include <coterie/memory.h>
#include <coterie/recipe.h>

/** Where it would run, as many ranks on each node. */
typedef struct cot_site {
    int ranks, nodes;
    const cot_machine *machine; /**< NULL: no times */
} cot_site;

/** The settings that a forecast is for; the rest is the recipe's. */
typedef struct cot_settings {
    cot_plan exchange;
    size_t replicas, grains;
} cot_settings;

typedef struct cot_forecast {
    cot_settings settings;
    bool shares_memory; /**< the ranks of an expert group, rather than sending messages */
    size_t parameters;  /**< of the model */
    size_t parts;       /**< that a batch is computed in, one after the other */
    /** Bytes of the rank with the most, by part; besides what a process takes before. */
    size_t memory[COT_MEMORY_PARTS];
    size_t process;           /**< bytes of a process before anything is created */
    size_t memory_total;      /**< all of them */
    double bytes[COT_PHASES]; /**< that a rank sends in a step */
    bool has_seconds;         /**< whether the profile knows all that the step does */
    cot_kernel unknown;       /**< what it does not know */
    double seconds[COT_PHASES];
    double step; /**< their sum */
} cot_forecast;

/** What the recipe asks for; the same by slots and by tokens (COT_PLAN_SLOTS, COT_PLAN_TOKENS); and
 * the best. */
typedef struct cot_choice {
    cot_forecast asked, exchanges[2];
    bool has_best; /**< there are times to choose by */
    cot_forecast best;
} cot_choice;

/** Load the recipe's data set and forecast. The best is the fastest of both exchange plans, of
 * replicas that divide the ranks, and of grains from the lowest power of two that gives every rank
 * one up to eight times as many; what the recipe asks for is the best where others gain next to
 * nothing.
 * Errors: those of cot_dataset_create; COT_E_CONFIG for a recipe that cannot run on these ranks. */
COT_MUST_CHECK cot_status cot_forecast_run(const cot_recipe *recipe, const cot_site *site,
                                           cot_choice *choice_out);

#endif
