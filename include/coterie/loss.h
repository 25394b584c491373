#ifndef COTERIE_LOSS_H
#define COTERIE_LOSS_H

typedef enum cot_loss_kind { COT_CROSS_ENTROPY, COT_MEAN_SQUARED_ERROR } cot_loss_kind;

/** What the recipe says under `loss:`. */
typedef struct cot_loss_options {
    cot_loss_kind kind;
    double label_smoothing;
} cot_loss_options;

#endif
