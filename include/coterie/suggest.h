/** Which known word somebody meant who wrote an unknown one. */
#ifndef COTERIE_SUGGEST_H
#define COTERIE_SUGGEST_H

#include <stddef.h>

/** The fewest insertions, deletions, substitutions and swaps of neighbours that turn one word into
 * the other, no character touched twice (optimal string alignment). Words over 63 bytes count as
 * far from everything. */
size_t cot_edit_distance(const char *a, const char *b);

/** The one of `names` nearest to `word` (the first of several), or NULL when none is near enough to
 * have been meant: more than one edit in three characters. */
const char *cot_nearest(const char *word, const char *const *names, size_t count);

#endif
