/* Cross-entropy of outputs r + x, for running outputs r and the effect x of an expert, is
 *
 *     ln sum_c e^r_c e^x_c - sum_c q_c (r_c + x_c)
 *
 * with the smoothed label q. The powers of the effects and the second sum's part are taken once for
 * each expert, so trying one costs a product for each class, and a logarithm. Powers are of r and x
 * less their largest element. */
#include "special/greedy.h"

#include <coterie/memory.h>

#include <math.h>

struct cot_greedy {
    size_t experts, outputs;
    double *running;       /* [outputs]: r */
    double *running_power; /* [outputs]: e^(r - max r) */
    double *power;         /* [E,outputs]: e^(x - max x) */
    double *linear;        /* [E]: max x - sum q x */
};

cot_greedy *cot_greedy_create(size_t experts, size_t outputs)
{
    cot_greedy *greedy = cot_alloc(1, sizeof *greedy);
    *greedy = (cot_greedy){.experts = experts, .outputs = outputs};
    greedy->running = cot_alloc(outputs, sizeof *greedy->running);
    greedy->running_power = cot_alloc(outputs, sizeof *greedy->running_power);
    greedy->power = cot_alloc(experts * outputs, sizeof *greedy->power);
    greedy->linear = cot_alloc(experts, sizeof *greedy->linear);
    return greedy;
}

void cot_greedy_destroy(cot_greedy **greedy)
{
    if (*greedy == NULL) return;
    cot_free((*greedy)->linear);
    cot_free((*greedy)->power);
    cot_free((*greedy)->running_power);
    cot_free((*greedy)->running);
    cot_free(*greedy);
    *greedy = NULL;
}

/* power [n] = e^(x - max x); returns max x. */
static double powers(size_t n, const double *x, double *power)
{
    double max = x[0];
    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++) power[i] = exp(x[i] - max);
    return max;
}

static void prepare(cot_greedy *greedy, const cot_sample_view *view)
{
    const size_t n = greedy->outputs;
    const double smoothing = view->loss->label_smoothing;
    for (size_t e = 0; e < greedy->experts; e++) {
        const cot_real *effect = view->effects + e * n;
        double *x = greedy->power + e * n; /* in place */
        double expected = 0;
        for (size_t c = 0; c < n; c++) {
            x[c] = (double)effect[c];
            expected += x[c];
        }
        expected *= smoothing / (double)n;
        expected += (1 - smoothing) * x[view->target.label];
        greedy->linear[e] = powers(n, x, x) - expected;
    }
}

/* ln sum_c e^(r_c + x_c) - max r - max x, where the products above have all come to nothing. */
static double log_sum(const cot_greedy *greedy, const cot_real *effect)
{
    const size_t n = greedy->outputs;
    const double *r = greedy->running;
    double max = r[0] + (double)effect[0];
    double max_r = r[0];
    double max_x = (double)effect[0];
    for (size_t c = 1; c < n; c++) {
        max = fmax(max, r[c] + (double)effect[c]);
        max_r = fmax(max_r, r[c]);
        max_x = fmax(max_x, (double)effect[c]);
    }
    double sum = 0;
    for (size_t c = 0; c < n; c++) sum += exp(r[c] + (double)effect[c] - max);
    return max + log(sum) - max_r - max_x;
}

/* The loss with expert e added, less what is the same for every expert. */
static double try_class(const cot_greedy *greedy, const cot_sample_view *view, size_t e)
{
    const double smallest = 1e-250; /* below it, terms are lost */
    const size_t n = greedy->outputs;
    const double *power = greedy->power + e * n;
    double sum = 0;
    for (size_t c = 0; c < n; c++) sum += greedy->running_power[c] * power[c];
    double rest = sum < smallest ? log_sum(greedy, view->effects + e * n) : log(sum);
    return rest + greedy->linear[e];
}

static double try_value(const cot_greedy *greedy, const cot_sample_view *view, size_t e)
{
    double error = greedy->running[0] + (double)view->effects[e] - (double)view->target.value;
    return error * error;
}

/* The best of experts [count], which are those left. */
static size_t best_of(const cot_greedy *greedy, const cot_sample_view *view, size_t count,
                      const size_t *experts)
{
    size_t best = 0;
    double lowest = NAN;
    for (size_t i = 0; i < count; i++) {
        double loss = view->loss->kind == COT_CROSS_ENTROPY ? try_class(greedy, view, experts[i])
                                                            : try_value(greedy, view, experts[i]);
        if (!(loss < lowest || (isnan(lowest) && !isnan(loss)))) continue;
        lowest = loss;
        best = i;
    }
    return best;
}

/* The one at `from` goes to the front; the others keep their order, so that of equals the lower
 * index is found first. */
static void move_to_front(size_t *experts, size_t from)
{
    size_t expert = experts[from];
    for (size_t i = from; i > 0; i--) experts[i] = experts[i - 1];
    experts[0] = expert;
}

void cot_greedy_rank(cot_greedy *greedy, const cot_sample_view *view, size_t *experts)
{
    const size_t E = greedy->experts;
    const size_t n = greedy->outputs;
    const bool classes = view->loss->kind == COT_CROSS_ENTROPY;
    for (size_t e = 0; e < E; e++) experts[e] = e;
    for (size_t c = 0; c < n; c++) greedy->running[c] = (double)view->base[c];
    if (classes) prepare(greedy, view);
    for (size_t place = 0; place < E; place++) {
        if (classes) powers(n, greedy->running, greedy->running_power);
        move_to_front(experts + place, best_of(greedy, view, E - place, experts + place));
        const cot_real *effect = view->effects + experts[place] * n;
        for (size_t c = 0; c < n; c++) greedy->running[c] += (double)effect[c];
    }
}
