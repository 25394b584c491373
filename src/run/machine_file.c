/* Machine profiles as JSON: one object, of which "kernels" holds a grid for each kernel. */
#include "run/replace.h"

#include <coterie/machine.h>
#include <coterie/memory.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char format[] = "coterie-machine";
enum { VERSION = 3 };

static const char *const axis_names[COT_MACHINE_AXES] = {"m", "n", "k"};

static size_t points_of(const cot_rates *rates)
{
    return rates->counts[0] * rates->counts[1] * rates->counts[2];
}

/* ---- writing ---- */

static json_t *numbers(size_t count, const double *values)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(array, json_real(values[i]));
    return array;
}

static json_t *grid(const cot_rates *rates)
{
    json_t *object = json_object();
    for (size_t axis = 0; axis < COT_MACHINE_AXES; axis++)
        json_object_set_new(object, axis_names[axis],
                            numbers(rates->counts[axis], rates->axes[axis]));
    json_object_set_new(object, "seconds", numbers(points_of(rates), rates->seconds));
    return object;
}

static json_t *object_of(const cot_machine *machine)
{
    json_t *kernels = json_object();
    for (int kernel = 0; kernel < COT_KERNELS; kernel++)
        if (cot_machine_knows(machine, (cot_kernel)kernel))
            json_object_set_new(kernels, cot_kernel_name((cot_kernel)kernel),
                                grid(&machine->rates[kernel]));
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:{s:f, s:f}, s:o}",
                     "format", format, "format_version", VERSION, "host", machine->host, "build",
                     machine->build, "blas_core", machine->blas_core, "written", machine->written,
                     "cores", (json_int_t)machine->cores, "ranks", (json_int_t)machine->ranks,
                     "nodes", (json_int_t)machine->nodes, "base_bytes",
                     (json_int_t)machine->base_bytes, "memory_bytes_per_s", "alone", machine->alone,
                     "together", machine->together, "kernels", kernels);
}

cot_status cot_machine_write(const char *path, const cot_machine *machine)
{
    enum { DIGITS = 7 };
    COT_TRY(cot_replace_check(path));
    char *partial = cot_replace_partial(path);
    json_t *object = object_of(machine);
    FILE *file = fopen(partial, "w");
    cot_status status = COT_OK;
    if (file == NULL)
        status = cot_fail(COT_E_CREATE, "%s: cannot be created: %s", path, strerror(errno));
    bool good = file != NULL && json_dumpf(object, file, JSON_REAL_PRECISION(DIGITS)) == 0 &&
                fputc('\n', file) != EOF;
    if (file != NULL && fclose(file) != 0) good = false;
    if (status == COT_OK && !good)
        status = cot_fail(COT_E_IO, "%s: writing it has failed: %s", path, strerror(errno));
    if (status == COT_OK) status = cot_replace_sync(partial);
    if (status == COT_OK) status = cot_replace_publish(partial, path);
    if (status != COT_OK && file != NULL) unlink(partial);
    json_decref(object);
    cot_free(partial);
    return status;
}

/* ---- reading ---- */

static cot_status wrong(const char *path, const char *what)
{
    return cot_fail(COT_E_DATA,
                    "%s: %s; 'mpirun -n R coterie bench machine --output %s' makes a good one",
                    path, what, path);
}

/* A positive number, under `key`. */
static bool take_number(const json_t *object, const char *key, double *value_out)
{
    const json_t *value = json_object_get(object, key);
    *value_out = json_is_number(value) ? json_number_value(value) : 0;
    return isfinite(*value_out) && *value_out > 0;
}

static bool take_size(const json_t *object, const char *key, size_t *value_out)
{
    const double most = 1e15;
    double value = 0;
    if (!take_number(object, key, &value) || value < 1 || value > most) return false;
    *value_out = (size_t)value;
    return true;
}

static bool take_text(const json_t *object, const char *key, char **text_out)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL) return false;
    *text_out = cot_strdup(text);
    return true;
}

