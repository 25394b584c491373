/* Every key of a recipe, each described once. Defaults are those of the MNIST model of arXiv
 * 2409.00879 where it has one. Upper limits keep products of sizes inside 64 bits; the generator's
 * 32-bit epoch bounds epochs and steps. */
#include "recipe_keys.h"

#include <coterie/memory.h>
#include <coterie/suggest.h>

#include <math.h>
#include <string.h>

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "one type of key serves both");

/* Name, type and place of a key; the type is that of the field, so the two cannot disagree. */
#define KEY(key_name, field)                                                                       \
    .name = (key_name), .offset = offsetof(cot_recipe, field),                                     \
    .type = _Generic(((cot_recipe *)0)->field,                                                     \
        uint64_t: COT_KEY_UNSIGNED,                                                                \
        double: COT_KEY_REAL,                                                                      \
        bool: COT_KEY_BOOL,                                                                        \
        unsigned int: COT_KEY_ENUM,                                                                \
        const char *: COT_KEY_STRING,                                                              \
        cot_counts: COT_KEY_COUNTS)

#define SIZE_FROM(low_end) .least = (low_end), .most = 1000000
#define COUNT_FROM(low_end) .least = (low_end), .most = 1000000000
#define POSITIVE .low = 0, .low_open = true, .high = INFINITY
#define NOT_NEGATIVE .low = 0, .high = INFINITY
#define FRACTION .low = 0, .high = 1
#define BELOW_ONE .low = 0, .high = 1, .high_open = true
#define LONGEST_PATH 4095

static const char *const model_words[] = {[COT_MODEL_PATCH] = "patch", NULL};
static const char *const activation_words[] = {[COT_RELU] = "relu", [COT_GELU] = "gelu", NULL};
static const char *const pool_words[] = {
    [COT_POOL_FLATTEN] = "flatten", [COT_POOL_MEAN] = "mean", NULL};
static const char *const normalize_words[] = {[COT_NORMALIZE_NONE] = "none",
                                              [COT_NORMALIZE_LOGITS] = "logits",
                                              [COT_NORMALIZE_INPUTS] = "inputs",
                                              NULL};
static const char *const init_words[] = {[COT_ROUTER_UNIFORM] = "uniform",
                                         [COT_ROUTER_LECUN_NORMAL] = "lecun_normal",
                                         [COT_ROUTER_ZEROS] = "zeros",
                                         NULL};
static const char *const loss_words[] = {
    [COT_CROSS_ENTROPY] = "cross_entropy", [COT_MEAN_SQUARED_ERROR] = "mean_squared_error", NULL};
static const char *const source_words[] = {
    [COT_DATA_GLYPHS] = "glyphs", [COT_DATA_IDX] = "idx", [COT_DATA_L2NORM] = "l2norm", NULL};
static const char *const optimizer_words[] = {
    [COT_SGD] = "sgd", [COT_ADAM] = "adam", [COT_ADAMW] = "adamw", NULL};
static const char *const exchange_words[] = {
    [COT_PLAN_SLOTS] = "slots", [COT_PLAN_TOKENS] = "tokens", [COT_PLAN_AUTO] = "auto", NULL};
static const char *const hidden_words[] = {
    [COT_HIDDEN_KEPT] = "keep", [COT_HIDDEN_RECOMPUTED] = "recompute", NULL};
static const char *const schedule_words[] = {
    [COT_CONSTANT] = "constant", [COT_COSINE] = "cosine", [COT_STEP] = "step", NULL};
static const char *const level_words[] = {
    [COT_STATS_MASSES] = "masses", [COT_STATS_ALL] = "all", NULL};

const cot_recipe_section cot_recipe_sections[] = {
    {"model", "what is trained: patches, Soft MoE layers, head"},
    {"router", "how tokens become slots, and slots tokens again"},
    {"loss", "what is minimized"},
    {"data", "what is learned from"},
    {"optimizer", "how gradients become updates"},
    {"schedule", "the learning rate over the steps of the whole run"},
    {"train", "batches, and how long"},
    {"parallel", "how the work is divided"},
    {"checkpoint", "when the state is saved; it always is at the end"},
    {"stats", "what stats.h5 records of the experts while they are trained"},
    {"suite", "the runs that `coterie suite` makes of one recipe; other commands take no notice"},
    {"output", "where results go"},
};
const size_t cot_recipe_section_count = sizeof cot_recipe_sections / sizeof cot_recipe_sections[0];

