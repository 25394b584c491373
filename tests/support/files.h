/** Files that tests write: where they are, what they hold, and damage to them. */
#ifndef COTERIE_TEST_FILES_H
#define COTERIE_TEST_FILES_H

#include <coterie/digest.h>

#include <stddef.h>

/** A path in the test's folder (allocated). */
char *path_of(const char *name);

/** The digest of a file. Errors: those of opening and reading it. */
COT_MUST_CHECK cot_status digest_of(const char *path, char hex[COT_DIGEST_SIZE]);

/** The same of a file that must be good. */
void assert_digest(const char *path, char hex[COT_DIGEST_SIZE]);

/** Change one byte of a file, `offset` from its start, or from the first place where `needle` (when
 * not NULL) lies. */
void flip_byte(const char *path, const void *needle, size_t needle_size, size_t offset);

/** Whichever byte of a good file is damaged, one in `stride` tried: either its digest notices, or
 * the byte says nothing. Returns the share that is noticed. */
double assert_damage_shows(const char *path, size_t stride);

#endif
