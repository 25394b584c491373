/* The study of one checkpoint at work: what the files specialize*.c share. */
#ifndef COTERIE_SPECIALIZER_H
#define COTERIE_SPECIALIZER_H

#include <coterie/effects.h>
#include <coterie/model_stats.h>
#include <coterie/progress.h>
#include <coterie/specialize.h>
#include <coterie/statistics_file.h>
#include <coterie/statistics_pass.h>
#include <coterie/study.h>
#include <coterie/trained.h>

/* What the options come to for this model. */
typedef struct specialize_plan {
    cot_keeps keeps; /* ascending, E the last */
    bool orders[COT_ORDERS];
    bool exhaustive;
} specialize_plan;

/* Rows of results [keeps]: seconds of a sample, of its experts, of its exchange. */
enum { SPECIALIZE_TIMES = 3 };

typedef struct specializer {
    const cot_specialize_options *options;
    cot_trained *trained;
    cot_experiment *ex; /* the trained model's */
    specialize_plan plan;
    cot_display *display; /* NULL: quiet */
    uint64_t work_done;   /* batches, as for the display */
    cot_statistics_pass *pass;
    cot_study *study;
    cot_effects *effects; /* NULL in a model of several layers */
    cot_real *base;       /* [outputs] */
    cot_real *by_expert;  /* [E,outputs] */
    cot_statistics_file *file;
    float *sample_mass;      /* [b,layers,E] */
    double *mass_scratch;    /* [E] */
    int64_t *sample_numbers; /* [b] */
    const uint8_t **kept;    /* [layers]: one sample's masks */
    uint8_t *all_kept;       /* [E] of 1 */
    double *seconds[SPECIALIZE_TIMES];
    cot_norms *norms;
    cot_model_stats *model_stats;
    cot_catalog catalog;
} specializer;

static inline bool specialize_is_deep(const specializer *s)
{
    return cot_model_layers(s->ex->model) > 1;
}

/* Samples of the split that is studied. */
size_t specialize_samples(const specializer *s);

/* The samples of a split come in batches of equal size but for the last. */
size_t specialize_batch_count(const specializer *s);
cot_batch specialize_batch(const specializer *s, size_t index);

/* The experts' mean combine mass [layers,E] over the split, once the first pass has told it. */
const double *specialize_mass(const specializer *s);

/* Another batch is done, of which part of the work. Collective.
 * Errors, on every rank alike: COT_E_STOPPED when some rank was asked to stop. */
COT_MUST_CHECK cot_status specialize_advance(specializer *s, const char *part);

/* ---- specialize_plan.c ---- */

/* Errors: COT_E_USAGE. */
COT_MUST_CHECK cot_status specialize_plan_create(const cot_specialize_options *options,
                                                 size_t experts, size_t layers,
                                                 specialize_plan *plan_out);
void specialize_plan_free(specialize_plan *plan);

/* The names of the selectors studied, between spaces (allocated). */
char *specialize_selectors(const specializer *s);

/* ---- specialize_file.c ---- */

/* Begun before anything is computed, so that a file that cannot be costs no time.
 * Errors: COT_E_CREATE, COT_E_IO. */
COT_MUST_CHECK cot_status specialize_begin_file(specializer *s, const char *output);
COT_MUST_CHECK cot_status specialize_finish_file(specializer *s, const char *started);

/* ---- specialize_pass.c: passes over the split with all experts ---- */

COT_MUST_CHECK cot_status specialize_observe(specializer *s, cot_evaluation *evaluation_out);

/* The second one, in a model of one layer: the curve of COT_ORDER_COMMON. */
COT_MUST_CHECK cot_status specialize_common(specializer *s);
bool specialize_has_common_pass(const specializer *s);

/* ---- specialize_deep.c: models of several layers, one pass for each subset ---- */

/* The orders' and seeds' outputs with all experts, of the batch at hand. */
void specialize_add_complete(specializer *s, size_t grain, size_t i, const cot_real *outputs);
COT_MUST_CHECK cot_status specialize_deep(specializer *s);
size_t specialize_deep_passes(const specializer *s);

/* ---- specialize_timing.c ---- */

COT_MUST_CHECK cot_status specialize_time(specializer *s);
size_t specialize_timed_batches(const specializer *s);
void specialize_list_times(specializer *s);

#endif
