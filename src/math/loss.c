#include <coterie/loss.h>
#include <coterie/vector.h>

#include <math.h>

/* In double: a sample has few logits, and the loss is what people read. */
double cot_cross_entropy(size_t classes, const cot_real *logits, size_t label, double smoothing,
                         double scale, cot_real *dlogits)
{
    double max = (double)cot_max(classes, logits);
    double sum = 0;
    for (size_t c = 0; c < classes; c++) sum += exp((double)logits[c] - max);
    double log_sum = max + log(sum);
    double loss = 0;
    for (size_t c = 0; c < classes; c++) {
        double q = smoothing / (double)classes + (c == label ? 1 - smoothing : 0);
        double log_p = (double)logits[c] - log_sum;
        if (q > 0) loss -= q * log_p;
        if (dlogits != NULL) dlogits[c] = (cot_real)(scale * (exp(log_p) - q));
    }
    return loss;
}

double cot_squared_error(cot_real output, cot_real value, double scale, cot_real *doutput)
{
    double error = (double)output - (double)value;
    if (doutput != NULL) *doutput = (cot_real)(scale * 2 * error);
    return error * error;
}

size_t cot_argmax(size_t n, const cot_real *x)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) return n;
        if (x[i] > x[best]) best = i;
    }
    return best;
}
