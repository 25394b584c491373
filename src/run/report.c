#include <coterie/clock.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/report.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_SIZE = 4096, PATH_SIZE = 4096 };

/* Exit codes, the second as tools/report gives it. */
enum { NOT_STARTED = 127, MODULE_MISSING = 69 };

static const double longest = 600; /* seconds; a page takes a few, that of a large suite a minute */

static const char packages[] =
    "apt-get install python3 python3-h5py python3-xarray python3-h5netcdf python3-numpy "
    "python3-matplotlib";

extern char **environ;

/* ---- what is run ---- */

static const char *environment_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : otherwise;
}

/* The program from where it lies beside this one, allocated; NULL when it is nowhere. */
static char *find_script(void)
{
    static const char *const places[] = {"../tools/report", "../share/coterie/report"};
    const char *given = environment_or("COTERIE_REPORT", NULL);
    char self[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (given != NULL) return cot_strdup(given);
    if (length <= 0) return NULL;
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *path = cot_strprintf("%s/%s", self, places[i]);
        char *resolved = access(path, R_OK) == 0 ? realpath(path, NULL) : NULL;
        char *script = resolved != NULL ? cot_strdup(resolved) : NULL;
        free(resolved);
        cot_free(path);
        if (script != NULL) return script;
    }
    return NULL;
}

/* A program that finds the variables of mpirun takes itself for one of the job's ranks; Debian's
 * h5py does. */
static bool belongs_to_mpi(const char *variable)
{
    static const char *const prefixes[] = {"OMPI_", "ORTE_",           "PMIX_",
                                           "PMI_",  "MPI_LOCALNRANKS", "H5PY_ALWAYS_USE_MPI"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

/* The environment without MPI's part; release with cot_free. */
static char **plain_environment(void)
{
    size_t count = 0;
    size_t kept = 0;
    while (environ[count] != NULL) count++;
    char **plain = cot_alloc(count + 1, sizeof *plain);
    for (size_t i = 0; i < count; i++)
        if (!belongs_to_mpi(environ[i])) plain[kept++] = environ[i];
    return plain;
}

/* ---- running it ---- */

/* Start it, with both its outputs into a pipe, and nothing else of ours open. SIGUSR1, which goes
 * to all that a rank has started, asks a run for a checkpoint and is none of its business. */
static bool start(const char *python, const char *script, const char *folder, pid_t *process_out,
                  int *output_out)
{
    int ends[2];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t blocked;
    /* posix_spawn promises not to change them. */
    char *const arguments[] = {(char *)python, (char *)script, (char *)folder, NULL};
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
#if __GLIBC_PREREQ(2, 34)
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
#endif
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &blocked);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    char **environment = plain_environment();
    errno = posix_spawn(process_out, python, &actions, &attributes, arguments, environment);
    int failure = errno;
    posix_spawnattr_destroy(&attributes);
    cot_free(environment);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (failure == 0)
        *output_out = ends[0];
    else
        close(ends[0]);
    errno = failure;
    return failure == 0;
}

/* Keep the end of what it prints, which says what went wrong. False when its time is over. */
static bool read_output(int descriptor, char output[OUTPUT_SIZE])
{
    const double milliseconds = 1000;
    const double deadline = cot_seconds() + longest;
    size_t used = 0;
    output[0] = '\0';
    for (;;) {
        struct pollfd wait = {.fd = descriptor, .events = POLLIN};
        double left = deadline - cot_seconds();
        int ready = left > 0 ? poll(&wait, 1, (int)(left * milliseconds)) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        if (used > OUTPUT_SIZE / 2) {
            memmove(output, output + used - OUTPUT_SIZE / 4, OUTPUT_SIZE / 4);
            used = OUTPUT_SIZE / 4;
        }
        ssize_t size = read(descriptor, output + used, OUTPUT_SIZE - 1 - used);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) return true;
        used += (size_t)size;
        output[used] = '\0';
    }
}

/* Its exit code; -1 when it was killed. */
static int wait_for(pid_t process)
{
    int status = 0;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- saying what came of it ---- */

/* The last line that says anything. */
static const char *last_line(char *output)
{
    size_t length = strlen(output);
    while (length > 0 && strchr(" \n\r\t", output[length - 1]) != NULL) output[--length] = '\0';
    const char *newline = strrchr(output, '\n');
    return newline != NULL ? newline + 1 : output;
}

static void explain(const char *script, const char *folder, int code, char *output)
{
    static const char prefix[] = "report: error: "; /* of the program's own lines */
    const char *line = last_line(output);
    if (strncmp(line, prefix, strlen(prefix)) == 0) line += strlen(prefix);
    if (code == NOT_STARTED)
        cot_info("no report.html: %s; on Debian: %s; then '%s %s' makes it", line, packages, script,
                 folder);
    else if (code == MODULE_MISSING)
        cot_info("no report.html: %s; then '%s %s' makes it", line, script, folder);
    else
        cot_warn("no report.html: %s; '%s %s' tries again", line[0] != '\0' ? line : "it failed",
                 script, folder);
}

static void make(const char *script, const char *folder)
{
    const char *python = environment_or("COTERIE_PYTHON", "/usr/bin/python3");
    char output[OUTPUT_SIZE] = "";
    pid_t process = 0;
    int descriptor = -1;
    int code = NOT_STARTED;
    if (start(python, script, folder, &process, &descriptor)) {
        bool ended = read_output(descriptor, output);
        if (!ended) kill(process, SIGKILL);
        close(descriptor);
        code = wait_for(process);
        if (!ended) snprintf(output, sizeof output, "it took over %g seconds", longest);
    } else {
        snprintf(output, sizeof output, "%s: %s", python, strerror(errno));
    }
    if (code == 0)
        cot_info("report: %s/report.html", folder);
    else
        explain(script, folder, code, output);
}

void cot_report(const cot_comm *comm, const char *folder)
{
    if (comm->rank != 0) return;
    char *script = find_script();
    if (script != NULL)
        make(script, folder);
    else
        cot_info("no report.html: tools/report is not found; COTERIE_REPORT=FILE says where it is");
    cot_free(script);
}
