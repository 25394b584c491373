/* A disk that fails on order: delays, fails or kills at chosen file operations. A shared library
 * for LD_PRELOAD that takes its rules from the environment, or linked into a test that calls
 * fault_set.
 *
 *   COTERIE_FAULT="call=pwrite match=*.partial rank=1 action=fail:EIO; call=rename action=kill"
 *
 * Rules are separated by semicolons, their fields by spaces; the first that fits an operation acts.
 *
 *   call    operations, separated by commas: open, write, pwrite, pwritev, fsync, rename, symlink,
 *           unlink, opendir, ftruncate (64-bit variants count as the same); default: all but open,
 *           opendir and unlink
 *   match   only on a path that contains this text, or fits it where it is a pattern with '*'
 *           (MPI keeps files of its own beside the one it writes)
 *   rank    only on this rank of the job; default: every rank
 *   after   let so many operations that fit pass first
 *   times   act on so many operations, then no more; default: on all
 *   action  fail:ENOSPC (any of the names below), delay:MILLISECONDS, kill (SIGKILL), or
 *           lose (report success and do nothing; operations on an open file only) */
#include "support/fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RULES = 8, FIELD_SIZE = 128 };

typedef enum fault_action { ACT_NOTHING, ACT_FAIL, ACT_DELAY, ACT_KILL, ACT_LOSE } fault_action;

typedef struct fault_rule {
    char calls[FIELD_SIZE], match[FIELD_SIZE];
    long rank, after, times; /* rank, times: negative for no limit */
    fault_action action;
    long argument; /* errno or milliseconds */
} fault_rule;

static fault_rule rules[MAX_RULES];
static size_t rule_count;
static bool parsed;

/* ---- rules ---- */

static long error_named(const char *name)
{
    static const struct {
        const char *name;
        int value;
    } known[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},     {"EDQUOT", EDQUOT},
                 {"EACCES", EACCES}, {"EROFS", EROFS}, {"ESTALE", ESTALE}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0) return known[i].value;
    fprintf(stderr, "fault: unknown error '%s'\n", name);
    abort();
}

static void parse_action(fault_rule *rule, const char *text)
{
    if (strncmp(text, "fail:", 5) == 0) {
        rule->action = ACT_FAIL;
        rule->argument = error_named(text + 5);
    } else if (strncmp(text, "delay:", 6) == 0) {
        rule->action = ACT_DELAY;
        rule->argument = strtol(text + 6, NULL, 10);
    } else if (strcmp(text, "kill") == 0) {
        rule->action = ACT_KILL;
    } else if (strcmp(text, "lose") == 0) {
        rule->action = ACT_LOSE;
    } else {
        fprintf(stderr, "fault: unknown action '%s'\n", text);
        abort();
    }
}

static void parse_field(fault_rule *rule, const char *field)
{
    const char *value = strchr(field, '=');
    if (value == NULL) {
        fprintf(stderr, "fault: '%s' is not field=value\n", field);
        abort();
    }
    size_t length = (size_t)(value - field);
    value++;
    if (strncmp(field, "call", length) == 0)
        snprintf(rule->calls, sizeof rule->calls, "%s", value);
    else if (strncmp(field, "match", length) == 0)
        snprintf(rule->match, sizeof rule->match, "%s", value);
    else if (strncmp(field, "rank", length) == 0)
        rule->rank = strtol(value, NULL, 10);
    else if (strncmp(field, "after", length) == 0)
        rule->after = strtol(value, NULL, 10);
    else if (strncmp(field, "times", length) == 0)
        rule->times = strtol(value, NULL, 10);
    else
        parse_action(rule, value);
}

void fault_set(const char *text)
{
    char copy[1024];
    char *rest = copy;
    parsed = true;
    rule_count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *part; (part = strsep(&rest, ";")) != NULL && rule_count < MAX_RULES;) {
        fault_rule rule = {.match = "*",
                           .calls = "write,pwrite,pwritev,fsync,rename,symlink,ftruncate",
                           .rank = -1,
                           .times = -1};
        for (char *field; (field = strsep(&part, " ")) != NULL;)
            if (field[0] != '\0') parse_field(&rule, field);
        if (rule.action != ACT_NOTHING) rules[rule_count++] = rule;
    }
}

static void parse_environment(void)
{
    const char *setting = getenv("COTERIE_FAULT");
    fault_set(setting != NULL ? setting : "");
}

