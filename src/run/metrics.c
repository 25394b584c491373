#include "run/costs_json.h"

#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/metrics.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cot_metrics {
    FILE *file; /* NULL on every rank but 0 */
    char *path;
    bool failed;
};

/* Whether a line of an earlier call still holds when a run goes on from `step`. "end" lines do not:
 * the run did not end. */
static bool still_holds(const char *line, uint64_t step)
{
    json_t *event = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(event, "event"));
    json_t *at = json_object_get(event, "step");
    bool holds = kind != NULL && strcmp(kind, "end") != 0 && json_is_integer(at) &&
                 (uint64_t)json_integer_value(at) <= step;
    json_decref(event);
    return holds;
}

static bool copy_lines(FILE *from, FILE *to, uint64_t step)
{
    char *line = NULL;
    size_t size = 0;
    bool good = true;
    while (good && getline(&line, &size, from) >= 0)
        if (still_holds(line, step)) good = fputs(line, to) >= 0;
    free(line);
    return good && ferror(from) == 0 && fflush(to) == 0 && fsync(fileno(to)) == 0;
}

/* Rewrite the file with the lines that hold, through a temporary one: an interruption here loses
 * nothing. No file, no lines: the run may have begun in another folder. */
static cot_status drop_lines_past(const char *path, uint64_t step)
{
    FILE *from = fopen(path, "r");
    if (from == NULL && errno == ENOENT) return COT_OK;
    if (from == NULL)
        return cot_fail(COT_E_CREATE, "%s: cannot be opened: %s", path, strerror(errno));
    char *partial = cot_strprintf("%s.partial", path);
    FILE *to = fopen(partial, "w");
    bool good = to != NULL && copy_lines(from, to, step);
    if (to != NULL) good = fclose(to) == 0 && good;
    fclose(from);
    good = good && rename(partial, path) == 0;
    cot_status status =
        good ? COT_OK : cot_fail(COT_E_IO, "%s: cannot rewrite it: %s", path, strerror(errno));
    if (!good) unlink(partial);
    cot_free(partial);
    return status;
}

static cot_status open_file(cot_metrics *metrics, bool fresh, uint64_t keep_steps)
{
    if (!fresh) COT_TRY(drop_lines_past(metrics->path, keep_steps));
    metrics->file = fopen(metrics->path, fresh ? "w" : "a");
    if (metrics->file == NULL)
        return cot_fail(COT_E_CREATE, "%s: cannot write it: %s", metrics->path, strerror(errno));
    return COT_OK;
}

cot_status cot_metrics_open(const cot_comm *comm, const char *dir, bool fresh, uint64_t keep_steps,
                            cot_metrics **metrics_out)
{
    cot_metrics *metrics = cot_alloc(1, sizeof *metrics);
    metrics->path = cot_strprintf("%s/metrics.jsonl", dir);
    cot_status status = comm->rank == 0 ? open_file(metrics, fresh, keep_steps) : COT_OK;
    status = cot_comm_agree(comm, status);
    if (status != COT_OK)
        cot_metrics_close(&metrics);
    else
        *metrics_out = metrics;
    return status;
}

void cot_metrics_close(cot_metrics **metrics)
{
    if (*metrics == NULL) return;
    if ((*metrics)->file != NULL) fclose((*metrics)->file);
    cot_free((*metrics)->path);
    cot_free(*metrics);
    *metrics = NULL;
}

cot_status cot_metrics_status(cot_metrics *metrics)
{
    if (!metrics->failed) return COT_OK;
    return cot_fail(COT_E_IO, "%s: a line could not be written; is the disk full?", metrics->path);
}

/* Write one event and release it. */
static void write_event(cot_metrics *metrics, json_t *event)
{
    enum { DIGITS = 9 };
    bool good = json_dumpf(event, metrics->file, JSON_REAL_PRECISION(DIGITS)) == 0 &&
                fputc('\n', metrics->file) != EOF && fflush(metrics->file) == 0;
    if (!good) metrics->failed = true;
    json_decref(event);
}

/* JSON has no NaN: what is not defined is null. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void cot_metrics_step(cot_metrics *metrics, const cot_step_report *report)
{
    if (metrics->file == NULL) return;
    write_event(metrics,
                json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "event", "step", "step",
                          (json_int_t)report->step, "epoch", (json_int_t)report->epoch, "loss",
                          number(report->loss), "learning_rate", number(report->learning_rate),
                          "gradient_norm", number(report->gradient_norm), "samples_per_s",
                          number(report->samples_per_s)));
}

static void add_evaluation(json_t *event, const char *split, const cot_evaluation *evaluation)
{
    struct {
        const char *name;
        double value;
    } fields[] = {{"loss", evaluation != NULL ? evaluation->loss : NAN},
                  {"accuracy", evaluation != NULL ? evaluation->accuracy : NAN},
                  {"relative_error", evaluation != NULL ? evaluation->relative_error : NAN}};
    char key[64];
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        snprintf(key, sizeof key, "%s_%s", split, fields[i].name);
        json_object_set_new(event, key, number(fields[i].value));
    }
}

void cot_metrics_epoch(cot_metrics *metrics, const cot_epoch_report *report)
{
    if (metrics->file == NULL) return;
    json_t *event =
        json_pack("{s:s, s:I, s:I, s:o, s:o}", "event", "epoch", "epoch", (json_int_t)report->epoch,
                  "step", (json_int_t)report->step, "train_loss", number(report->train_loss),
                  "train_accuracy", number(report->train_accuracy));
    if (report->validation != NULL) add_evaluation(event, "validation", report->validation);
    add_evaluation(event, "test", report->test);
    json_object_set_new(event, "learning_rate", number(report->learning_rate));
    json_object_set_new(event, "seconds", number(report->seconds));
    json_object_set_new(event, "samples_per_s", number(report->samples_per_s));
    json_object_set_new(event, "ledger", cot_costs_json(report->costs));
    write_event(metrics, event);
}

void cot_metrics_checkpoint(cot_metrics *metrics, uint64_t step, const char *file)
{
    if (metrics->file == NULL) return;
    write_event(metrics, json_pack("{s:s, s:I, s:s}", "event", "checkpoint", "step",
                                   (json_int_t)step, "file", file));
    /* Nobody writes these lines again once the checkpoint is there, so they must not be lost alone.
     * A file that cannot be synchronized, such as a device, is no failure. */
    if (fsync(fileno(metrics->file)) != 0 && errno != EINVAL) metrics->failed = true;
}

void cot_metrics_warning(cot_metrics *metrics, uint64_t step, const char *format, ...)
{
    if (metrics->file == NULL) return;
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args) + 1;
    va_end(args);
    char *message = cot_alloc((size_t)size, 1);
    va_start(args, format);
    vsnprintf(message, (size_t)size, format, args);
    va_end(args);
    cot_warn("%s", message);
    write_event(metrics, json_pack("{s:s, s:I, s:s}", "event", "warning", "step", (json_int_t)step,
                                   "message", message));
    cot_free(message);
}

void cot_metrics_end(cot_metrics *metrics, uint64_t step, const char *reason, double seconds,
                     const cot_costs *costs)
{
    if (metrics->file == NULL) return;
    write_event(metrics, json_pack("{s:s, s:I, s:s, s:o, s:o}", "event", "end", "step",
                                   (json_int_t)step, "reason", reason, "seconds", number(seconds),
                                   "ledger", cot_costs_json(costs)));
}
