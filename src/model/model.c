#include <coterie/memory.h>
#include <coterie/model.h>
#include <coterie/vector.h>

struct cot_model {
    cot_model_options options;
    cot_model_io io;
    cot_patches patches;
    cot_batching batching;
    const cot_comm *comm;
    cot_moe_shape shape;
    cot_linear *embed;     /* NULL: the tokens are the patches */
    cot_soft_moe **layers; /* [layers] */
    cot_head *head;
    cot_real *images;   /* [b,C,H,W] */
    cot_real *tokens;   /* [b,T,C h w] */
    cot_real **x;       /* [layers + 1] of [b,T,D]: what goes into each layer, and into the head */
    cot_real *dx, *dy;  /* [b,T,D] */
    cot_real *outputs;  /* [b,outputs] */
    cot_grains grains;  /* of the batch at hand */
    cot_ledger *ledger; /* of the last pass */
};

cot_status cot_model_check(const cot_model_options *options, const cot_model_io *io)
{
    if (io->height % options->patch_height == 0 && io->width % options->patch_width == 0)
        return COT_OK;
    return cot_fail(
        COT_E_CONFIG,
        "model.patch_height, model.patch_width: patches of %zux%zu do not divide images of %zux%zu",
        options->patch_height, options->patch_width, io->height, io->width);
}

/* The fixed-parameter suites of arXiv 2409.00879: all experts together have `expert_hidden_total`
 * hidden units. */
static size_t hidden_width(const cot_model_options *options)
{
    if (options->expert_hidden > 0) return options->expert_hidden;
    size_t share = options->expert_hidden_total / options->experts;
    return share > 0 ? share : 1;
}

static cot_patches patches_of(const cot_model_options *options, const cot_model_io *io)
{
    return (cot_patches){io->channels, io->height, io->width, options->patch_height,
                         options->patch_width};
}

cot_moe_shape cot_model_shape_of(const cot_model_options *options, const cot_model_io *io)
{
    const cot_patches patches = patches_of(options, io);
    return (cot_moe_shape){.T = cot_patches_tokens(&patches),
                           .D = options->embed > 0 ? options->embed : cot_patches_width(&patches),
                           .E = options->experts,
                           .P = options->slots,
                           .H = hidden_width(options)};
}

static void create_layers(cot_model *model, size_t grains, size_t capacity, cot_params *params)
{
    const cot_model_options *options = &model->options;
    const cot_moe_shape *shape = &model->shape;
    const size_t layers = options->layers;
    size_t patch_width = cot_patches_width(&model->patches);
    if (options->embed > 0)
        model->embed = cot_linear_create(shape->T, patch_width, shape->D, options->embed_bias,
                                         grains, params, "embed");
    cot_soft_moe_options moe = {.shape = *shape,
                                .router = options->router,
                                .activation = options->activation,
                                .expert_bias = options->expert_bias};
    model->layers = cot_alloc(layers, sizeof(cot_soft_moe *));
    for (size_t i = 0; i < layers; i++)
        model->layers[i] = cot_soft_moe_create(&moe, i, &model->batching, model->comm, params);
    model->head = cot_head_create(options->pool, shape->T, shape->D, model->io.outputs,
                                  options->head_bias, capacity, grains, params);
}

static void take_activations(cot_model *model, size_t capacity)
{
    const cot_model_io *io = &model->io;
    const cot_moe_shape *shape = &model->shape;
    size_t numbers = capacity * shape->T * shape->D;
    model->images = cot_alloc(capacity * io->channels * io->height * io->width, sizeof(cot_real));
    model->tokens =
        cot_alloc(capacity * shape->T * cot_patches_width(&model->patches), sizeof(cot_real));
    model->x = cot_alloc(model->options.layers + 1, sizeof(cot_real *));
    model->x[0] = model->embed != NULL ? cot_alloc(numbers, sizeof(cot_real)) : model->tokens;
    for (size_t i = 1; i <= model->options.layers; i++)
        model->x[i] = cot_alloc(numbers, sizeof(cot_real));
    model->dx = cot_alloc(numbers, sizeof(cot_real));
    model->dy = cot_alloc(numbers, sizeof(cot_real));
    model->outputs = cot_alloc(capacity * io->outputs, sizeof(cot_real));
}

cot_status cot_model_create(const cot_model_options *options, const cot_model_io *io,
                            const cot_batching *batching, const cot_comm *comm, cot_params *params,
                            cot_model **model_out)
{
    COT_TRY(cot_model_check(options, io));
    cot_model *model = cot_alloc(1, sizeof *model);
    model->options = *options;
    model->io = *io;
    model->batching = *batching;
    model->comm = comm;
    model->patches = patches_of(options, io);
    model->shape = cot_model_shape_of(options, io);
    size_t ranks = (size_t)comm->size;
    size_t rank = (size_t)comm->rank;
    size_t capacity = cot_grains_capacity(batching->max_batch, batching->grains, ranks, rank);
    create_layers(model, cot_shard_size(batching->grains, ranks, rank), capacity, params);
    take_activations(model, capacity);
    *model_out = model;
    return COT_OK;
}

