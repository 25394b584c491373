#include "support/sides.h"

#include "support/numbers.h"
#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/ordered_sum.h>

#include <math.h>
#include <string.h>

enum { MICRO_BATCHES = 2, MOST_RANKS = 8 };

static void assert_way(const fixture *f)
{
    const size_t grain = cot_shard_size(f->most_batch, f->grains, f->grains - 1);
    const cot_tokens_way way = cot_tokens_way_of(&f->options.shape, grain);
    if (way != f->way) fail_msg("%s: way %d, not %d", f->name, (int)way, (int)f->way);
}

void side_create(side *s, const fixture *f, cot_comm *comm, cot_batching batching)
{
    const cot_moe_shape *shape = &f->options.shape;
    *s = (side){.fixture = f, .comm = comm};
    size_t members = (size_t)comm->group_size;
    size_t me = (size_t)comm->group_rank;
    assert_way(f);
    s->params = cot_params_create(cot_shard_begin(shape->E, members, me),
                                  cot_shard_begin(shape->E, members, me + 1));
    batching.max_batch = f->most_batch;
    batching.grains = f->grains;
    s->layer = cot_soft_moe_create(&f->options, 0, &batching, comm, s->params);
    cot_params_allocate(s->params);
    cot_params_initialize(s->params, 11);
    s->gradients = cot_gradients_create(comm, s->params,
                                        &(cot_gradients_options){.ordered = true,
                                                                 .node_ranks = batching.node_ranks,
                                                                 .most_batches = MICRO_BATCHES});
    const size_t numbers = f->most_batch * side_per_sample(s);
    cot_real **const arrays[] = {&s->x, &s->y, &s->dy, &s->dx, &s->whole_y, &s->whole_dx};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        *arrays[i] = cot_alloc(numbers, sizeof(cot_real));
    s->whole_grads = cot_alloc(cot_params_total(s->params), sizeof(cot_real));
}

void side_destroy(side *s)
{
    cot_real *const arrays[] = {s->x, s->y, s->dy, s->dx, s->whole_y, s->whole_dx, s->whole_grads};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cot_free(arrays[i]);
    cot_gradients_destroy(&s->gradients);
    cot_soft_moe_destroy(&s->layer);
    assert_null(s->layer);
    cot_params_destroy(&s->params);
    cot_comm_destroy(&s->comm);
}

size_t side_per_sample(const side *s)
{
    const cot_moe_shape *shape = &s->fixture->options.shape;
    return shape->T * shape->D;
}

static cot_grains grains_of_rank(const side *s, size_t samples, int rank)
{
    return cot_grains_of(samples, s->fixture->grains, (size_t)s->comm->size, (size_t)rank);
}

cot_grains side_grains(const side *s, size_t samples)
{
    return grains_of_rank(s, samples, s->comm->rank);
}

/* The samples of all ranks, in order. */
static void gather_samples(const side *s, size_t samples, const cot_real *here, cot_real *whole)
{
    int counts[MOST_RANKS];
    int displs[MOST_RANKS];
    for (int r = 0; r < s->comm->size; r++) {
        cot_grains grains = grains_of_rank(s, samples, r);
        counts[r] = cot_comm_int(cot_grains_size(&grains) * side_per_sample(s));
        displs[r] = cot_comm_int(cot_grains_begin(&grains) * side_per_sample(s));
    }
    COT_MPI(MPI_Allgatherv(here, counts[s->comm->rank], COT_MPI_REAL, whole, counts, displs,
                           COT_MPI_REAL, s->comm->world));
}

