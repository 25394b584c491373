#include "support/ranks.h"
#include "support/test.h"

#include <coterie/memory.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_SIZE = 4096 };

/* Standard error of this rank, sent to a file for a while. */
typedef struct capture {
    FILE *file;
    int before;
} capture;

static capture capture_begin(void)
{
    capture c = {tmpfile(), dup(STDERR_FILENO)};
    assert_non_null(c.file);
    fflush(stderr);
    dup2(fileno(c.file), STDERR_FILENO);
    return c;
}

static void capture_end(capture *c, char text[TEXT_SIZE])
{
    fflush(stderr);
    dup2(c->before, STDERR_FILENO);
    close(c->before);
    rewind(c->file);
    text[fread(text, 1, TEXT_SIZE - 1, c->file)] = '\0';
    fclose(c->file);
}

/* What agreeing gives here; `text` is what this rank printed meanwhile. */
static cot_status agree(const cot_comm *comm, cot_status mine, char text[TEXT_SIZE])
{
    capture c = capture_begin();
    cot_status status = cot_comm_agree(comm, mine);
    capture_end(&c, text);
    return status;
}

/* Rank 0 printed one line, from the program and ending so; the others nothing. */
static bool printed(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    if (rank_here() != 0) return length == 0;
    return strncmp(text, "coterie: ", 9) == 0 && length > end_length &&
           strcmp(text + length - end_length, end) == 0 && strchr(text, '\n') == text + length - 1;
}

static void groups_are_consecutive_ranks(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= rank_count(); replicas++) {
        if (rank_count() % replicas != 0) continue;
        cot_comm *comm = comm_of_world(replicas);
        int members = rank_count() / replicas;
        int size = 0;
        int rank = 0;
        assert_on_every_rank(comm->size == rank_count() && comm->rank == rank_here());
        assert_on_every_rank(comm->group_size == members && comm->replica_count == replicas);
        assert_on_every_rank(comm->group_rank == rank_here() % members);
        assert_on_every_rank(comm->replica == rank_here() / members);
        COT_MPI(MPI_Comm_size(comm->group, &size));
        COT_MPI(MPI_Comm_rank(comm->group, &rank));
        assert_on_every_rank(size == members && rank == comm->group_rank);
        COT_MPI(MPI_Comm_size(comm->replicas, &size));
        COT_MPI(MPI_Comm_rank(comm->replicas, &rank));
        assert_on_every_rank(size == replicas && rank == comm->replica);
        cot_comm_destroy(&comm);
        assert_null(comm);
    }
}

static void replicas_must_divide_the_ranks(void **state)
{
    (void)state;
    const int wrong[] = {0, -1, rank_count() + 1, 7};
    for (int i = 0; i < 4; i++) {
        cot_comm *comm = NULL;
        cot_status status = cot_comm_create(MPI_COMM_WORLD, wrong[i], &comm);
        assert_null(comm);
        assert_failure((int)status, COT_E_CONFIG, "parallel.expert_replicas");
    }
}

static void all_agree_that_all_is_well(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    char text[TEXT_SIZE];
    cot_status status = agree(comm, COT_OK, text);
    assert_on_every_rank(status == COT_OK && text[0] == '\0');
    cot_comm_destroy(&comm);
}

static void the_lowest_failing_rank_decides(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    for (int lowest = 0; lowest < rank_count(); lowest++) {
        char text[TEXT_SIZE];
        char want[TEXT_SIZE];
        cot_status mine = COT_OK;
        if (rank_here() == lowest) mine = cot_fail(COT_E_DATA, "file %d is cut short", lowest);
        if (rank_here() > lowest) mine = cot_fail(COT_E_IO, "a later one");
        bool all = lowest == 0;
        snprintf(want, sizeof want,
                 all ? "error: file %d is cut short\n" : "rank %d: file %d is cut short\n", lowest,
                 lowest);
        cot_status status = agree(comm, mine, text);
        assert_on_every_rank(status == COT_E_DATA);
        assert_on_every_rank(printed(text, want));
        assert_on_every_rank(cot_failure() == NULL);
        /* The same failure, on its way up. */
        status = agree(comm, status, text);
        assert_on_every_rank(status == COT_E_DATA);
        assert_on_every_rank(text[0] == '\0');
    }
    cot_comm_destroy(&comm);
}

static void one_rank_alone_may_fail(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    for (int failing = 0; failing < rank_count(); failing++) {
        char text[TEXT_SIZE];
        char want[TEXT_SIZE];
        cot_status mine = COT_OK;
        if (rank_here() == failing) mine = cot_fail(COT_E_CREATE, "no room");
        if (rank_count() == 1)
            snprintf(want, sizeof want, "error: no room\n");
        else
            snprintf(want, sizeof want, "rank %d: no room\n", failing);
        cot_status status = agree(comm, mine, text);
        assert_on_every_rank(status == COT_E_CREATE);
        assert_on_every_rank(printed(text, want));
    }
    cot_comm_destroy(&comm);
}

static void texts_are_compared(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    assert_on_every_rank(cot_comm_agree_text(comm, "the BLAS", "Haswell") == COT_OK);
    assert_on_every_rank(cot_comm_agree_text(comm, "the BLAS", "") == COT_OK);
    for (int first = 1; first < rank_count(); first++) {
        char text[TEXT_SIZE];
        char want[TEXT_SIZE];
        capture c = capture_begin();
        cot_status status =
            cot_comm_agree_text(comm, "the BLAS", rank_here() < first ? "Haswell" : "Zen");
        capture_end(&c, text);
        snprintf(want, sizeof want,
                 "rank %d: the BLAS is 'Zen' here but 'Haswell' on rank 0; all ranks must "
                 "run alike\n",
                 first);
        assert_on_every_rank(status == COT_E_CONFIG);
        assert_on_every_rank(printed(text, want));
        assert_on_every_rank(cot_failure() == NULL);
    }
    cot_comm_destroy(&comm);
}

static void rank_0_speaks_for_all(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_world(1);
    const char *const texts[] = {"", "moe:\n  experts: 16\n"};
    for (int i = 0; i < 2; i++) {
        char *text = cot_comm_broadcast_text(comm, rank_here() == 0 ? texts[i] : NULL);
        assert_on_every_rank(strcmp(text, texts[i]) == 0);
        cot_free(text);
    }
    char *large = cot_strprintf("%100000d", 1);
    char *text = cot_comm_broadcast_text(comm, rank_here() == 0 ? large : "ignored");
    assert_on_every_rank(strcmp(text, large) == 0);
    cot_free(text);
    cot_free(large);
    cot_comm_destroy(&comm);
}

static void a_communicator_of_one(void **state)
{
    (void)state;
    cot_comm *comm = comm_of_self();
    assert_on_every_rank(comm->size == 1 && comm->rank == 0 && comm->group_size == 1);
    cot_comm_destroy(&comm);
    cot_comm_destroy(&comm);
    assert_int_equal(cot_comm_int(0x7fffffff), 0x7fffffff);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(groups_are_consecutive_ranks),
    cmocka_unit_test(replicas_must_divide_the_ranks),
    cmocka_unit_test(all_agree_that_all_is_well),
    cmocka_unit_test(the_lowest_failing_rank_decides),
    cmocka_unit_test(one_rank_alone_may_fail),
    cmocka_unit_test(texts_are_compared),
    cmocka_unit_test(rank_0_speaks_for_all),
    cmocka_unit_test(a_communicator_of_one),
};

RUN_MPI_TESTS(tests)
