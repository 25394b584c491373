#include "cli/eval_report.h"

#include "cli/cli.h"

#include <math.h>
#include <stdio.h>

static const double percent = 100;

/* The phases that an evaluation has. */
static const cot_phase phases[] = {COT_PHASE_DATA,     COT_PHASE_ROUTE,   COT_PHASE_DISPATCH,
                                   COT_PHASE_EXCHANGE, COT_PHASE_EXPERTS, COT_PHASE_COMBINE,
                                   COT_PHASE_HEAD,     COT_PHASE_SUMS};
enum { PHASE_COUNT = sizeof phases / sizeof phases[0] };

static double seconds_per_sample(const cot_evaluation *evaluation)
{
    return evaluation->seconds / (double)evaluation->samples;
}

static double phase_per_sample(const cot_evaluation *evaluation, cot_phase phase)
{
    return evaluation->phase_seconds[phase] / (double)evaluation->samples;
}

/* What grows with the number of experts kept. */
static double experts_and_exchange(const cot_evaluation *evaluation)
{
    return phase_per_sample(evaluation, COT_PHASE_EXPERTS) +
           phase_per_sample(evaluation, COT_PHASE_EXCHANGE);
}

/* ---- JSON ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *accuracy_by_class(const cot_evaluation *evaluation)
{
    if (evaluation->classes == 0) return json_null();
    json_t *array = json_array();
    for (size_t c = 0; c < evaluation->classes; c++)
        json_array_append_new(array, number((double)evaluation->class_correct[c] /
                                            (double)evaluation->class_samples[c]));
    return array;
}

/* What is true of one evaluation; times come last. */
static void add_evaluation(json_t *object, const cot_evaluation *evaluation)
{
    json_t *times = json_object();
    for (size_t i = 0; i < PHASE_COUNT; i++)
        json_object_set_new(times, cot_phase_name(phases[i]),
                            number(phase_per_sample(evaluation, phases[i])));
    json_object_set_new(object, "loss", number(evaluation->loss));
    json_object_set_new(object, "accuracy", number(evaluation->accuracy));
    json_object_set_new(object, "relative_error", number(evaluation->relative_error));
    json_object_set_new(object, "accuracy_by_class", accuracy_by_class(evaluation));
    json_object_set_new(object, "kept", number(evaluation->kept_mean));
    json_object_set_new(object, "kept_deviation", number(evaluation->kept_deviation));
    json_object_set_new(object, "seconds", number(evaluation->seconds));
    json_object_set_new(object, "seconds_per_sample", number(seconds_per_sample(evaluation)));
    json_object_set_new(object, "phase_seconds_per_sample", times);
}

static json_t *ratios(const cot_evaluation *part, const cot_evaluation *all)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "accuracy", number(part->accuracy / all->accuracy),
                     "relative_error", number(part->relative_error / all->relative_error),
                     "seconds", number(part->seconds / all->seconds), "experts_and_exchange",
                     number(experts_and_exchange(part) / experts_and_exchange(all)));
}

void cot_eval_print_json(const cot_eval_report *report)
{
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I, s:s?}", "checkpoint", report->checkpoint, "split",
                  cot_split_name(report->split), "samples", (json_int_t)report->part->samples,
                  "experts", (json_int_t)report->experts, "selector", report->selector);
    add_evaluation(object, report->part);
    if (report->all != NULL) {
        json_t *all = json_object();
        add_evaluation(all, report->all);
        json_object_set_new(object, "all_experts", all);
        json_object_set_new(object, "ratio", ratios(report->part, report->all));
    }
    cot_cli_print_json(object);
}

/* ---- text ---- */

static void print_classes(const cot_evaluation *evaluation)
{
    for (size_t c = 0; c < evaluation->classes; c++) {
        double samples = (double)evaluation->class_samples[c];
        if (samples > 0)
            printf("  class %-3zu      %.2f%% of %.0f\n", c,
                   percent * (double)evaluation->class_correct[c] / samples, samples);
        else
            printf("  class %-3zu      no samples\n", c);
    }
}

static void print_one(const cot_eval_report *report)
{
    const cot_evaluation *part = report->part;
    printf("experts kept     %.4g of %zu", part->kept_mean, report->experts);
    if (part->kept_deviation > 0) printf(" (standard deviation %.3g)", part->kept_deviation);
    printf("\nloss             %.6f\n", part->loss);
    if (part->classes > 0) {
        printf("accuracy         %.2f%%\n", percent * part->accuracy);
        print_classes(part);
    } else {
        printf("relative error   %.6f\n", part->relative_error);
    }
    printf("time             %.2f s, %.3g us a sample\n", part->seconds,
           1e6 * seconds_per_sample(part));
    for (size_t i = 0; i < PHASE_COUNT; i++)
        printf("  %-12s   %.3g us\n", cot_phase_name(phases[i]),
               1e6 * phase_per_sample(part, phases[i]));
}

static void print_row(const char *name, const char *unit, double scale, double part, double all)
{
    printf("%-21s%14.6g%14.6g%10.3f  %s\n", name, scale * part, scale * all, part / all, unit);
}

static void print_both(const cot_eval_report *report)
{
    const cot_evaluation *part = report->part;
    const cot_evaluation *all = report->all;
    char name[32];
    printf("%-21s%14s%14s%10s\n", "", "part", "all", "ratio");
    print_row("experts kept", "", 1, part->kept_mean, all->kept_mean);
    print_row("loss", "", 1, part->loss, all->loss);
    if (part->classes > 0)
        print_row("accuracy", "%", percent, part->accuracy, all->accuracy);
    else
        print_row("relative error", "", 1, part->relative_error, all->relative_error);
    print_row("time a sample", "us", 1e6, seconds_per_sample(part), seconds_per_sample(all));
    for (size_t i = 0; i < PHASE_COUNT; i++) {
        snprintf(name, sizeof name, "  %s", cot_phase_name(phases[i]));
        print_row(name, "us", 1e6, phase_per_sample(part, phases[i]),
                  phase_per_sample(all, phases[i]));
    }
    print_row("  experts + exchange", "us", 1e6, experts_and_exchange(part),
              experts_and_exchange(all));
}

void cot_eval_print_text(const cot_eval_report *report)
{
    printf("%-10s samples %zu\n", cot_split_name(report->split), report->part->samples);
    if (report->selector != NULL) printf("chosen by        %s\n", report->selector);
    (report->all != NULL ? print_both : print_one)(report);
    fflush(stdout);
}