/* The gradients of all the parameters, one after the other, with the experts of all ranks. */
static void gather_gradients(const side *s)
{
    cot_real *next = s->whole_grads;
    for (size_t i = 0; i < cot_params_count(s->params); i++) {
        const cot_param *param = cot_params_at(s->params, i);
        size_t size = param->dims[0] * param->row_size;
        if (param->placement == COT_REPLICATED) {
            memcpy(next, param->grad, size * sizeof *next);
        } else {
            int counts[MOST_RANKS];
            int displs[MOST_RANKS];
            size_t members = (size_t)s->comm->group_size;
            for (size_t m = 0; m < members; m++) {
                counts[m] =
                    cot_comm_int(cot_shard_size(param->dims[0], members, m) * param->row_size);
                displs[m] =
                    cot_comm_int(cot_shard_begin(param->dims[0], members, m) * param->row_size);
            }
            COT_MPI(MPI_Allgatherv(param->grad, counts[s->comm->group_rank], COT_MPI_REAL, next,
                                   counts, displs, COT_MPI_REAL, s->comm->group));
        }
        next += size;
    }
}

/* This rank's part of what all draw alike. */
static void draw_inputs(side *s, size_t samples)
{
    const size_t numbers = samples * side_per_sample(s);
    cot_grains grains = side_grains(s, samples);
    const cot_real *mine = s->whole_y + cot_grains_begin(&grains) * side_per_sample(s);
    size_t bytes = cot_grains_size(&grains) * side_per_sample(s) * sizeof *mine;
    draw_normal(1, numbers, s->whole_y);
    memcpy(s->x, mine, bytes);
    draw_normal(2, numbers, s->whole_y);
    memcpy(s->dy, mine, bytes);
}

static void forward(side *s, size_t samples, cot_selector *selector, size_t part, size_t parts)
{
    cot_noise noise = {.seed = 4, .step = 6, .first_sample = 3};
    cot_pass pass = {.samples = samples,
                     .training = selector == NULL,
                     .part = part,
                     .parts = parts,
                     .noise = s->fixture->options.router.noise > 0 ? &noise : NULL,
                     .selector = selector};
    draw_inputs(s, samples);
    cot_soft_moe_forward(s->layer, &pass, s->x, s->y);
    gather_samples(s, samples, s->y, s->whole_y);
}

void side_forward(side *s, size_t samples, cot_selector *selector)
{
    forward(s, samples, selector, 0, 1);
}

void side_step(side *s, size_t samples)
{
    cot_gradients_begin(s->gradients);
    for (size_t part = 0; part < MICRO_BATCHES; part++) {
        forward(s, samples, NULL, part, MICRO_BATCHES);
        cot_soft_moe_backward(s->layer, s->dy, s->dx);
        cot_gradients_add_batch(s->gradients);
    }
    cot_gradients_finish(s->gradients);
    gather_samples(s, samples, s->dx, s->whole_dx);
    gather_gradients(s);
}

bool close_to(const cot_real *a, const cot_real *b, size_t n)
{
    /* Sums of at most some hundred numbers, of size 10 at most, through a handful of products: an
     * order of magnitude above the largest difference seen. */
    const double tolerance = 1e-5;
    double largest = 1;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)b[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= tolerance * largest)) return false;
    return isfinite(largest);
}

static bool agrees(const cot_real *a, const cot_real *b, size_t n, bool exactly)
{
    return exactly ? same_bits(a, b, n) : close_to(a, b, n);
}

void sides_compare(const side *a, const side *b, size_t samples, bool exactly)
{
    size_t n = samples * side_per_sample(a);
    size_t params = cot_params_total(a->params);
    bool outputs = agrees(a->whole_y, b->whole_y, n, exactly);
    bool inputs = agrees(a->whole_dx, b->whole_dx, n, exactly);
    bool weights = agrees(a->whole_grads, b->whole_grads, params, exactly);
    if (!(outputs && inputs && weights))
        print_message("%s, %zu samples: outputs %d, input gradients %d, gradients %d\n",
                      a->fixture->name, samples, outputs, inputs, weights);
    assert_on_every_rank(outputs && inputs && weights);
    bool moved = false;
    for (size_t i = 0; i < params; i++) moved = moved || a->whole_grads[i] != 0;
    assert_on_every_rank(moved);
}
