/** Parts of the suite's files: suite.c (what the members are and how far), suite_study.c (their
 * checkpoints and studies), suite_run.c (the work). */
#ifndef COTERIE_RUN_SUITE_MEMBER_H
#define COTERIE_RUN_SUITE_MEMBER_H

#include <coterie/h5.h>
#include <coterie/suite.h>

/** `<dir>/<name>`, allocated. */
char *suite_member_file(const cot_suite_member *member, const char *name);

/* ---- suite_study.c ---- */

/** Take into the member what is asked for of its study, and check that it can be made. Not
 * collective. Errors: COT_E_USAGE. */
COT_MUST_CHECK cot_status suite_study_plan(cot_suite_member *member,
                                           const cot_specialize_options *asked);
void suite_study_plan_free(cot_suite_member *member);

/** Whether the member has a study of this very checkpoint with all that is asked for; if so, its
 * scores are read. By rank 0 alone. */
bool suite_study_is_current(cot_suite_member *member);

/** Warn of each key by which a finished member was trained otherwise than it would be now: as it is
 * not entered again, nobody else would. By rank 0 alone. */
void suite_warn_of_changes(cot_suite_member *member);

/** Study the member's last checkpoint, unless that is done. Collective over the world.
 * Errors, on every rank alike: COT_E_CREATE when the folder is in use; those of cot_specialize. */
COT_MUST_CHECK cot_status suite_study_make(const cot_comm *world, cot_suite_member *member);

/* ---- suite_result.c ---- */

/** Read the scores of a study. By rank 0 alone. */
void suite_read_result(const cot_h5_file *study, cot_suite_member *member);

#endif
