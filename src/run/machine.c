#include <coterie/machine.h>
#include <coterie/memory.h>

#include <math.h>

const char *cot_kernel_name(cot_kernel kernel)
{
    static const char *const names[COT_KERNELS] = {
        [COT_KERNEL_GEMM_NN] = "gemm_nn",
        [COT_KERNEL_GEMM_TN] = "gemm_tn",
        [COT_KERNEL_GEMM_NT] = "gemm_nt",
        [COT_KERNEL_TO_SLOTS] = "to_slots",
        [COT_KERNEL_TO_TOKENS] = "to_tokens",
        [COT_KERNEL_TO_WEIGHTS] = "to_weights",
        [COT_KERNEL_EXPERT_FORWARD] = "expert_forward",
        [COT_KERNEL_EXPERT_BACKWARD] = "expert_backward",
        [COT_KERNEL_FUSED_FORWARD] = "fused_forward",
        [COT_KERNEL_FUSED_BACKWARD] = "fused_backward",
        [COT_KERNEL_SOFTMAX_ROWS] = "softmax_rows",
        [COT_KERNEL_SOFTMAX_ROWS_BACKWARD] = "softmax_rows_backward",
        [COT_KERNEL_SOFTMAX_COLS] = "softmax_cols",
        [COT_KERNEL_SOFTMAX_COLS_BACKWARD] = "softmax_cols_backward",
        [COT_KERNEL_NORMALIZE_ROWS] = "normalize_rows",
        [COT_KERNEL_NORMALIZE_ROWS_BACKWARD] = "normalize_rows_backward",
        [COT_KERNEL_NORMALIZE_COLS] = "normalize_cols",
        [COT_KERNEL_NORMALIZE_COLS_BACKWARD] = "normalize_cols_backward",
        [COT_KERNEL_COPY] = "copy",
        [COT_KERNEL_ADD] = "add",
        [COT_KERNEL_DOT] = "dot",
        [COT_KERNEL_ROWS] = "rows",
        [COT_KERNEL_SGD] = "sgd",
        [COT_KERNEL_ADAM] = "adam",
        [COT_KERNEL_PIXELS] = "pixels",
        [COT_KERNEL_NORMALS] = "normals",
        [COT_KERNEL_BARRIER] = "barrier",
        [COT_KERNEL_MESSAGE] = "message",
        [COT_KERNEL_MESSAGE_BETWEEN] = "message_between"};
    return names[kernel];
}

void cot_machine_free(cot_machine *machine)
{
    for (int kernel = 0; kernel < COT_KERNELS; kernel++) cot_free(machine->rates[kernel].seconds);
    cot_free(machine->written);
    cot_free(machine->blas_core);
    cot_free(machine->build);
    cot_free(machine->host);
    *machine = (cot_machine){0};
}

/* Where a size lies on an axis: between point `below` and the next, by `share` of their distance in
 * logarithms; and what it is outside of the axis, as a factor. */
typedef struct place {
    size_t below, above;
    double share, factor;
} place;

static place find(const cot_rates *rates, size_t axis, double size)
{
    const double *points = rates->axes[axis];
    const size_t count = rates->counts[axis];
    const size_t last = count - 1;
    if (size <= points[0]) return (place){0, 0, 0, size / points[0]};
    if (size >= points[last]) return (place){last, last, 0, size / points[last]};
    size_t above = 1;
    while (points[above] < size) above++;
    double share = log(size / points[above - 1]) / log(points[above] / points[above - 1]);
    return (place){above - 1, above, share, 1};
}

double cot_machine_seconds(const cot_machine *machine, cot_kernel kernel, double m, double n,
                           double k)
{
    const cot_rates *rates = &machine->rates[kernel];
    const double sizes[COT_MACHINE_AXES] = {m, n, k};
    place at[COT_MACHINE_AXES];
    double logarithm = 0;
    double factor = 1;
    COT_ASSERT(rates->seconds != NULL);
    if (m <= 0 || n <= 0 || k <= 0) return 0;
    for (size_t axis = 0; axis < COT_MACHINE_AXES; axis++) {
        at[axis] = find(rates, axis, sizes[axis]);
        factor *= at[axis].factor;
    }
    for (unsigned corner = 0; corner < 1U << COT_MACHINE_AXES; corner++) {
        double weight = 1;
        size_t index = 0;
        for (size_t axis = 0; axis < COT_MACHINE_AXES; axis++) {
            bool above = (corner >> axis & 1U) != 0;
            weight *= above ? at[axis].share : 1 - at[axis].share;
            index = index * rates->counts[axis] + (above ? at[axis].above : at[axis].below);
        }
        if (weight > 0) logarithm += weight * log(rates->seconds[index]);
    }
    return factor * exp(logarithm);
}