static bool names_call(const char *calls, const char *call)
{
    size_t length = strlen(call);
    for (const char *at = calls; (at = strstr(at, call)) != NULL; at += length)
        if ((at == calls || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

static bool fits(const fault_rule *rule, const char *call, const char *path)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (rule->rank >= 0 && rule->rank != (rank != NULL ? strtol(rank, NULL, 10) : 0)) return false;
    if (!names_call(rule->calls, call)) return false;
    bool pattern = strchr(rule->match, '*') != NULL;
    return pattern ? fnmatch(rule->match, path, 0) == 0 : strstr(path, rule->match) != NULL;
}

static void delay(long milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

/* What the operation is to do: go on (ACT_NOTHING), fail with errno set (ACT_FAIL), or pretend
 * (ACT_LOSE). */
static fault_action disturb(const char *call, const char *path)
{
    if (!parsed) parse_environment();
    for (size_t i = 0; i < rule_count; i++) {
        fault_rule *rule = &rules[i];
        if (rule->times == 0 || !fits(rule, call, path) || rule->after-- > 0) continue;
        if (rule->times > 0) rule->times--;
        if (rule->action == ACT_KILL) raise(SIGKILL);
        if (rule->action == ACT_DELAY) delay(rule->argument);
        if (rule->action == ACT_FAIL) errno = (int)rule->argument;
        return rule->action == ACT_FAIL || rule->action == ACT_LOSE ? rule->action : ACT_NOTHING;
    }
    return ACT_NOTHING;
}

static fault_action disturb_descriptor(const char *call, int descriptor)
{
    char link[64];
    char path[PATH_MAX];
    int error = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    errno = error;
    return disturb(call, path);
}

/* ---- the operations ---- */

/* The C library's own function. A function pointer takes no direct cast from dlsym's object
 * pointer. */
#define NEXT(name, type, ...)                                                                      \
    type (*next)(__VA_ARGS__) = NULL;                                                              \
    *(void **)&next = dlsym(RTLD_NEXT, name)

#define DEFINE_ON_DESCRIPTOR(name, call, type, arguments, pretended, ...)                          \
    type name arguments;                                                                           \
    type name arguments                                                                            \
    {                                                                                              \
        NEXT(#name, type, PARAMETERS_##call);                                                      \
        fault_action action = disturb_descriptor(#call, fd);                                       \
        if (action == ACT_LOSE) return pretended;                                                  \
        return action == ACT_FAIL ? -1 : next(__VA_ARGS__);                                        \
    }
#define PARAMETERS_write int, const void *, size_t
#define PARAMETERS_pwrite int, const void *, size_t, off_t
#define PARAMETERS_pwritev int, const struct iovec *, int, off_t
#define PARAMETERS_fsync int
#define PARAMETERS_ftruncate int, off_t

#define WRITE_ARGUMENTS (int fd, const void *data, size_t size)
#define PWRITE_ARGUMENTS (int fd, const void *data, size_t size, off_t at)
#define PWRITEV_ARGUMENTS (int fd, const struct iovec *parts, int count, off_t at)
#define FTRUNCATE_ARGUMENTS (int fd, off_t size)

static ssize_t total_size(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    return (ssize_t)size;
}

DEFINE_ON_DESCRIPTOR(write, write, ssize_t, WRITE_ARGUMENTS, (ssize_t)size, fd, data, size)
DEFINE_ON_DESCRIPTOR(pwrite, pwrite, ssize_t, PWRITE_ARGUMENTS, (ssize_t)size, fd, data, size, at)
DEFINE_ON_DESCRIPTOR(pwrite64, pwrite, ssize_t, PWRITE_ARGUMENTS, (ssize_t)size, fd, data, size, at)
DEFINE_ON_DESCRIPTOR(pwritev, pwritev, ssize_t, PWRITEV_ARGUMENTS, total_size(parts, count), fd,
                     parts, count, at)
DEFINE_ON_DESCRIPTOR(pwritev64, pwritev, ssize_t, PWRITEV_ARGUMENTS, total_size(parts, count), fd,
                     parts, count, at)
DEFINE_ON_DESCRIPTOR(fsync, fsync, int, (int fd), 0, fd)
DEFINE_ON_DESCRIPTOR(fdatasync, fsync, int, (int fd), 0, fd)
DEFINE_ON_DESCRIPTOR(ftruncate, ftruncate, int, FTRUNCATE_ARGUMENTS, 0, fd, size)
DEFINE_ON_DESCRIPTOR(ftruncate64, ftruncate, int, FTRUNCATE_ARGUMENTS, 0, fd, size)

#define DEFINE_ON_TWO_PATHS(name)                                                                  \
    int name(const char *from, const char *to)                                                     \
    {                                                                                              \
        NEXT(#name, int, const char *, const char *);                                              \
        return disturb(#name, from) == ACT_FAIL ? -1 : next(from, to);                             \
    }
DEFINE_ON_TWO_PATHS(rename)

int symlink(const char *target, const char *path)
{
    NEXT("symlink", int, const char *, const char *);
    return disturb("symlink", path) == ACT_FAIL ? -1 : next(target, path);
}

int unlink(const char *path)
{
    NEXT("unlink", int, const char *);
    return disturb("unlink", path) == ACT_FAIL ? -1 : next(path);
}

DIR *opendir(const char *path)
{
    NEXT("opendir", DIR *, const char *);
    return disturb("opendir", path) == ACT_FAIL ? NULL : next(path);
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
}

#define DEFINE_OPEN(name)                                                                          \
    int name(const char *path, int flags, ...);                                                    \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        NEXT(#name, int, const char *, int, ...);                                                  \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_of(flags, args);                                                        \
        va_end(args);                                                                              \
        return disturb("open", path) == ACT_FAIL ? -1 : next(path, flags, mode);                   \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
