#include "special/distinct.h"

#include <coterie/memory.h>
#include <coterie/rng.h>

#include <stdlib.h>

enum { WORDS = sizeof(cot_subset_hash) / sizeof(uint64_t) };

struct cot_distinct {
    size_t capacity;
    cot_subset_hash *keys;   /* [E] */
    cot_subset_hash *hashes; /* [lists,capacity] */
    size_t *counts;          /* [lists] */
    size_t lists;
};

cot_distinct *cot_distinct_create(size_t experts, size_t lists, size_t capacity)
{
    cot_distinct *distinct = cot_alloc(1, sizeof *distinct);
    *distinct = (cot_distinct){.capacity = capacity, .lists = lists};
    distinct->keys = cot_alloc(experts, sizeof *distinct->keys);
    distinct->hashes = cot_alloc(lists * capacity, sizeof *distinct->hashes);
    distinct->counts = cot_alloc(lists, sizeof *distinct->counts);
    /* An epoch that no layer has: random orders share no number with the keys. */
    const cot_stream stream = {.epoch = UINT32_MAX, .purpose = COT_PURPOSE_SELECTION};
    for (size_t e = 0; e < experts; e++) {
        uint32_t words[4];
        cot_rng_words(&stream, (uint32_t)e, words);
        distinct->keys[e].high = (uint64_t)words[0] << 32 | words[1];
        distinct->keys[e].low = (uint64_t)words[2] << 32 | words[3];
    }
    return distinct;
}

void cot_distinct_destroy(cot_distinct **distinct)
{
    if (*distinct == NULL) return;
    cot_free((*distinct)->counts);
    cot_free((*distinct)->hashes);
    cot_free((*distinct)->keys);
    cot_free(*distinct);
    *distinct = NULL;
}

void cot_distinct_include(const cot_distinct *distinct, size_t expert, cot_subset_hash *hash)
{
    hash->high ^= distinct->keys[expert].high;
    hash->low ^= distinct->keys[expert].low;
}

void cot_distinct_add(cot_distinct *distinct, size_t list, cot_subset_hash hash)
{
    COT_ASSERT(list < distinct->lists && distinct->counts[list] < distinct->capacity);
    distinct->hashes[list * distinct->capacity + distinct->counts[list]++] = hash;
}

static int compare(const void *a, const void *b)
{
    const cot_subset_hash *x = a;
    const cot_subset_hash *y = b;
    if (x->high != y->high) return x->high < y->high ? -1 : 1;
    return (x->low > y->low) - (x->low < y->low);
}

/* Sort, and keep one of each. */
static size_t make_unique(size_t count, cot_subset_hash *hashes)
{
    size_t kept = 0;
    qsort(hashes, count, sizeof *hashes, compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || compare(&hashes[kept - 1], &hashes[i]) != 0) hashes[kept++] = hashes[i];
    return kept;
}

/* Every rank counts a range of hashes, so that equal ones of all ranks meet. */
static size_t owner_of(cot_subset_hash hash, size_t ranks)
{
    return (size_t)((unsigned __int128)hash.high * ranks >> 64);
}

/* Blocks one behind the other; returns the elements in all. */
static size_t place_blocks(size_t ranks, const int *counts, int *displs)
{
    size_t total = 0;
    for (size_t r = 0; r < ranks; r++) {
        displs[r] = cot_comm_int(total);
        total += (size_t)counts[r];
    }
    return total;
}

uint64_t cot_distinct_count(cot_distinct *distinct, size_t list, const cot_comm *comm)
{
    const size_t ranks = (size_t)comm->size;
    cot_subset_hash *hashes = distinct->hashes + list * distinct->capacity;
    distinct->counts[list] = make_unique(distinct->counts[list], hashes);
    int *counts =
        cot_alloc(4 * ranks, sizeof *counts); /* in words: sent, received; displacements */
    int *arriving = counts + ranks;
    int *displs = counts + 2 * ranks;
    int *arriving_displs = counts + 3 * ranks;
    for (size_t i = 0; i < distinct->counts[list]; i++) counts[owner_of(hashes[i], ranks)] += WORDS;
    COT_MPI(MPI_Alltoall(counts, 1, MPI_INT, arriving, 1, MPI_INT, comm->world));
    place_blocks(ranks, counts, displs);
    size_t words = place_blocks(ranks, arriving, arriving_displs);
    cot_subset_hash *mine = cot_alloc(words / WORDS, sizeof *mine);
    COT_MPI(MPI_Alltoallv(hashes, counts, displs, MPI_UINT64_T, mine, arriving, arriving_displs,
                          MPI_UINT64_T, comm->world));
    uint64_t count = make_unique(words / WORDS, mine);
    COT_MPI(MPI_Allreduce(MPI_IN_PLACE, &count, 1, MPI_UINT64_T, MPI_SUM, comm->world));
    cot_free(mine);
    cot_free(counts);
    return count;
}
