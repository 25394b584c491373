#include "cli/bench_report.h"

#include "cli/cli.h"

#include <stdio.h>

static const double giga = 1e9;
static const double milliseconds = 1e3;
static const double mebibyte = 1 << 20;
static const double kibibyte = 1 << 10;

static json_t *object_of(const cot_bench_head *head, const char *benchmark)
{
    return json_pack("{s:s, s:s, s:i}", "benchmark", benchmark, "recipe", head->recipe, "ranks",
                     head->ranks);
}

/* ---- step ---- */

/* The Soft MoE layers are what counts (docs/bench.md); the rest is told beside it. */
static double useful(const cot_step_bench *bench)
{
    return bench->flop.layers / bench->seconds.median;
}

static double samples_per_second(const cot_step_bench *bench)
{
    return (double)bench->samples / bench->seconds.median;
}

static json_t *quartiles_in_ms(const cot_spread *seconds)
{
    return json_pack("[f, f]", milliseconds * seconds->lower, milliseconds * seconds->upper);
}

static json_t *rank_time(const cot_rank_time *time)
{
    return json_pack("{s:f, s:o, s:i}", "ms", milliseconds * time->seconds.median, "quartiles_ms",
                     quartiles_in_ms(&time->seconds), "slowest_rank", time->rank);
}

static json_t *phases(const cot_step_bench *bench)
{
    json_t *all = json_object();
    for (int i = 0; i < COT_PHASES; i++)
        json_object_set_new(all, cot_phase_name((cot_phase)i), rank_time(&bench->phases[i]));
    return all;
}

static void print_step_json(const cot_bench_head *head, const cot_step_bench *bench)
{
    json_t *object = object_of(head, "step");
    json_t *step =
        json_pack("{s:s, s:b, s:I, s:I, s:f, s:f, s:o, s:o}", "exchange", bench->exchange,
                  "shared_memory", bench->shares_memory, "batch", (json_int_t)bench->samples,
                  "steps", (json_int_t)bench->steps, "samples_per_s", samples_per_second(bench),
                  "ms_per_step", milliseconds * bench->seconds.median, "quartiles_ms",
                  quartiles_in_ms(&bench->seconds), "busy", rank_time(&bench->busy));
    json_t *speed = json_pack("{s:{s:f, s:f, s:f}, s:f, s:f, s:f, s:o}", "gflop", "layers",
                              bench->flop.layers / giga, "embed", bench->flop.embed / giga, "head",
                              bench->flop.head / giga, "useful_gflops", useful(bench) / giga,
                              "peak_gflops", bench->peak / giga, "peak_share",
                              useful(bench) / bench->peak, "phases", phases(bench));
    json_object_update(object, step);
    json_object_update(object, speed);
    json_decref(step);
    json_decref(speed);
    cot_cli_print_json(object);
}

static void print_rank_time(const char *name, const cot_rank_time *time)
{
    printf("  %-12s %10.3f %10.3f %10.3f   rank %d\n", name, milliseconds * time->seconds.median,
           milliseconds * time->seconds.lower, milliseconds * time->seconds.upper, time->rank);
}

static void print_step_text(const cot_bench_head *head, const cot_step_bench *bench)
{
    printf("%s, %d rank%s, exchange by %s%s, %zu steps of %zu samples\n\n", head->recipe,
           head->ranks, head->ranks == 1 ? "" : "s", bench->exchange,
           bench->shares_memory ? " in shared memory" : "", bench->steps, bench->samples);
    printf("  %-12s %10s %10s %10s   %s\n", "ms", "median", "1/4", "3/4", "slowest");
    printf("  %-12s %10.3f %10.3f %10.3f\n", "step", milliseconds * bench->seconds.median,
           milliseconds * bench->seconds.lower, milliseconds * bench->seconds.upper);
    for (int i = 0; i < COT_PHASES; i++)
        print_rank_time(cot_phase_name((cot_phase)i), &bench->phases[i]);
    print_rank_time("busy", &bench->busy);
    printf("\nspeed            %.0f samples/s\n", samples_per_second(bench));
    printf("useful           %.4g GFLOP a step in Soft MoE layers (not counted: embedding %.3g, "
           "head %.3g)\n",
           bench->flop.layers / giga, bench->flop.embed / giga, bench->flop.head / giga);
    printf("                 %.1f GFLOP/s\n", useful(bench) / giga);
    printf("peak             %.1f GFLOP/s, of which %.1f%% are useful\n", bench->peak / giga,
           100 * useful(bench) / bench->peak);
}

