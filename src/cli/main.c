/* The program: starts MPI, finds the command, and sees that every rank ends with the same code. */
#include "cli/cli.h"

#include <coterie/blas.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/version.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0) return true;
    return false;
}

/* Results and checkpoints name them, in UTF-8. */
static cot_status check_text(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        json_t *text = json_string(argv[i]);
        json_decref(text);
        if (text == NULL) return cot_fail(COT_E_USAGE, "argument %d is not UTF-8 text", i);
    }
    return COT_OK;
}

static cot_status run_command(const cot_comm *world, int argc, char **argv)
{
    COT_TRY(check_text(argc, argv));
    if (argc < 2 || strcmp(argv[1], "--help") == 0) return cot_command_help.run(world, 0, NULL);
    if (strcmp(argv[1], "--version") == 0) {
        if (world->rank == 0) printf("coterie %s\n", cot_version());
        return COT_OK;
    }
    const cot_command *command = cot_cli_find(argv[1]);
    if (command == NULL)
        return cot_fail(COT_E_USAGE, "unknown command '%s'; see 'coterie help'", argv[1]);
    if (asks_for_help(argc - 1, argv + 1)) {
        if (world->rank == 0) cot_cli_help(command);
        return COT_OK;
    }
    return command->run(world, argc - 1, argv + 1);
}

/* Results that did not arrive, on a full disk perhaps, are no success. */
static cot_status check_output(void)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) return COT_OK;
    return cot_fail(COT_E_IO, "standard output: cannot be written: %s", strerror(errno));
}

/* Over TCP, a longer message waits for the other side to answer, which it does not while it
 * computes: so Open MPI may send up to here at once, and slots travel beside the experts' work.
 * The environment and `mpirun --mca` go before this, and this before files of parameters. */
static void send_without_asking(void)
{
    setenv("OMPI_MCA_btl_tcp_eager_limit", "1048576", 0);
    setenv("OMPI_MCA_btl_tcp_max_send_size", "1048576", 0);
}

/* Between ranks of one machine, what a data type gathers goes through buffers, of 32 KiB unless
 * told otherwise: with larger ones, ranks wait for each other less often. The same goes before
 * this. */
static void send_large_buffers(void)
{
    setenv("OMPI_MCA_btl_vader_max_send_size", "131072", 0);
}

/* A rank that nobody launched would start a daemon of Open MPI to launch more by, which takes 0.2
 * of 0.5 seconds. And without one, all such ranks of a machine would have one directory for files
 * of their session: the first to end takes it from another that begins. PMIx tells a rank that was
 * launched its number. The same goes before this. */
static void stay_alone(void)
{
    if (getenv("PMIX_RANK") != NULL) return;
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
}

int main(int argc, char **argv)
{
    cot_comm *world = NULL;
    cot_blas_settle_core(argv);
    stay_alone();
    send_without_asking();
    send_large_buffers();
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) return COT_E_INTERNAL;
    cot_status status = cot_comm_create(MPI_COMM_WORLD, 1, &world);
    COT_ASSERT(status == COT_OK);
    cot_log_set_rank(world->rank, world->size);
    status = run_command(world, argc, argv);
    if (status == COT_OK) status = check_output();
    status = cot_comm_agree(world, status);
    cot_comm_destroy(&world);
    cot_set_abort_handler(NULL);
    MPI_Finalize();
    COT_ASSERT(cot_alloc_balance() == 0);
    return (int)status;
}
