#include <coterie/blas.h>
#include <coterie/head.h>
#include <coterie/memory.h>
#include <coterie/vector.h>

struct cot_head {
    cot_pool pool;
    size_t tokens, width, outputs;
    cot_linear *linear;
    cot_real *mean, *dmean; /* [b,D]; NULL when flattening */
};

cot_head *cot_head_create(cot_pool pool, size_t tokens, size_t width, size_t outputs, bool bias,
                          size_t capacity, size_t grains, cot_params *params)
{
    cot_head *head = cot_alloc(1, sizeof *head);
    *head = (cot_head){.pool = pool, .tokens = tokens, .width = width, .outputs = outputs};
    size_t in = pool == COT_POOL_MEAN ? width : tokens * width;
    head->linear = cot_linear_create(1, in, outputs, bias, grains, params, "head");
    if (pool == COT_POOL_MEAN) {
        head->mean = cot_alloc(capacity * width, sizeof *head->mean);
        head->dmean = cot_alloc(capacity * width, sizeof *head->dmean);
    }
    return head;
}

void cot_head_destroy(cot_head **head)
{
    if (*head == NULL) return;
    cot_free((*head)->dmean);
    cot_free((*head)->mean);
    cot_linear_destroy(&(*head)->linear);
    cot_free(*head);
    *head = NULL;
}

void cot_head_forward(cot_head *head, const cot_grains *grains, const cot_real *x, cot_real *y)
{
    const size_t T = head->tokens;
    const size_t D = head->width;
    if (head->pool == COT_POOL_FLATTEN) {
        cot_linear_forward(head->linear, grains, x, y);
        return;
    }
    for (size_t i = 0; i < cot_grains_size(grains); i++) {
        cot_real *mean = head->mean + i * D;
        cot_fill(D, 0, mean);
        cot_add_rows(T, D, x + i * T * D, mean);
        cot_scale(D, 1 / (cot_real)T, mean, mean);
    }
    cot_linear_forward(head->linear, grains, head->mean, y);
}

void cot_head_backward(cot_head *head, const cot_grains *grains, const cot_real *x,
                       const cot_real *dy, cot_real *dx)
{
    const size_t T = head->tokens;
    const size_t D = head->width;
    if (head->pool == COT_POOL_FLATTEN) {
        cot_linear_backward(head->linear, grains, x, dy, dx);
        return;
    }
    cot_linear_backward(head->linear, grains, head->mean, dy, head->dmean);
    for (size_t i = 0; i < cot_grains_size(grains); i++)
        for (size_t t = 0; t < T; t++)
            cot_scale(D, 1 / (cot_real)T, head->dmean + i * D, dx + (i * T + t) * D);
}

/* A mean over the tokens, then a product with w, is one product with w over T for each token. */
void cot_head_project(const cot_head *head, size_t n, const cot_real *x, cot_real *y)
{
    const size_t T = head->tokens;
    const size_t D = head->width;
    const size_t outputs = head->outputs;
    const cot_real *w = cot_linear_weights(head->linear);
    if (head->pool == COT_POOL_FLATTEN) {
        cot_gemm(COT_N, COT_N, n, outputs, T * D, 1, x, T * D, w, outputs, 0, y, outputs);
        return;
    }
    for (size_t t = 0; t < T; t++)
        cot_gemm(COT_N, COT_N, n, outputs, D, 1 / (cot_real)T, x + t * D, T * D, w, outputs, t > 0,
                 y, outputs);
}

const cot_real *cot_head_bias(const cot_head *head)
{
    return cot_linear_bias(head->linear);
}
