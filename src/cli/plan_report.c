#include "cli/plan_report.h"

#include "cli/cli.h"

#include <coterie/version.h>

#include <stdio.h>
#include <string.h>

static const double milliseconds = 1e3;
static const double mebibyte = 1 << 20;
static const double kibibyte = 1 << 10;

static const char profile_hint[] =
    "no times: there is no machine profile; 'mpirun -n R coterie bench machine' makes one, with R "
    "ranks on a node as in the run";

static double samples_per_second(const cot_recipe *recipe, const cot_forecast *f)
{
    return (double)recipe->train.batch / f->step;
}

/* How ranks of an expert group exchange. */
static const char *way_of(const cot_site *site, const cot_forecast *f)
{
    if ((size_t)site->ranks == f->settings.replicas) return "alone";
    return f->shares_memory ? "shared memory" : "messages";
}

/* ---- JSON ---- */

static json_t *by_phase(const double values[COT_PHASES], double factor)
{
    json_t *all = json_object();
    for (int i = 0; i < COT_PHASES; i++)
        json_object_set_new(all, cot_phase_name((cot_phase)i), json_real(factor * values[i]));
    return all;
}

static json_t *memory_of(const cot_forecast *f)
{
    json_t *all = json_object();
    for (int i = 0; i < COT_MEMORY_PARTS; i++)
        json_object_set_new(all, cot_memory_part_name((cot_memory_part)i),
                            json_integer((json_int_t)f->memory[i]));
    json_object_set_new(all, "process", json_integer((json_int_t)f->process));
    json_object_set_new(all, "total", json_integer((json_int_t)f->memory_total));
    return all;
}

static json_t *forecast_object(const cot_recipe *recipe, const cot_site *site,
                               const cot_forecast *f)
{
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:s, s:o, s:o}", "exchange", cot_plan_name(f->settings.exchange),
        "expert_replicas", (json_int_t)f->settings.replicas, "grains",
        (json_int_t)f->settings.grains, "parts", (json_int_t)f->parts, "way", way_of(site, f),
        "memory_bytes", memory_of(f), "bytes_sent", by_phase(f->bytes, 1));
    if (!f->has_seconds) return object;
    json_t *times =
        json_pack("{s:f, s:f, s:o}", "ms_per_step", milliseconds * f->step, "samples_per_s",
                  samples_per_second(recipe, f), "phases_ms", by_phase(f->seconds, milliseconds));
    json_object_update(object, times);
    json_decref(times);
    return object;
}

static void print_json(const char *path, const cot_recipe *recipe, const cot_site *site,
                       const cot_choice *choice)
{
    json_t *object =
        json_pack("{s:s, s:i, s:i, s:I, s:I, s:o, s:o, s:o}", "recipe", path, "ranks", site->ranks,
                  "nodes", site->nodes, "batch", (json_int_t)recipe->train.batch, "parameters",
                  (json_int_t)choice->asked.parameters, "asked",
                  forecast_object(recipe, site, &choice->asked), "slots",
                  forecast_object(recipe, site, &choice->exchanges[COT_PLAN_SLOTS]), "tokens",
                  forecast_object(recipe, site, &choice->exchanges[COT_PLAN_TOKENS]));
    if (choice->has_best)
        json_object_set_new(object, "best", forecast_object(recipe, site, &choice->best));
    cot_cli_print_json(object);
}

/* ---- text ---- */

static void print_memory(const cot_forecast *f)
{
    printf("memory of a rank, MiB\n");
    for (int i = 0; i < COT_MEMORY_PARTS; i++)
        if (f->memory[i] > 0)
            printf("  %-14s %10.1f\n", cot_memory_part_name((cot_memory_part)i),
                   (double)f->memory[i] / mebibyte);
    printf("  %-14s %10.1f\n", "process", (double)f->process / mebibyte);
    printf("  %-14s %10.1f\n\n", "total", (double)f->memory_total / mebibyte);
}

static void print_number(bool known, double value)
{
    if (known)
        printf(" %10.3f", value);
    else
        printf(" %10s", "-");
}

