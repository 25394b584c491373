/** Routed samples drawn by chance, cut over ranks as an evaluation cuts a split, for tests of
 * statistics; and what tests want of the variables that come out. */
#ifndef COTERIE_TEST_SAMPLES_H
#define COTERIE_TEST_SAMPLES_H

#include <coterie/comm.h>
#include <coterie/expert_order.h>
#include <coterie/variable.h>

enum {
    DRAWN_TOKENS = 3,
    DRAWN_EXPERTS = 6,
    DRAWN_SLOTS = 2, /* of an expert */
    DRAWN_ALL_SLOTS = DRAWN_EXPERTS * DRAWN_SLOTS,
    DRAWN_CLASSES = 4,
    DRAWN_EMPTY_CLASS = 2, /* no sample is of it */
    DRAWN_SAMPLES = 45,    /* two batches, and a last one */
    DRAWN_BATCH = 18,
    DRAWN_GRAINS = 8
};

/** One sample; the view's pointers lead into it. */
typedef struct drawn_sample {
    cot_sample_view view;
    cot_real combine[DRAWN_TOKENS * DRAWN_ALL_SLOTS], dispatch[DRAWN_TOKENS * DRAWN_ALL_SLOTS];
    cot_real norms[DRAWN_ALL_SLOTS];
    cot_real base[DRAWN_CLASSES], effects[DRAWN_EXPERTS * DRAWN_CLASSES];
    cot_loss_options loss;
} drawn_sample;

/** The same wherever it is drawn. With `classes`, of label smoothing 0.1; else a value. */
void draw_sample(size_t index, size_t layer, bool classes, drawn_sample *sample);

/** Grains of a batch on this rank of `comm`. */
size_t drawn_grains_here(const cot_comm *comm);

/** Call `visit` for each sample of the split that falls to this rank, in order. */
typedef void drawn_visit(void *context, size_t grain, size_t index);
void visit_drawn(const cot_comm *comm, drawn_visit *visit, void *context);

/** Whether this number of ranks gives the bits of one rank. */
bool ranks_divide_grains(const cot_comm *comm);

/** Numbers in one record of a variable. */
size_t variable_size(const cot_catalog *catalog, const cot_variable *variable);

/** The numbers of a variable that must be there. */
const double *reals_of(const cot_catalog *catalog, const char *name);
const int64_t *wholes_of(const cot_catalog *catalog, const char *name);

/** Whether both hold the same variables with the same bits, or, unless `exactly`, with reals that
 * differ by rounding alone. */
bool catalogs_agree(const cot_catalog *left, const cot_catalog *right, bool exactly);

#endif