/* clang-format off */
const cot_recipe_key cot_recipe_keys[] = {
    {KEY("seed", seed), .fallback = "0", .most = UINT64_MAX,
     .meaning = "Seed of initial weights, shuffling and router noise."},

    {KEY("model.kind", model.kind), .fallback = "patch", .words = model_words,
     .meaning = "Architecture: image patches, Soft MoE layers, a linear head."},
    {KEY("model.patch_height", model.patch_height), .fallback = "14", SIZE_FROM(1),
     .meaning = "Height of a patch in pixels; divides that of the image."},
    {KEY("model.patch_width", model.patch_width), .fallback = "14", SIZE_FROM(1),
     .meaning = "Width of a patch in pixels; divides that of the image."},
    {KEY("model.embed", model.embed), .fallback = "0", SIZE_FROM(0),
     .meaning = "Token width D of a linear embedding of the patches; 0: patches are the tokens."},
    {KEY("model.embed_bias", model.embed_bias), .fallback = "false",
     .meaning = "Whether the embedding has a bias."},
    {KEY("model.layers", model.layers), .fallback = "1", SIZE_FROM(1),
     .meaning = "Soft MoE layers, one after the other."},
    {KEY("model.residual", model.residual), .fallback = "false",
     .meaning = "Whether a layer's input is added to its output."},
    {KEY("model.experts", model.experts), .fallback = "16", SIZE_FROM(1),
     .meaning = "Experts E of a layer; any number on any number of ranks."},
    {KEY("model.slots", model.slots), .fallback = "1", SIZE_FROM(1),
     .meaning = "Slots P of an expert."},
    {KEY("model.expert_hidden", model.expert_hidden), .fallback = "0", SIZE_FROM(0),
     .meaning = "Hidden width H of one expert; 0: from model.expert_hidden_total. "
                "Exactly one of the two is above 0."},
    {KEY("model.expert_hidden_total", model.expert_hidden_total), .fallback = "0", COUNT_FROM(0),
     .meaning = "Hidden width of all experts of a layer together, which about fixes their parameter "
                "count: one expert gets total / experts, rounded down, at least 1."},
    {KEY("model.activation", model.activation), .fallback = "relu", .words = activation_words,
     .meaning = "Activation of the experts; gelu is the exact one."},
    {KEY("model.expert_bias", model.expert_bias), .fallback = "false",
     .meaning = "Whether both layers of an expert have biases."},
    {KEY("model.pool", model.pool), .fallback = "flatten", .words = pool_words,
     .meaning = "What the head sees: all tokens side by side, or their mean."},
    {KEY("model.head_bias", model.head_bias), .fallback = "false",
     .meaning = "Whether the head has a bias."},

    {KEY("router.normalize", model.router.normalize),
     .fallback = "inputs", .words = normalize_words,
     .meaning = "What is L2-normalized: nothing; tokens and router columns for the logits "
                "(arXiv 2308.00951); or the tokens that are mixed as well (the code of "
                "arXiv 2409.00879)."},
    {KEY("router.init", model.router.init), .fallback = "uniform", .words = init_words,
     .meaning = "Initial router matrix: uniform on [-1, 1), normal with variance 1/D, or zeros "
                "(only with router.normalize none)."},
    {KEY("router.freeze", model.router.freeze), .fallback = "false",
     .meaning = "Whether the router matrix and scale keep their initial values."},
    {KEY("router.uniform_dispatch", model.router.uniform_dispatch), .fallback = "false",
     .meaning = "Whether every slot takes the plain mean of the tokens."},
    {KEY("router.uniform_combine", model.router.uniform_combine), .fallback = "false",
     .meaning = "Whether every token takes the plain mean of the slot outputs."},
    {KEY("router.noise", model.router.noise), .fallback = "0", NOT_NEGATIVE,
     .meaning = "Standard deviation of the Gaussian noise on the logits while training."},

    {KEY("loss.kind", loss.kind), .fallback = "cross_entropy", .words = loss_words,
     .meaning = "Cross-entropy for classes (glyphs, idx), mean squared error for values (l2norm)."},
    {KEY("loss.label_smoothing", loss.label_smoothing), .fallback = "0", BELOW_ONE,
     .meaning = "Share of the target spread evenly over all classes; cross_entropy only."},

    {KEY("data.source", data.source), .fallback = "glyphs", .words = source_words,
     .meaning = "glyphs: digits drawn on the fly; idx: MNIST-style files; "
                "l2norm: normal vectors and their norm, fresh in every epoch."},
    {KEY("data.path", data.path), .fallback = "", .most = LONGEST_PATH,
     .meaning = "idx: folder of the four files, plain or .gz; a relative path starts at the folder "
                "that the program is run in."},
    {KEY("data.seed", data.seed), .fallback = "0", .most = UINT64_MAX,
     .meaning = "glyphs and l2norm: which samples are drawn."},
    {KEY("data.train_samples", data.train_samples), .fallback = "0", COUNT_FROM(0),
     .meaning = "Training samples, of which validation takes its share; idx: only the first so "
                "many, 0 for all; the other sources need some."},
    {KEY("data.test_samples", data.test_samples), .fallback = "0", COUNT_FROM(0),
     .meaning = "Test samples; idx: only the first so many, 0 for all; the other sources need "
                "some."},
    {KEY("data.validation", data.validation), .fallback = "0", COUNT_FROM(0),
     .meaning = "Samples cut from the end of the training data (l2norm: drawn besides), to choose "
                "the best checkpoint by; 0: the test samples choose."},
    {KEY("data.mean", data.mean), .fallback = "0.1307", .low = -INFINITY, .high = INFINITY,
     .meaning = "Images: x = (pixel - mean) / deviation, with pixels from 0 to 1."},
    {KEY("data.deviation", data.deviation), .fallback = "0.3081", POSITIVE,
     .meaning = "Images: the deviation of that formula."},
    {KEY("data.tokens", data.tokens), .fallback = "4", SIZE_FROM(1),
     .meaning = "l2norm: vectors T of a sample, the height of its image."},
    {KEY("data.width", data.width), .fallback = "8", SIZE_FROM(1),
     .meaning = "l2norm: width D of a vector, the width of its image."},

    {KEY("optimizer.kind", optimizer.kind), .fallback = "adam", .words = optimizer_words,
     .meaning = "Update rule; adamw is adam with decoupled weight decay."},
    {KEY("optimizer.learning_rate", optimizer.learning_rate), .fallback = "0.001", NOT_NEGATIVE,
     .meaning = "Learning rate, before the schedule."},
    {KEY("optimizer.momentum", optimizer.momentum), .fallback = "0", BELOW_ONE,
     .meaning = "sgd: momentum."},
    {KEY("optimizer.beta1", optimizer.beta1), .fallback = "0.9", BELOW_ONE,
     .meaning = "adam, adamw: decay of the mean of the gradient."},
    {KEY("optimizer.beta2", optimizer.beta2), .fallback = "0.999", BELOW_ONE,
     .meaning = "adam, adamw: decay of the mean of its square."},
    {KEY("optimizer.epsilon", optimizer.epsilon), .fallback = "1.0e-8", .low = 1e-30,
     .high = INFINITY, /* a float above 0 too */
     .meaning = "adam, adamw: added to the root of the mean square."},
    {KEY("optimizer.weight_decay", optimizer.weight_decay), .fallback = "0", NOT_NEGATIVE,
     .meaning = "Weight decay, not on biases, norms and scales; sgd and adam add it to the "
                "gradient, adamw keeps it apart."},
    {KEY("optimizer.clip_norm", optimizer.clip_norm), .fallback = "0", NOT_NEGATIVE,
     .meaning = "Largest L2 norm of the whole gradient, over all ranks; 0: no limit."},

    {KEY("schedule.kind", schedule.kind), .fallback = "constant", .words = schedule_words,
     .meaning = "Course of the learning rate after warm-up."},
    {KEY("schedule.warmup_steps", schedule.warmup_steps), .fallback = "0", COUNT_FROM(0),
     .meaning = "Steps of a linear rise from 0 at the start."},
    {KEY("schedule.final", schedule.final), .fallback = "0", FRACTION,
     .meaning = "cosine: fraction of the learning rate left at the end."},
    {KEY("schedule.every", schedule.every), .fallback = "0", COUNT_FROM(0),
     .meaning = "step: steps between two drops."},
    {KEY("schedule.factor", schedule.factor),
     .fallback = "0.1", .low = 0, .low_open = true, .high = 1,
     .meaning = "step: what a drop multiplies the learning rate by."},

    {KEY("train.batch", train.batch), .fallback = "256", COUNT_FROM(1),
     .meaning = "Samples B of a step, over all ranks."},
    {KEY("train.accumulate", train.accumulate), .fallback = "0", COUNT_FROM(0),
     .meaning = "Parts that a batch is computed in, one after the other, to save memory. 0: one; "
                "or by the exchange plan slots, 2, 4 or more, until the cache holds a part's slots "
                "(2^20 numbers, in and out), while a part of a full batch leaves an expert as many "
                "rows as it is wide, and a grain 8 samples."},
    {KEY("train.activations", train.activations), .fallback = "keep", .words = hidden_words,
     .flags = COT_KEY_NEUTRAL,
     .meaning = "keep: the experts' hidden values stay in memory until the backward pass. "
                "recompute: it computes them again, expert by expert, which is one product of an "
                "expert more beside six (by tokens, two beside seven). Results are the same bits."},
    {KEY("train.epochs", train.epochs), .fallback = "10", COUNT_FROM(1), .flags = COT_KEY_LENGTH,
     .meaning = "Epochs of a run."},
    {KEY("train.steps", train.steps), .fallback = "0", COUNT_FROM(0), .flags = COT_KEY_LENGTH,
     .meaning = "Steps of a run, in place of epochs; 0: train.epochs counts."},
    {KEY("train.shuffle", train.shuffle), .fallback = "true",
     .meaning = "Whether each epoch takes the samples in a new random order."},
    {KEY("train.drop_last", train.drop_last), .fallback = "false",
     .meaning = "Whether an epoch's last batch is left out when it is not full."},
    {KEY("train.eval_every", train.eval_every),
     .fallback = "1", COUNT_FROM(1), .flags = COT_KEY_NEUTRAL,
     .meaning = "Epochs between two evaluations; the end of the run has one too."},

    {KEY("parallel.grains", parallel.grains), .fallback = "8", .least = 1, .most = COT_MOST_GRAINS,
     .meaning = "Parts G of a batch, a power of two: results are the same bits on every number "
                "of ranks that divides it; ranks beyond it hold experts only."},
    {KEY("parallel.reproducible", parallel.reproducible), .fallback = "true",
     .meaning = "Whether results do not depend on the number of ranks, to the bit."},
    {KEY("parallel.expert_replicas", parallel.expert_replicas), .fallback = "1", SIZE_FROM(1),
     .meaning = "Groups Q that the ranks form, each holding all experts; divides their number."},
    {KEY("parallel.exchange", parallel.exchange), .fallback = "auto", .words = exchange_words,
     .meaning = "What travels between samples and experts while training: slots; or tokens to all "
                "owners and partial outputs back; auto takes tokens where a sample has more than "
                "eight times as many slots as tokens or, unless parallel.reproducible, what is "
                "faster as timed at the start."},
    {KEY("parallel.shared_memory", parallel.shared_memory), .fallback = "true",
     .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "Whether the ranks of an expert group that are on one node work on the same slot "
                "buffers, instead of sending slots by messages; results are the same bits."},
    {KEY("parallel.node_ranks", parallel.node_ranks), .fallback = "0", SIZE_FROM(0),
     .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "How many consecutive ranks share memory at the most; 0: all those of a node. "
                "Results are the same bits."},
    {KEY("parallel.chunks", parallel.chunks), .fallback = "0", SIZE_FROM(0),
     .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "Chunks of experts in which slots travel between nodes, some on their way while "
                "others are computed; 0: the fastest of 1, 2, 4 and 8 in the first steps. Results "
                "are the same bits."},
    {KEY("parallel.blas_threads", parallel.blas_threads), .fallback = "1", .least = 1, .most = 1024,
     .meaning = "OpenBLAS threads of a rank."},

    {KEY("checkpoint.every_epochs", checkpoint.every_epochs), .fallback = "1", COUNT_FROM(0),
     .flags = COT_KEY_NEUTRAL, .meaning = "Epochs between two checkpoints; 0: not by epochs."},
    {KEY("checkpoint.every_steps", checkpoint.every_steps), .fallback = "0", COUNT_FROM(0),
     .flags = COT_KEY_NEUTRAL, .meaning = "Steps between two checkpoints; 0: not by steps."},
    {KEY("checkpoint.every_minutes", checkpoint.every_minutes), .fallback = "0", NOT_NEGATIVE,
     .flags = COT_KEY_NEUTRAL, .meaning = "Minutes between two checkpoints; 0: not by time."},
    {KEY("checkpoint.keep", checkpoint.keep),
     .fallback = "3", COUNT_FROM(0), .flags = COT_KEY_NEUTRAL,
     .meaning = "Newest checkpoints that are kept, besides the best; 0: all."},

    {KEY("stats.every", stats.every), .fallback = "1", COUNT_FROM(0), .flags = COT_KEY_NEUTRAL,
     .meaning = "Evaluations between two records; the last one of a run is recorded too; "
                "0: no records."},
    {KEY("stats.level", stats.level),
     .fallback = "all", .words = level_words, .flags = COT_KEY_NEUTRAL,
     .meaning = "Which variables: those that follow from the combine masses alone, or also "
                "entropies, similarities and norms."},
    {KEY("stats.keep", stats.keep), .fallback = "[]", SIZE_FROM(1), .flags = COT_KEY_NEUTRAL,
     .meaning = "Subset sizes K, for the share of samples in whose top K an expert is; "
                "[]: E/8, E/4, E/2."},

    {KEY("suite.experts", suite.experts),
     .fallback = "[]", SIZE_FROM(1), .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "Numbers of experts, one run for each; []: model.experts alone."},
    {KEY("suite.seeds", suite.seeds),
     .fallback = "[]", .most = UINT64_MAX, .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "Seeds, one run for each and each number of experts; []: seed alone."},

    {KEY("output.dir", output.dir), .fallback = "run", .least = 1, .most = LONGEST_PATH,
     .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "Run folder; a relative path starts at the folder that the program is run in."},
    {KEY("output.log_every", output.log_every),
     .fallback = "50", COUNT_FROM(1), .flags = COT_KEY_NEUTRAL,
     .meaning = "Steps between two `step` events in metrics.jsonl."},
    {KEY("output.report", output.report),
     .fallback = "true", .flags = COT_KEY_LOCAL | COT_KEY_NEUTRAL,
     .meaning = "Whether the page report.html is made at the end, where Python can."},
};
/* clang-format on */