/* Time and bytes of either plan, phase by phase. */
static void print_phases(const cot_choice *choice)
{
    const cot_forecast *slots = &choice->exchanges[COT_PLAN_SLOTS];
    const cot_forecast *tokens = &choice->exchanges[COT_PLAN_TOKENS];
    double sent[2] = {0, 0};
    printf("  %-14s %10s %10s %12s %12s\n", "a step", "slots, ms", "tokens, ms", "slots, KiB",
           "tokens, KiB");
    for (int i = 0; i < COT_PHASES; i++) {
        printf("  %-14s", cot_phase_name((cot_phase)i));
        print_number(slots->has_seconds, milliseconds * slots->seconds[i]);
        print_number(tokens->has_seconds, milliseconds * tokens->seconds[i]);
        printf(" %12.1f %12.1f\n", slots->bytes[i] / kibibyte, tokens->bytes[i] / kibibyte);
        sent[0] += slots->bytes[i];
        sent[1] += tokens->bytes[i];
    }
    printf("  %-14s", "all");
    print_number(slots->has_seconds, milliseconds * slots->step);
    print_number(tokens->has_seconds, milliseconds * tokens->step);
    printf(" %12.1f %12.1f\n", sent[0] / kibibyte, sent[1] / kibibyte);
    printf("  %-14s", "MiB of a rank");
    print_number(true, (double)slots->memory_total / mebibyte);
    print_number(true, (double)tokens->memory_total / mebibyte);
    printf("\n\n");
}

/* A profile that was measured otherwise than the run will be. */
static void print_doubts(const cot_recipe *recipe, const cot_site *site)
{
    const cot_machine *machine = site->machine;
    size_t measured = machine->ranks / machine->nodes;
    size_t planned = (size_t)(site->ranks / site->nodes);
    if (measured != planned)
        printf("The profile has %zu rank%s on a node, the run %zu: caches and memory are shared "
               "otherwise.\n",
               measured, measured == 1 ? "" : "s", planned);
    if (strcmp(machine->build, cot_build()) != 0)
        printf("The profile is of another build, %s: its kernels may take other times.\n",
               machine->build);
    if (recipe->parallel.blas_threads > 1)
        printf("Times are of one thread a rank, not of %zu as parallel.blas_threads asks.\n",
               recipe->parallel.blas_threads);
    if (planned > machine->cores)
        printf("%zu ranks on %zu cores take turns: such a run is slower than on fewer ranks.\n",
               planned, machine->cores);
}

static void print_advice(const cot_recipe *recipe, const cot_site *site, const cot_choice *choice)
{
    const cot_forecast *best = &choice->best;
    if (site->machine == NULL) {
        printf("%s\n", profile_hint);
        return;
    }
    if (!choice->has_best) {
        printf("no times: the machine profile has no %s; measure it on as many nodes, and ranks of "
               "a node, as the run has\n",
               cot_kernel_name(choice->asked.unknown));
        return;
    }
    print_doubts(recipe, site);
    if (choice->asked.has_seconds)
        printf("as asked         %.3f ms a step, %.0f samples/s\n",
               milliseconds * choice->asked.step, samples_per_second(recipe, &choice->asked));
    printf("best             %.3f ms a step, %.0f samples/s, %.1f MiB a rank\n",
           milliseconds * best->step, samples_per_second(recipe, best),
           (double)best->memory_total / mebibyte);
    printf("use              --set parallel.exchange=%s --set parallel.expert_replicas=%zu",
           cot_plan_name(best->settings.exchange), best->settings.replicas);
    if (recipe->parallel.reproducible) printf(" --set parallel.grains=%zu", best->settings.grains);
    printf("\n");
}

static void print_text(const char *path, const cot_recipe *recipe, const cot_site *site,
                       const cot_choice *choice)
{
    const cot_forecast *asked = &choice->asked;
    printf("%s, %d rank%s on %d node%s, %zu parameters, batches of %zu\n", path, site->ranks,
           site->ranks == 1 ? "" : "s", site->nodes, site->nodes == 1 ? "" : "s", asked->parameters,
           recipe->train.batch);
    printf("exchange by %s (%s), %zu expert replica%s, %zu grains",
           cot_plan_name(asked->settings.exchange), way_of(site, asked), asked->settings.replicas,
           asked->settings.replicas == 1 ? "" : "s", asked->settings.grains);
    if (asked->parts > 1) printf(", a batch in %zu parts", asked->parts);
    printf("\n\n");
    print_memory(asked);
    print_phases(choice);
    print_advice(recipe, site, choice);
}

void cot_plan_print(const char *path, bool json, const cot_recipe *recipe, const cot_site *site,
                    const cot_choice *choice)
{
    if (json)
        print_json(path, recipe, site, choice);
    else
        print_text(path, recipe, site, choice);
}
