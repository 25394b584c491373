/** The options that say what a specialization study shall hold, for the commands that make one. */
#ifndef COTERIE_STUDY_OPTIONS_H
#define COTERIE_STUDY_OPTIONS_H

#include <coterie/specialize.h>

#include <argp.h>

/** What they fill in. */
typedef struct cot_study_input {
    cot_specialize_options study; /**< good once checked */
    size_t *keeps;                /**< owned; lists have room for all that their text can hold */
    double *masses;               /**< owned; NULL: the default */
    bool wants_mass, sweep;
    bool has_seeds; /**< how many, or the first */
} cot_study_input;

/** A child of a command's argp; its input is a cot_study_input that has begun. */
extern const struct argp cot_study_argp;

void cot_study_input_begin(cot_study_input *in);

/** What the options mean together. Errors: COT_E_USAGE. */
COT_MUST_CHECK cot_status cot_study_input_check(const char *command, cot_study_input *in);

/** Release what the options own. */
void cot_study_input_end(cot_study_input *in);

#endif