enum { KEY_COUNT = sizeof cot_recipe_keys / sizeof cot_recipe_keys[0] };
const size_t cot_recipe_key_count = KEY_COUNT;

const cot_recipe_key *cot_recipe_key_find(const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(cot_recipe_keys[i].name, name) == 0) return &cot_recipe_keys[i];
    return NULL;
}

const cot_recipe_section *cot_recipe_section_find(const char *name)
{
    for (size_t i = 0; i < cot_recipe_section_count; i++)
        if (strcmp(cot_recipe_sections[i].name, name) == 0) return &cot_recipe_sections[i];
    return NULL;
}

const cot_recipe_section *cot_recipe_section_of(const cot_recipe_key *key)
{
    size_t length = strcspn(key->name, ".");
    for (size_t i = 0; i < cot_recipe_section_count; i++) {
        const char *name = cot_recipe_sections[i].name;
        if (strlen(name) == length && strncmp(name, key->name, length) == 0)
            return &cot_recipe_sections[i];
    }
    return NULL;
}

static const char *last_word(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL ? dot + 1 : name;
}

const char *cot_recipe_key_word(const cot_recipe_key *key)
{
    return last_word(key->name);
}

/* The right word in the wrong section, else the nearest name, else the nearest word in any
 * section. */
static const char *meant_name(const char *name)
{
    enum { NAMES = KEY_COUNT + sizeof cot_recipe_sections / sizeof cot_recipe_sections[0] };
    const char *names[NAMES];
    const char *words[KEY_COUNT];
    for (size_t i = 0; i < KEY_COUNT; i++) {
        names[i] = cot_recipe_keys[i].name;
        words[i] = cot_recipe_key_word(&cot_recipe_keys[i]);
        if (strcmp(words[i], last_word(name)) == 0) return names[i];
    }
    for (size_t i = KEY_COUNT; i < NAMES; i++) names[i] = cot_recipe_sections[i - KEY_COUNT].name;
    const char *nearest = cot_nearest(name, names, NAMES);
    if (nearest != NULL) return nearest;
    const char *word = cot_nearest(last_word(name), words, KEY_COUNT);
    for (size_t i = 0; word != NULL && i < KEY_COUNT; i++)
        if (words[i] == word) return names[i];
    return NULL;
}

cot_status cot_recipe_unknown_key(const char *where, const char *name)
{
    char *excerpt = cot_recipe_excerpt(name);
    const char *meant = meant_name(name);
    if (meant != NULL)
        cot_fail(COT_E_CONFIG, "%s: unknown key '%s'; did you mean '%s'?", where, excerpt, meant);
    else
        cot_fail(COT_E_CONFIG, "%s: unknown key '%s'; 'coterie help recipe' lists all", where,
                 excerpt);
    cot_free(excerpt);
    return COT_E_CONFIG;
}
