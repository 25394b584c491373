#include "run/costs_json.h"

static json_t *range_json(const cot_range *range)
{
    return json_pack("{s:f, s:f, s:f, s:i}", "min", range->min, "mean", range->mean, "max",
                     range->max, "rank", range->rank);
}

static json_t *phase_json(const cot_costs *costs, size_t place, cot_phase phase)
{
    json_t *layer = place < costs->layers ? json_integer((json_int_t)place) : json_null();
    json_t *row = json_pack("{s:s, s:o}", "phase", cot_phase_name(phase), "layer", layer);
    int kinds = cot_phase_communicates(phase) ? COT_COST_KINDS : COT_COST_SECONDS + 1;
    for (int kind = 0; kind < kinds; kind++) {
        cot_range range = cot_costs_of(costs, (cot_cost)kind, place, phase);
        json_object_set_new(row, cot_cost_name((cot_cost)kind), range_json(&range));
    }
    return row;
}

json_t *cot_costs_json(const cot_costs *costs)
{
    if (costs->steps == 0) return json_null();
    json_t *phases = json_array();
    for (size_t place = 0; place <= costs->layers; place++)
        for (int phase = 0; phase < COT_PHASES; phase++)
            if (cot_costs_has(costs, place, (cot_phase)phase))
                json_array_append_new(phases, phase_json(costs, place, (cot_phase)phase));
    return json_pack("{s:I, s:o, s:o}", "steps", (json_int_t)costs->steps, "step",
                     range_json(&costs->step), "phases", phases);
}
