/** What this build is. */
#ifndef COTERIE_VERSION_H
#define COTERIE_VERSION_H

/** "0.1.0" */
const char *cot_version(void);

/** Version, source revision and compiler: builds with equal text give equal bits. */
const char *cot_build(void);

#endif
