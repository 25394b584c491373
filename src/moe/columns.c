#include "moe/columns.h"

#include "moe/gather.h"

#include <coterie/memory.h>
#include <coterie/ordered_sum.h>

#include <string.h>

struct cot_columns {
    const cot_comm *comm;
    size_t rows, slots;    /* slots: of all members, S */
    size_t *begins;        /* [members + 1]: first slot of each member, and the end */
    cot_gather *parts;     /* [rows, its slots] of each member in turn; NULL: this rank has all */
    cot_ordered_sum *sums; /* over the replica group */
};

cot_columns *cot_columns_create(const cot_comm *comm, size_t rows, size_t experts,
                                size_t slots_per_expert, size_t node_ranks)
{
    size_t members = (size_t)comm->group_size;
    cot_columns *c = cot_alloc(1, sizeof *c);
    *c = (cot_columns){.comm = comm, .rows = rows, .slots = experts * slots_per_expert};
    c->begins = cot_alloc(members + 1, sizeof *c->begins);
    for (size_t m = 0; m <= members; m++)
        c->begins[m] = slots_per_expert * cot_shard_begin(experts, members, m);
    if (members > 1) c->parts = cot_gather_create(comm, c->slots, rows, node_ranks);
    const size_t *own = c->begins + comm->group_rank;
    c->sums = cot_ordered_sum_create(comm->replicas, rows * (own[1] - own[0]), true, node_ranks);
    return c;
}

void cot_columns_destroy(cot_columns **columns)
{
    if (*columns == NULL) return;
    cot_ordered_sum_destroy(&(*columns)->sums);
    cot_gather_destroy(&(*columns)->parts);
    cot_free((*columns)->begins);
    cot_free(*columns);
    *columns = NULL;
}

static cot_real *part_of(const cot_columns *c, size_t member)
{
    return cot_gather_rows(c->parts) + c->begins[member] * c->rows;
}

static size_t slots_of(const cot_columns *c, size_t member)
{
    return c->begins[member + 1] - c->begins[member];
}

cot_real *cot_columns_own(const cot_columns *c, cot_real *whole)
{
    return c->parts != NULL ? part_of(c, (size_t)c->comm->group_rank) : whole;
}

size_t cot_columns_run(cot_columns *c, cot_real *whole)
{
    size_t slots = slots_of(c, (size_t)c->comm->group_rank);
    cot_real *own = cot_columns_own(c, whole);
    size_t sent = cot_ordered_sum_real(c->sums, c->rows * slots, own, own);
    if (c->parts == NULL) return sent;
    cot_gather_run(c->parts, c->begins);
    return sent + cot_gather_bytes(c->parts, c->begins);
}

void cot_columns_put(const cot_columns *c, cot_real *whole)
{
    for (size_t m = 0; c->parts != NULL && m < (size_t)c->comm->group_size; m++) {
        const cot_real *part = part_of(c, m);
        size_t slots = slots_of(c, m);
        for (size_t row = 0; row < c->rows; row++)
            memcpy(whole + row * c->slots + c->begins[m], part + row * slots, slots * sizeof *part);
    }
}
