/** report.html: a page about a run or a suite, made by the Python program tools/report. */
#ifndef COTERIE_REPORT_H
#define COTERIE_REPORT_H

#include <coterie/comm.h>

/** Make `<folder>/report.html` of a run folder or a suite folder, and say in a line of the log
 * where it is, or why there is none and how to get it; a failure is no more than that line. Rank 0
 * does it, on the others the call does nothing.
 *
 * The interpreter is COTERIE_PYTHON, or else Debian's /usr/bin/python3, whose packages may well be
 * better stocked than those of the first python3 on PATH. The program is COTERIE_REPORT, or else
 * the one beside the build folder, or else the installed one. */
void cot_report(const cot_comm *comm, const char *folder);

#endif
