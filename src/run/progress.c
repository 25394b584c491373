#include <coterie/clock.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/progress.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const double live_interval = 0.2;   /* seconds between two redraws of a live line */
static const double plain_interval = 10.0; /* seconds between two lines in a job log */

struct cot_display {
    bool silent;
    int terminal; /* where the user reads standard error; -1: a file or a pipe */
    uint64_t first_step, steps, epochs;
    double started, drawn;
};

/* mpirun reads a rank's standard error from a pipe and passes it on to its own. So a rank has no
 * terminal, but its parent may have one. */
static int open_terminal_of_mpirun(void)
{
    char path[64];
    struct stat ours;
    struct stat theirs;
    snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)getppid(), STDERR_FILENO);
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL || fstat(STDERR_FILENO, &ours) != 0 ||
        !S_ISFIFO(ours.st_mode) || stat(path, &theirs) != 0 || !S_ISCHR(theirs.st_mode))
        return -1;
    return open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

static int open_terminal(void)
{
    int terminal = isatty(STDERR_FILENO) == 1 ? dup(STDERR_FILENO) : open_terminal_of_mpirun();
    if (terminal < 0 || isatty(terminal) == 1) return terminal;
    close(terminal); /* such as /dev/null */
    return -1;
}

/* A live line that wraps could not be taken back. */
static size_t columns(int terminal)
{
    enum { USUAL = 80 };
    struct winsize size;
    bool known = ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return (known ? size.ws_col : USUAL) - 1;
}

cot_display *cot_display_create(const cot_comm *comm, uint64_t first_step, uint64_t steps,
                                uint64_t epochs)
{
    cot_display *display = cot_alloc(1, sizeof *display);
    double now = cot_seconds();
    *display = (cot_display){.silent = comm->rank != 0,
                             .terminal = comm->rank == 0 ? open_terminal() : -1,
                             .first_step = first_step,
                             .steps = steps,
                             .epochs = epochs,
                             .started = now,
                             .drawn = now};
    return display;
}

void cot_display_destroy(cot_display **display)
{
    if (*display == NULL) return;
    cot_log_live(NULL);
    if ((*display)->terminal >= 0) close((*display)->terminal);
    cot_free(*display);
    *display = NULL;
}

/* "1:02:03" or "2:03"; room for any number of hours. */
enum { DURATION_SIZE = 32 };
static void print_duration(double seconds, char text[DURATION_SIZE])
{
    enum { MINUTE = 60, HOUR = 3600 };
    unsigned long s = seconds > 0 ? (unsigned long)(seconds + 0.5) : 0;
    if (s >= HOUR)
        snprintf(text, DURATION_SIZE, "%lu:%02lu:%02lu", s / HOUR, s % HOUR / MINUTE, s % MINUTE);
    else
        snprintf(text, DURATION_SIZE, "%lu:%02lu", s / MINUTE, s % MINUTE);
}

/* ", <name> 97.1%" or nothing. */
enum { PERCENT_SIZE = 64 };
static void print_percent(const char *name, double share, char text[PERCENT_SIZE])
{
    const double percent = 100;
    text[0] = '\0';
    if (isfinite(share)) snprintf(text, PERCENT_SIZE, ", %s %.2f%%", name, percent * share);
}

/* Time left, from the pace of this call so far. */
static double seconds_left(const cot_display *display, uint64_t step, double now)
{
    if (step <= display->first_step) return 0;
    double pace = (now - display->started) / (double)(step - display->first_step);
    return pace * (double)(display->steps - step);
}

enum { LINE_SIZE = 320 };

/* Whether enough time has passed for another line. */
static bool is_due(cot_display *display)
{
    double now = cot_seconds();
    bool live = display->terminal >= 0;
    if (now - display->drawn < (live ? live_interval : plain_interval)) return false;
    display->drawn = now;
    return true;
}

static void draw(const cot_display *display, char line[LINE_SIZE])
{
    if (display->terminal < 0) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    size_t room = columns(display->terminal);
    line[room < LINE_SIZE ? room : LINE_SIZE - 1] = '\0';
    cot_log_live(line);
}

void cot_display_step(cot_display *display, const cot_step_report *report, double accuracy)
{
    char line[LINE_SIZE];
    char left[DURATION_SIZE];
    char accurate[PERCENT_SIZE];
    if (display->silent || !is_due(display)) return;
    print_duration(seconds_left(display, report->step, display->drawn), left);
    print_percent("accuracy", accuracy, accurate);
    snprintf(line, sizeof line, "epoch %lu/%lu, step %lu/%lu, %s left, loss %.4f%s, %.0f samples/s",
             (unsigned long)report->epoch, (unsigned long)display->epochs,
             (unsigned long)report->step, (unsigned long)display->steps, left, report->loss,
             accurate, report->samples_per_s);
    draw(display, line);
}

void cot_display_work(cot_display *display, const char *part, uint64_t done)
{
    const double percent = 100;
    char line[LINE_SIZE];
    char left[DURATION_SIZE];
    if (display->silent || !is_due(display)) return;
    print_duration(seconds_left(display, done, display->drawn), left);
    snprintf(line, sizeof line, "%s: %.0f%%, %s left", part,
             percent * (double)done / (double)display->steps, left);
    draw(display, line);
}

void cot_display_epoch(cot_display *display, const cot_epoch_report *report)
{
    if (display->silent) return;
    cot_log_live(NULL);
    const cot_evaluation *test = report->validation != NULL ? report->validation : report->test;
    const char *split = report->validation != NULL ? "validation" : "test";
    char left[DURATION_SIZE];
    print_duration(seconds_left(display, report->step, cot_seconds()), left);
    fprintf(stderr, "epoch %lu/%lu, step %lu/%lu, train loss %.4f", (unsigned long)report->epoch,
            (unsigned long)display->epochs, (unsigned long)report->step,
            (unsigned long)display->steps, report->train_loss);
    if (test != NULL) {
        char name[32];
        char accurate[PERCENT_SIZE];
        char relative[PERCENT_SIZE];
        snprintf(name, sizeof name, "%s accuracy", split);
        print_percent(name, test->accuracy, accurate);
        print_percent("relative error", test->relative_error, relative);
        fprintf(stderr, ", %s loss %.4f%s%s", split, test->loss, accurate, relative);
    }
    fprintf(stderr, ", %.0f samples/s, %s left\n", report->samples_per_s, left);
    fflush(stderr);
    display->drawn = cot_seconds();
}