void cot_model_destroy(cot_model **model_at)
{
    cot_model *model = *model_at;
    if (model == NULL) return;
    cot_free(model->outputs);
    cot_free(model->dy);
    cot_free(model->dx);
    for (size_t i = 1; i <= model->options.layers; i++) cot_free(model->x[i]);
    if (model->embed != NULL) cot_free(model->x[0]);
    cot_free(model->x);
    cot_free(model->tokens);
    cot_free(model->images);
    cot_head_destroy(&model->head);
    for (size_t i = 0; i < model->options.layers; i++) cot_soft_moe_destroy(&model->layers[i]);
    cot_free(model->layers);
    cot_linear_destroy(&model->embed);
    cot_free(model);
    *model_at = NULL;
}

cot_grains cot_model_grains(const cot_model *model, size_t samples)
{
    return cot_grains_of(samples, model->batching.grains, (size_t)model->comm->size,
                         (size_t)model->comm->rank);
}

size_t cot_model_grain_of(const cot_model *model, size_t i)
{
    const cot_grains *grains = &model->grains;
    size_t place = cot_grains_begin(grains) + i;
    size_t g = grains->first;
    while (g + 1 < grains->end && cot_grain_begin(grains, g + 1) <= place) g++;
    return g - grains->first;
}

cot_real *cot_model_images(const cot_model *model)
{
    return model->images;
}

const cot_real *cot_model_forward(cot_model *model, const cot_pass *pass)
{
    const cot_model_io *io = &model->io;
    const cot_moe_shape *shape = &model->shape;
    model->grains = cot_model_grains(model, pass->samples);
    model->ledger = pass->ledger;
    const size_t samples = cot_grains_size(&model->grains);
    const size_t pixels = io->channels * io->height * io->width;
    for (size_t i = 0; i < samples; i++)
        cot_patches_cut(&model->patches, model->images + i * pixels, model->tokens + i * pixels);
    if (model->embed != NULL)
        cot_linear_forward(model->embed, &model->grains, model->tokens, model->x[0]);
    cot_ledger_mark(pass->ledger, COT_PHASE_DATA);
    for (size_t i = 0; i < model->options.layers; i++) {
        cot_ledger_enter(pass->ledger, i);
        cot_soft_moe_forward(model->layers[i], pass, model->x[i], model->x[i + 1]);
        if (model->options.residual)
            cot_add(samples * shape->T * shape->D, model->x[i], model->x[i + 1]);
        cot_ledger_mark(pass->ledger, COT_PHASE_COMBINE);
    }
    cot_ledger_leave(pass->ledger);
    cot_head_forward(model->head, &model->grains, model->x[model->options.layers], model->outputs);
    cot_ledger_mark(pass->ledger, COT_PHASE_HEAD);
    return model->outputs;
}

void cot_model_backward(cot_model *model, const cot_real *doutputs)
{
    const size_t numbers = cot_grains_size(&model->grains) * model->shape.T * model->shape.D;
    cot_head_backward(model->head, &model->grains, model->x[model->options.layers], doutputs,
                      model->dy);
    cot_ledger_mark(model->ledger, COT_PHASE_HEAD);
    for (size_t i = model->options.layers; i-- > 0;) {
        /* Nobody wants the gradient with respect to the images. */
        cot_real *dx = i > 0 || model->embed != NULL ? model->dx : NULL;
        cot_ledger_enter(model->ledger, i);
        cot_soft_moe_backward(model->layers[i], model->dy, dx);
        if (dx == NULL) break;
        if (model->options.residual) cot_add(numbers, model->dy, dx);
        cot_ledger_mark(model->ledger, COT_PHASE_DISPATCH);
        model->dx = model->dy;
        model->dy = dx;
    }
    cot_ledger_leave(model->ledger);
    if (model->embed != NULL)
        cot_linear_backward(model->embed, &model->grains, model->tokens, model->dy, NULL);
    cot_ledger_mark(model->ledger, COT_PHASE_DATA);
}

const cot_moe_shape *cot_model_shape(const cot_model *model)
{
    return &model->shape;
}

size_t cot_model_layers(const cot_model *model)
{
    return model->options.layers;
}

const cot_soft_moe *cot_model_layer(const cot_model *model, size_t index)
{
    return model->layers[index];
}

void cot_model_set_chunks(cot_model *model, size_t chunks)
{
    for (size_t i = 0; i < model->options.layers; i++)
        cot_soft_moe_set_chunks(model->layers[i], chunks);
}

size_t cot_model_outputs(const cot_model *model)
{
    return model->io.outputs;
}

const cot_head *cot_model_head(const cot_model *model)
{
    return model->head;
}

const cot_real *cot_model_residual(const cot_model *model, size_t i)
{
    if (!model->options.residual) return NULL;
    return model->x[model->options.layers - 1] + i * model->shape.T * model->shape.D;
}
