/** The recipe: every setting of a run, read from YAML, checked against one table of keys.
 *
 * The table (src/run/recipe_keys.c) describes each key once: name, type, default, range, meaning.
 * Parsing, `--set`, `coterie help recipe`, docs/recipe.md and the copy in a checkpoint all come
 * from it. */
#ifndef COTERIE_RECIPE_H
#define COTERIE_RECIPE_H

#include <coterie/comm.h>
#include <coterie/dataset.h>
#include <coterie/loss.h>
#include <coterie/model.h>
#include <coterie/optimizer.h>
#include <coterie/schedule.h>

#include <stdio.h>

/** What a record of stats.h5 holds. */
typedef enum cot_stats_level {
    COT_STATS_MASSES, /**< combine masses and what follows from them */
    COT_STATS_ALL     /**< also entropies, similarities, norms */
} cot_stats_level;

/** The most grains that a batch can be cut into. */
enum { COT_MOST_GRAINS = 65536 };

/** A list of whole numbers. */
typedef struct cot_counts {
    size_t count;
    uint64_t *values;
} cot_counts;

typedef struct cot_recipe {
    uint64_t seed;
    cot_model_options model; /* router settings are model.router, their keys router.* */
    cot_loss_options loss;
    cot_dataset_options data;
    cot_optimizer_options optimizer;
    cot_schedule schedule;
    struct {
        size_t batch;      /**< samples a step, over all ranks */
        size_t accumulate; /**< micro-batches that a batch is cut into; 0: by its slots */
        cot_hidden_rows activations;
        size_t epochs; /**< stop after so many epochs ... */
        size_t steps;  /**< ... or, when not 0, after so many steps */
        bool shuffle, drop_last;
        size_t eval_every; /**< epochs between two evaluations */
    } train;
    struct {
        size_t grains; /**< G, a power of two */
        bool reproducible;
        size_t expert_replicas; /**< Q */
        cot_plan exchange;
        bool shared_memory; /**< ranks of one node share slot buffers */
        size_t node_ranks;  /**< the most of them that do; 0: all */
        size_t chunks;      /**< in which slots travel; 0: as measured */
        size_t blas_threads;
    } parallel;
    struct {
        size_t every_epochs, every_steps;
        double every_minutes;
        size_t keep;
    } checkpoint;
    struct {
        size_t every; /**< evaluations between two records; 0: no statistics */
        cot_stats_level level;
        cot_counts keep; /**< subset sizes of top_share; none: E/8, E/4, E/2 */
    } stats;
    struct {
        cot_counts experts; /**< one run for each number of experts ... */
        cot_counts seeds;   /**< ... and each seed */
    } suite;
    struct {
        const char *dir;
        size_t log_every; /**< steps between two `step` events */
        bool report;      /**< whether a page is made at the end */
    } output;
} cot_recipe;

/** One line of `--set`: "model.experts=64". */
typedef const char *cot_override;

/** Parse recipe text (YAML; no text gives the defaults), then the overrides in their order, then
 * check what the keys must satisfy together. `origin` (a file name) stands in messages. Strings
 * belong to the recipe. Not collective.
 * Errors: COT_E_CONFIG with origin:line, the key, what is wrong and what would be right. */
COT_MUST_CHECK cot_status cot_recipe_parse(const char *text, const char *origin,
                                           size_t override_count, const cot_override *overrides,
                                           cot_recipe **recipe_out);
void cot_recipe_destroy(cot_recipe **recipe);

/** The resolved recipe as YAML with every key, in the table's order (allocated). What it prints,
 * cot_recipe_parse reads back to the same recipe. With `portable`, keys that say where a run lives
 * rather than what it computes (output.dir) are left out: this is the copy that goes into
 * checkpoints. */
char *cot_recipe_print(const cot_recipe *recipe, bool portable);

/** Load a recipe file for a command: rank 0 reads it, every rank parses the same text. Collective
 * over the world.
 * Errors, on every rank alike and printed: COT_E_NOINPUT for a file that is not there or a folder,
 * COT_E_IO when reading it fails, COT_E_DATA when it is over 64 KiB, COT_E_CONFIG as for
 * cot_recipe_parse. */
COT_MUST_CHECK cot_status cot_recipe_load(const cot_comm *world, const char *path,
                                          size_t override_count, const cot_override *overrides,
                                          cot_recipe **recipe_out);

/** The keys whose values differ between two recipes: `line` is "train.batch: 256 -> 128", called
 * for each key that may change what is computed. Not compared are keys that say only where, how
 * long or how often: output.*, checkpoint.*, stats.*, suite.*, train.eval_every, and, unless a
 * schedule is a cosine, which stretches over the run, train.epochs and train.steps. */
void cot_recipe_compare(const cot_recipe *before, const cot_recipe *now,
                        void (*differs)(void *context, const char *line), void *context);

/** `coterie help recipe`: every key with type, default, range and meaning; with `markdown`, the
 * page docs/recipe.md. */
void cot_recipe_help(FILE *out, bool markdown);

#endif
