#include <coterie/log.h>

#include <stdarg.h>
#include <stdio.h>

enum { LINE_SIZE = 2048 };

static int log_rank;
static int log_size = 1;
static bool log_quiet;
static bool live_line; /* one stands, and the cursor behind it */

void cot_log_live(const char *line)
{
    if (line == NULL && !live_line) return;
    fprintf(stderr, "\r\033[K%s", line != NULL ? line : "");
    fflush(stderr);
    live_line = line != NULL;
}

/* One write a line, so that the lines of several ranks do not mix. */
static void print_line(const char *prefix, const char *format, va_list args)
{
    char line[LINE_SIZE];
    int used = snprintf(line, sizeof line, "coterie: %s", prefix);
    vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    cot_log_live(NULL);
    fprintf(stderr, "%s\n", line);
    fflush(stderr);
}

void cot_log_set_rank(int rank, int size)
{
    log_rank = rank;
    log_size = size;
}

void cot_log_set_quiet(bool quiet)
{
    log_quiet = quiet;
}

void cot_info(const char *format, ...)
{
    if (log_rank != 0 || log_quiet) return;
    va_list args;
    va_start(args, format);
    print_line("", format, args);
    va_end(args);
}

void cot_warn(const char *format, ...)
{
    if (log_rank != 0) return;
    va_list args;
    va_start(args, format);
    print_line("warning: ", format, args);
    va_end(args);
}

void cot_error(const char *format, ...)
{
    char prefix[48] = "error: ";
    if (log_size > 1) snprintf(prefix, sizeof prefix, "error: rank %d: ", log_rank);
    va_list args;
    va_start(args, format);
    print_line(prefix, format, args);
    va_end(args);
}