void cot_bench_print_step(const cot_bench_head *head, const cot_step_bench *bench)
{
    (head->json ? print_step_json : print_step_text)(head, bench);
}

/* ---- exchange ---- */

static json_t *exchange_row(const cot_exchange_time *time, cot_exchange_kind kind)
{
    const cot_spread *seconds = &time->ways[kind];
    return json_pack("{s:I, s:s, s:I, s:I, s:I, s:f, s:[f, f], s:f, s:f}", "bytes",
                     (json_int_t)time->bytes, "way", cot_exchange_kind_name(kind), "samples_a_rank",
                     (json_int_t)time->samples, "experts_a_rank", (json_int_t)time->experts,
                     "rounds", (json_int_t)time->rounds, "seconds", seconds->median, "quartiles",
                     seconds->lower, seconds->upper, "raw_seconds", time->raw.median, "ratio",
                     seconds->median / time->raw.median);
}

static void print_exchange_json(const cot_bench_head *head,
                                const cot_exchange_time times[COT_BENCH_SIZES])
{
    json_t *object = object_of(head, "exchange");
    json_t *rows = json_array();
    for (size_t i = 0; i < COT_BENCH_SIZES; i++)
        for (int k = 0; k < COT_EXCHANGE_KINDS; k++)
            if (times[i].has[k])
                json_array_append_new(rows, exchange_row(&times[i], (cot_exchange_kind)k));
    json_object_set_new(object, "rows", rows);
    cot_cli_print_json(object);
}

static void print_exchange_row(const cot_exchange_time *time, cot_exchange_kind kind)
{
    const cot_spread *seconds = &time->ways[kind];
    printf("%9.0f KiB   %-9s %12.4f %12.4f %10.3f\n", (double)time->bytes / kibibyte,
           cot_exchange_kind_name(kind), milliseconds * seconds->median,
           milliseconds * time->raw.median, seconds->median / time->raw.median);
}

static void print_exchange_text(const cot_bench_head *head,
                                const cot_exchange_time times[COT_BENCH_SIZES])
{
    printf("%s, %d ranks: slots to their experts and back, against two MPI_Alltoall\n\n",
           head->recipe, head->ranks);
    printf("%13s   %-9s %12s %12s %10s\n", "a pair", "way", "ms", "alltoall ms", "ratio");
    for (size_t i = 0; i < COT_BENCH_SIZES; i++)
        for (int k = 0; k < COT_EXCHANGE_KINDS; k++)
            if (times[i].has[k]) print_exchange_row(&times[i], (cot_exchange_kind)k);
}

void cot_bench_print_exchange(const cot_bench_head *head,
                              const cot_exchange_time times[COT_BENCH_SIZES])
{
    (head->json ? print_exchange_json : print_exchange_text)(head, times);
}

/* ---- checkpoint ---- */

