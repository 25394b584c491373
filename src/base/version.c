#include <coterie/version.h>

const char *cot_version(void)
{
    return COTERIE_VERSION;
}

const char *cot_build(void)
{
    return COTERIE_VERSION " " COTERIE_REVISION " " COTERIE_COMPILER;
}