/* Positive numbers, all of an array; ascending where they have to be. */
static bool take_numbers(const json_t *array, size_t count, bool ascending, double *values)
{
    if (json_array_size(array) != count) return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        values[i] = json_is_number(value) ? json_number_value(value) : 0;
        if (!isfinite(values[i]) || values[i] <= 0) return false;
        if (ascending && i > 0 && values[i] <= values[i - 1]) return false;
    }
    return true;
}

static bool take_grid(const json_t *object, cot_rates *rates)
{
    for (size_t axis = 0; axis < COT_MACHINE_AXES; axis++) {
        const json_t *points = json_object_get(object, axis_names[axis]);
        size_t count = json_array_size(points);
        if (count == 0 || count > COT_MACHINE_AXIS) return false;
        rates->counts[axis] = count;
        if (!take_numbers(points, count, true, rates->axes[axis])) return false;
    }
    rates->seconds = cot_alloc(points_of(rates), sizeof *rates->seconds);
    return take_numbers(json_object_get(object, "seconds"), points_of(rates), false,
                        rates->seconds);
}

/* Messages are known where there was somebody to send them to; all the rest always. */
static bool may_lack(cot_kernel kernel)
{
    return kernel == COT_KERNEL_BARRIER || kernel == COT_KERNEL_MESSAGE ||
           kernel == COT_KERNEL_MESSAGE_BETWEEN;
}

static cot_status take_kernels(const char *path, const json_t *kernels, cot_machine *machine)
{
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) {
        const char *name = cot_kernel_name((cot_kernel)kernel);
        const json_t *object = json_object_get(kernels, name);
        if (object == NULL && may_lack((cot_kernel)kernel)) continue;
        if (take_grid(object, &machine->rates[kernel])) continue;
        char *what = cot_strprintf("no good grid of kernels.%s", name);
        cot_status status = wrong(path, what);
        cot_free(what);
        return status;
    }
    return COT_OK;
}

static cot_status take(const char *path, const json_t *root, cot_machine *machine)
{
    const char *found = json_string_value(json_object_get(root, "format"));
    const json_t *memory = json_object_get(root, "memory_bytes_per_s");
    if (found == NULL || strcmp(found, format) != 0) return wrong(path, "is no machine profile");
    if (json_integer_value(json_object_get(root, "format_version")) != VERSION)
        return wrong(path, "is a machine profile of another version");
    if (!take_text(root, "host", &machine->host) || !take_text(root, "build", &machine->build) ||
        !take_text(root, "blas_core", &machine->blas_core) ||
        !take_text(root, "written", &machine->written))
        return wrong(path, "host, build, blas_core or written is missing");
    if (!take_size(root, "cores", &machine->cores) || !take_size(root, "ranks", &machine->ranks) ||
        !take_size(root, "nodes", &machine->nodes) ||
        !take_size(root, "base_bytes", &machine->base_bytes) ||
        !take_number(memory, "alone", &machine->alone) ||
        !take_number(memory, "together", &machine->together))
        return wrong(path,
                     "cores, ranks, nodes, base_bytes or memory_bytes_per_s is missing or not "
                     "above 0");
    return take_kernels(path, json_object_get(root, "kernels"), machine);
}

cot_status cot_machine_read(const char *path, cot_machine *machine_out)
{
    json_error_t error;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return cot_fail(COT_E_NOINPUT, "%s: cannot be opened: %s", path, strerror(errno));
    json_t *root = json_loadf(file, 0, &error);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed) {
        json_decref(root);
        return cot_fail(COT_E_IO, "%s: reading it has failed", path);
    }
    if (root == NULL)
        return cot_fail(COT_E_DATA, "%s:%d: is not JSON: %s", path, error.line, error.text);
    cot_machine machine = {0};
    cot_status status = take(path, root, &machine);
    json_decref(root);
    if (status == COT_OK)
        *machine_out = machine;
    else
        cot_machine_free(&machine);
    return status;
}
