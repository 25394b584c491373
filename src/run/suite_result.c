/* The numbers that a suite is made for, out of a member's study. */
#include "run/suite_member.h"

#include <coterie/memory.h>

#include <math.h>

/* The score of Algorithm 1 with `keep` experts; NaN where the study has none. */
static double score_at(const cot_h5_file *study, const char *variable, size_t count,
                       const int64_t *keeps, size_t keep)
{
    double *scores = cot_alloc(count, sizeof *scores);
    double found = NAN;
    cot_h5_shape shape = {0};
    if (cot_h5_shape_of(study, variable, &shape) == COT_OK && shape.axis_count == 2 &&
        shape.dims[0] == 1 && shape.dims[1] == count &&
        cot_h5_read_rows(study, variable, COT_H5_FLOAT64, 0, 1, scores) == COT_OK)
        for (size_t i = 0; i < count; i++)
            if (keeps[i] == (int64_t)keep) found = scores[i];
    cot_free(scores);
    return found;
}

void suite_read_result(const cot_h5_file *study, cot_suite_member *member)
{
    bool classes = member->recipe->data.source != COT_DATA_L2NORM;
    const char *variable = classes ? "/accuracy_combine" : "/relative_error_combine";
    cot_h5_shape shape = {0};
    if (cot_h5_kind_of(study, variable) != COT_H5_DATASET ||
        cot_h5_shape_of(study, "/keep", &shape) != COT_OK || shape.axis_count != 1)
        return;
    int64_t *keeps = cot_alloc(shape.dims[0], sizeof *keeps);
    if (cot_h5_read_rows(study, "/keep", COT_H5_INT64, 0, shape.dims[0], keeps) == COT_OK)
        for (size_t i = 0; i < COT_SUITE_SCORES; i++)
            if (member->experts >> i > 0)
                member->scores[i] =
                    score_at(study, variable, shape.dims[0], keeps, member->experts >> i);
    cot_free(keeps);
}
