#include <coterie/blas.h>
#include <coterie/linear.h>
#include <coterie/memory.h>
#include <coterie/tree.h>
#include <coterie/vector.h>

#include <math.h>

struct cot_linear {
    size_t rows, in, out;
    cot_param *w, *b;  /* b is NULL without bias */
    cot_tree *dw, *db; /* over the grains here */
    /* [out,in]: W and its gradient with the longer side last, along which small matrices multiply
     * fastest; NULL where there are many outputs. */
    cot_real *w_t, *dw_t;
};

bool cot_linear_is_narrow(size_t in, size_t out)
{
    const size_t most_outputs = 32;
    const size_t most = (size_t)16 << 10;
    return out <= most_outputs && in * out <= most;
}

cot_linear *cot_linear_create(size_t rows, size_t in, size_t out, bool bias, size_t grains,
                              cot_params *params, const char *prefix)
{
    cot_linear *linear = cot_alloc(1, sizeof *linear);
    *linear = (cot_linear){.rows = rows, .in = in, .out = out};
    cot_param_spec spec = {.axes = "I,O",
                           .dims = {in, out},
                           .init = COT_INIT_UNIFORM,
                           .init_scale = 1 / sqrt((double)in),
                           .decay = true};
    char *name = cot_strprintf("%s.w", prefix);
    spec.name = name;
    linear->w = cot_params_add(params, &spec);
    cot_free(name);
    linear->dw = cot_tree_create(grains, in * out);
    if (cot_linear_is_narrow(in, out)) {
        linear->w_t = cot_alloc(in * out, sizeof *linear->w_t);
        linear->dw_t = cot_alloc(in * out, sizeof *linear->dw_t);
    }
    if (!bias) return linear;
    name = cot_strprintf("%s.b", prefix);
    spec = (cot_param_spec){.name = name,
                            .axes = "O",
                            .dims = {out},
                            .init = COT_INIT_UNIFORM,
                            .init_scale = spec.init_scale};
    linear->b = cot_params_add(params, &spec);
    cot_free(name);
    linear->db = cot_tree_create(grains, out);
    return linear;
}

void cot_linear_destroy(cot_linear **linear)
{
    if (*linear == NULL) return;
    cot_free((*linear)->dw_t);
    cot_free((*linear)->w_t);
    cot_tree_destroy(&(*linear)->db);
    cot_tree_destroy(&(*linear)->dw);
    cot_free(*linear);
    *linear = NULL;
}

/* Where a grain's rows begin, and how many there are. */
static size_t first_row(const cot_linear *linear, const cot_grains *grains, size_t g)
{
    return (cot_grain_begin(grains, g) - cot_grains_begin(grains)) * linear->rows;
}

static size_t count_rows(const cot_linear *linear, const cot_grains *grains, size_t g)
{
    return cot_grain_size(grains, g) * linear->rows;
}

void cot_linear_forward(const cot_linear *linear, const cot_grains *grains, const cot_real *x,
                        cot_real *y)
{
    const size_t in = linear->in;
    const size_t out = linear->out;
    if (linear->w_t != NULL) cot_copy_transposed(in, out, linear->w->value, out, linear->w_t);
    for (size_t g = grains->first; g < grains->end; g++) {
        size_t first = first_row(linear, grains, g);
        size_t n = count_rows(linear, grains, g);
        if (linear->w_t != NULL)
            cot_gemm(COT_N, COT_T, n, out, in, 1, x + first * in, in, linear->w_t, in, 0,
                     y + first * out, out);
        else
            cot_gemm(COT_N, COT_N, n, out, in, 1, x + first * in, in, linear->w->value, out, 0,
                     y + first * out, out);
        if (linear->b != NULL) cot_add_to_rows(n, out, linear->b->value, y + first * out);
    }
}

/* One grain's leaf of db: the sum of its rows in their order. */
static void push_bias_gradient(cot_linear *linear, size_t n, const cot_real *dy)
{
    cot_real *leaf = cot_tree_leaf(linear->db);
    cot_fill(linear->out, 0, leaf);
    cot_add_rows(n, linear->out, dy, leaf);
    cot_tree_push(linear->db);
}

/* One grain's leaf of dW, or of dW transposed. */
static void push_weight_gradient(cot_linear *linear, size_t n, const cot_real *x,
                                 const cot_real *dy)
{
    const size_t in = linear->in;
    const size_t out = linear->out;
    cot_real *leaf = cot_tree_leaf(linear->dw);
    if (linear->w_t != NULL)
        cot_gemm(COT_T, COT_N, out, in, n, 1, dy, out, x, in, 0, leaf, in);
    else
        cot_gemm(COT_T, COT_N, in, out, n, 1, x, in, dy, out, 0, leaf, out);
    cot_tree_push(linear->dw);
}

static void finish_weight_gradient(cot_linear *linear)
{
    if (linear->w_t == NULL) {
        cot_tree_finish(linear->dw, linear->w->grad);
        return;
    }
    cot_tree_finish(linear->dw, linear->dw_t);
    cot_copy_transposed(linear->out, linear->in, linear->dw_t, linear->in, linear->w->grad);
}

static void input_gradient(const cot_linear *linear, size_t n, const cot_real *dy, cot_real *dx)
{
    const size_t in = linear->in;
    const size_t out = linear->out;
    if (linear->w_t != NULL)
        cot_gemm(COT_N, COT_N, n, in, out, 1, dy, out, linear->w_t, in, 0, dx, in);
    else
        cot_gemm(COT_N, COT_T, n, in, out, 1, dy, out, linear->w->value, out, 0, dx, in);
}

void cot_linear_backward(cot_linear *linear, const cot_grains *grains, const cot_real *x,
                         const cot_real *dy, cot_real *dx)
{
    for (size_t g = grains->first; g < grains->end; g++) {
        size_t first = first_row(linear, grains, g);
        size_t n = count_rows(linear, grains, g);
        const cot_real *dy_grain = dy + first * linear->out;
        push_weight_gradient(linear, n, x + first * linear->in, dy_grain);
        if (linear->b != NULL) push_bias_gradient(linear, n, dy_grain);
        if (dx != NULL) input_gradient(linear, n, dy_grain, dx + first * linear->in);
    }
    finish_weight_gradient(linear);
    if (linear->b != NULL) cot_tree_finish(linear->db, linear->b->grad);
}

const cot_real *cot_linear_weights(const cot_linear *linear)
{
    return linear->w->value;
}

const cot_real *cot_linear_bias(const cot_linear *linear)
{
    return linear->b != NULL ? linear->b->value : NULL;
}
