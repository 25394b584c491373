/* The IDX format of MNIST: four bytes that say the type (unsigned bytes) and the number of axes,
 * the axes' lengths as big-endian 32-bit numbers, then the bytes. A file may be compressed with
 * gzip; its name then ends in ".gz". */
#ifndef COTERIE_DATA_IDX_FORMAT_H
#define COTERIE_DATA_IDX_FORMAT_H

#include <coterie/status.h>

#include <stddef.h>
#include <stdint.h>

enum {
    COT_IDX_LABELS = 0x00000801, /**< first four bytes of a file of labels [N] */
    COT_IDX_IMAGES = 0x00000803, /**< of a file of images [N,H,W] */
    COT_IDX_WORD = 4,            /**< bytes of a number in the header */
    COT_IDX_MAX_AXES = 3,
    COT_IDX_MAX_SIDE = 4096, /**< pixels; anything larger is a damaged header */
    COT_IDX_CLASSES = 10     /**< MNIST and the sets that imitate it */
};

/** The files of one split. */
typedef struct cot_idx_names {
    const char *images, *labels;
} cot_idx_names;

static const cot_idx_names cot_idx_train = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"};
static const cot_idx_names cot_idx_test = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

/** What a file holds: bytes [dims[0], dims[1], ...], allocated. */
typedef struct cot_idx_array {
    size_t dims[COT_IDX_MAX_AXES];
    size_t item_size; /**< bytes of one index of the first axis */
    uint8_t *bytes;
    char *path; /**< the file that was read, for messages */
} cot_idx_array;

/** Read `folder/name`, or `folder/name.gz` where there is no such file, all of it, and check it
 * against its header.
 * Errors: COT_E_NOINPUT, COT_E_DATA or COT_E_IO with one line that names the file. */
COT_MUST_CHECK cot_status cot_idx_read(const char *folder, const char *name, uint32_t magic,
                                       cot_idx_array *array_out);
void cot_idx_free(cot_idx_array *array);

#endif