void cot_bench_print_checkpoint(const cot_bench_head *head, const cot_checkpoint_bench *bench)
{
    double ratio = bench->seconds.median / bench->raw.median;
    if (head->json) {
        json_t *object = object_of(head, "checkpoint");
        json_t *result =
            json_pack("{s:I, s:I, s:I, s:I, s:f, s:[f, f], s:f, s:f}", "parameters",
                      (json_int_t)bench->parameters, "moments", (json_int_t)bench->moments, "bytes",
                      (json_int_t)bench->bytes, "rounds", (json_int_t)bench->rounds, "seconds",
                      bench->seconds.median, "quartiles", bench->seconds.lower,
                      bench->seconds.upper, "raw_seconds", bench->raw.median, "ratio", ratio);
        json_object_update(object, result);
        json_decref(result);
        cot_cli_print_json(object);
        return;
    }
    printf("%s, %d rank%s, %.1f MiB of parameters and moments, %zu times\n\n", head->recipe,
           head->ranks, head->ranks == 1 ? "" : "s", (double)bench->bytes / mebibyte,
           bench->rounds);
    printf("checkpoint       %.3f ms, from %.3f to %.3f in half of them\n",
           milliseconds * bench->seconds.median, milliseconds * bench->seconds.lower,
           milliseconds * bench->seconds.upper);
    printf("plain write      %.3f ms\n", milliseconds * bench->raw.median);
    printf("ratio            %.3f\n", ratio);
}

/* ---- machine ---- */

/* FLOP/s of one rank in a large product and in a small one. */
static double product_speed(const cot_machine *machine, double size)
{
    return 2 * size * size * size /
           cot_machine_seconds(machine, COT_KERNEL_GEMM_NN, size, size, size);
}

/* Of one message: what the smallest takes, and bytes/s of a large one. */
static double latency(const cot_machine *machine, cot_kernel kernel)
{
    return cot_machine_seconds(machine, kernel, machine->rates[kernel].axes[0][0], 1, 1);
}

static double bandwidth(const cot_machine *machine, cot_kernel kernel)
{
    return mebibyte / cot_machine_seconds(machine, kernel, mebibyte, 1, 1);
}

static void print_messages(const cot_machine *machine, cot_kernel kernel, const char *what)
{
    const double micro = 1e6;
    if (!cot_machine_knows(machine, kernel)) return;
    printf("%-16s %.1f us, %.2f GB/s each way\n", what, micro * latency(machine, kernel),
           bandwidth(machine, kernel) / giga);
}

static json_t *message_speed(const cot_machine *machine, cot_kernel kernel)
{
    if (!cot_machine_knows(machine, kernel)) return json_null();
    return json_pack("{s:f, s:f}", "latency_s", latency(machine, kernel), "bytes_per_s",
                     bandwidth(machine, kernel));
}

void cot_bench_print_machine(const char *path, bool json, const cot_machine *machine)
{
    const double large = 640;
    const double small = 16;
    if (json) {
        cot_cli_print_json(json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:o, s:o}", "benchmark", "machine",
            "file", path, "cores", (json_int_t)machine->cores, "ranks", (json_int_t)machine->ranks,
            "nodes", (json_int_t)machine->nodes, "large_product_gflops",
            product_speed(machine, large) / giga, "small_product_gflops",
            product_speed(machine, small) / giga, "memory_alone_bytes_per_s", machine->alone,
            "memory_together_bytes_per_s", machine->together, "base_bytes",
            (json_int_t)machine->base_bytes, "message", message_speed(machine, COT_KERNEL_MESSAGE),
            "message_between", message_speed(machine, COT_KERNEL_MESSAGE_BETWEEN)));
        return;
    }
    printf("%s: %zu rank%s on %zu node%s of %zu core%s\n\n", path, machine->ranks,
           machine->ranks == 1 ? "" : "s", machine->nodes, machine->nodes == 1 ? "" : "s",
           machine->cores, machine->cores == 1 ? "" : "s");
    printf("products         %.1f GFLOP/s a rank where large, %.1f at 16 x 16 x 16\n",
           product_speed(machine, large) / giga, product_speed(machine, small) / giga);
    printf("memory           %.1f GB/s for one rank alone, %.1f for each of all\n",
           machine->alone / giga, machine->together / giga);
    print_messages(machine, COT_KERNEL_MESSAGE, "in a node");
    print_messages(machine, COT_KERNEL_MESSAGE_BETWEEN, "between nodes");
    printf("a process        %.1f MiB before anything is created\n",
           (double)machine->base_bytes / mebibyte);
}
