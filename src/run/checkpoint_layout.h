/** The layout of a checkpoint file, shared by what writes and what reads it
 * (docs/checkpoint.md). */
#ifndef COTERIE_CHECKPOINT_LAYOUT_H
#define COTERIE_CHECKPOINT_LAYOUT_H

#include <coterie/checkpoint.h>
#include <coterie/h5.h>

#define COT_CHECKPOINT_FORMAT "coterie-checkpoint"
enum { COT_CHECKPOINT_VERSION = 1 };

/** Room for the path of a data set. */
enum { COT_CHECKPOINT_PATH_SIZE = 128 };

/** A checkpoint holds one array of all parameters for the values (array 0) and one for each moment
 * (1, 2). */
size_t cot_checkpoint_array_count(const cot_training_state *state);
cot_real *cot_checkpoint_array(const cot_training_state *state, size_t array);

/** "/params" or "/optimizer/<m|v>", and below it the path of a parameter. */
void cot_checkpoint_group(const cot_training_state *state, size_t array,
                          char path[COT_CHECKPOINT_PATH_SIZE]);
void cot_checkpoint_dataset(const cot_training_state *state, size_t array, const cot_param *param,
                            char path[COT_CHECKPOINT_PATH_SIZE]);

/** The data set of a whole parameter: one chunk an expert when sharded. */
cot_h5_shape cot_checkpoint_shape(const cot_param *param);

/** The attributes of /progress. Writing is collective over the ranks that created the file. */
cot_status cot_checkpoint_write_progress(cot_h5_file *file, const cot_progress *progress);
cot_status cot_checkpoint_read_progress(const cot_h5_file *file, cot_progress *progress_out);

/** Format and version are ours. Errors: COT_E_DATA. */
cot_status cot_checkpoint_check_format(const cot_h5_file *file);

/** The file holds the parameters of the registry, no other, and in their shapes; moments too unless
 * `weights_only`.
 * Errors: COT_E_DATA, COT_E_CONFIG. */
cot_status cot_checkpoint_check_layout(const cot_h5_file *file, const cot_training_state *state,
                                       bool weights_only);

#endif
