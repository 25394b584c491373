#include "cli/train_report.h"

#include "cli/cli.h"
#include "run/costs_json.h"

#include <stdio.h>

static const double milliseconds = 1e3;
static const double kibibyte = 1024;
static const double percent = 100;

static void print_json(const cot_costs *costs, int ranks, const char *folder)
{
    json_t *trace = json_sprintf("%s/trace.json", folder);
    cot_cli_print_json(json_pack("{s:i, s:o, s:o}", "ranks", ranks, "trace", trace, "profile",
                                 cot_costs_json(costs)));
}

static void print_times(const char *name, const char *layer, const cot_range *seconds, double step)
{
    printf("  %-10s%6s%11.3f%11.3f%11.3f%6d%8.1f%%", name, layer, milliseconds * seconds->min,
           milliseconds * seconds->mean, milliseconds * seconds->max, seconds->rank,
           percent * seconds->mean / step);
}

static void print_phase(const cot_costs *costs, size_t place, cot_phase phase)
{
    char layer[24] = "-";
    cot_range seconds = cot_costs_of(costs, COT_COST_SECONDS, place, phase);
    if (place < costs->layers) snprintf(layer, sizeof layer, "%zu", place);
    print_times(cot_phase_name(phase), layer, &seconds, costs->step.mean);
    if (cot_phase_communicates(phase))
        printf("%12.1f%11.3f%11.3f",
               cot_costs_of(costs, COT_COST_BYTES, place, phase).mean / kibibyte,
               milliseconds * cot_costs_of(costs, COT_COST_EXPOSED, place, phase).mean,
               milliseconds * cot_costs_of(costs, COT_COST_HIDDEN, place, phase).mean);
    putchar('\n');
}

static void print_text(const cot_costs *costs, int ranks, const char *folder)
{
    if (costs->steps == 0) {
        printf("no step was taken\n");
        return;
    }
    printf("a step, mean of %lu, over %d rank%s; of its communication the means\n\n",
           (unsigned long)costs->steps, ranks, ranks == 1 ? "" : "s");
    printf("  %-10s%6s%11s%11s%11s%6s%9s%12s%11s%11s\n", "phase", "layer", "min ms", "mean ms",
           "max ms", "rank", "share", "sent KiB", "exposed ms", "hidden ms");
    for (int phase = 0; phase < COT_PHASES; phase++)
        for (size_t place = 0; place <= costs->layers; place++)
            if (cot_costs_has(costs, place, (cot_phase)phase))
                print_phase(costs, place, (cot_phase)phase);
    print_times("step", "", &costs->step, costs->step.mean);
    printf("\n\nits course: %s/trace.json\n", folder);
}

void cot_train_print_profile(const cot_costs *costs, int ranks, const char *folder, bool json)
{
    (json ? print_json : print_text)(costs, ranks, folder);
    fflush(stdout);
}
