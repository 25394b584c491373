#include <coterie/log.h>
#include <coterie/status.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_SIZE = 1024 };

/* The pending failure of this process, as errno is: one line, kept until somebody prints it. */
static char pending[MESSAGE_SIZE];
static void (*abort_handler)(int exit_code);

cot_status cot_fail(cot_status status, const char *format, ...)
{
    if (pending[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(pending, sizeof pending, format, args);
        va_end(args);
    }
    return status;
}

const char *cot_failure(void)
{
    return pending[0] != '\0' ? pending : NULL;
}

void cot_failure_clear(void)
{
    pending[0] = '\0';
}

void cot_set_abort_handler(void (*handler)(int exit_code))
{
    abort_handler = handler;
}

void cot_abort(const char *file, int line, const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    cot_error("%s:%d: %s", file, line, message);
    if (abort_handler != NULL) abort_handler(COT_E_INTERNAL);
    exit(COT_E_INTERNAL);
}
