/** How a file comes into place: complete, or not at all.
 *
 * Its content is written under another name first, put on the disk, looked at again, and then
 * renamed; until then whatever had the name keeps it. */
#ifndef COTERIE_REPLACE_H
#define COTERIE_REPLACE_H

#include <coterie/status.h>

/** Whether a file that somebody named may be written at `path`: what training has written is never
 * replaced, nor anything but a regular file. What a mistaken name would cost. Not collective.
 * Errors: COT_E_CREATE. */
COT_MUST_CHECK cot_status cot_replace_check(const char *path);

/** The name to write under (allocated). */
char *cot_replace_partial(const char *path);

/** Put what this process wrote on the disk: on every rank, for what a rank of another node wrote
 * lies in that node's memory. Not collective.
 * Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_replace_sync(const char *partial);

/** Rename, and make sure that the name survives a crash of the machine. Not collective.
 * Errors: COT_E_IO. */
COT_MUST_CHECK cot_status cot_replace_publish(const char *partial, const char *path);

#endif
