/** A file of what a model says of every sample: `eval --predictions`. */
#ifndef COTERIE_PREDICTIONS_H
#define COTERIE_PREDICTIONS_H

#include <coterie/evaluate.h>
#include <coterie/h5.h>

typedef struct cot_predictions cot_predictions;

/** Create an HDF5 file with, for the N samples of a split in the data's order: logits [N,C]
 * float32, labels [N] (int32 classes, or float32 targets) and kept [N,layers,E] uint8, 1 for an
 * expert that the sample used. It appears under `path` when it is complete, where nothing is that
 * training has written. Collective over the world.
 * Errors, on every rank alike: COT_E_CREATE. */
COT_MUST_CHECK cot_status cot_predictions_create(cot_experiment *experiment, cot_split split,
                                                 const char *path,
                                                 cot_predictions **predictions_out);

/** What cot_evaluate is to tell of each batch. */
cot_observer cot_predictions_observer(cot_predictions *predictions);

/** Close and rename into place, or, without `keep`, remove what was written. Collective over the
 * world.
 * Errors, on every rank alike: COT_E_IO. */
COT_MUST_CHECK cot_status cot_predictions_finish(cot_predictions **predictions, bool keep);

#endif
