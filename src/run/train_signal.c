#include "run/trainer.h"

#include <signal.h>
#include <string.h>

/* A handler can reach nothing but what outlives the call. */
static volatile sig_atomic_t stop_requested;
static int catching; /* how often, one inside the other */
static struct sigaction previous_term, previous_usr1;

static void note_request(int signal)
{
    (void)signal;
    stop_requested = 1;
}

void trainer_catch_signals(void)
{
    struct sigaction action;
    if (catching++ > 0) return;
    memset(&action, 0, sizeof action);
    action.sa_handler = note_request;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, &previous_term);
    sigaction(SIGUSR1, &action, &previous_usr1);
}

void trainer_restore_signals(void)
{
    if (--catching > 0) return;
    sigaction(SIGTERM, &previous_term, NULL);
    sigaction(SIGUSR1, &previous_usr1, NULL);
    stop_requested = 0;
}

bool trainer_was_asked_to_stop(void)
{
    return stop_requested != 0;
}

bool trainer_shall_stop(const cot_comm *comm)
{
    int stop = trainer_was_asked_to_stop();
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &stop, 1, MPI_INT, MPI_MAX, comm->world));
    return stop != 0;
}
