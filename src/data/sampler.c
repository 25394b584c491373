#include <coterie/memory.h>
#include <coterie/rng.h>
#include <coterie/sampler.h>
#include <coterie/status.h>

struct cot_sampler {
    size_t samples, batch;
    bool drop_last;
    uint64_t seed;
    uint32_t *order; /* [samples] of the epoch prepared last; NULL when not shuffled */
    bool prepared;
    uint64_t epoch;
};

cot_sampler *cot_sampler_create(size_t samples, size_t batch, bool shuffle, bool drop_last,
                                uint64_t seed)
{
    COT_ASSERT(samples > 0 && samples <= UINT32_MAX && batch > 0);
    cot_sampler *sampler = cot_alloc(1, sizeof *sampler);
    sampler->samples = samples;
    sampler->batch = batch;
    sampler->drop_last = drop_last;
    sampler->seed = seed;
    sampler->order = shuffle ? cot_alloc(samples, sizeof *sampler->order) : NULL;
    return sampler;
}

void cot_sampler_destroy(cot_sampler **sampler)
{
    if (*sampler == NULL) return;
    cot_free((*sampler)->order);
    cot_free(*sampler);
    *sampler = NULL;
}

size_t cot_sampler_batches(const cot_sampler *sampler)
{
    size_t full = sampler->samples / sampler->batch;
    bool partial = sampler->samples % sampler->batch != 0;
    return partial && !sampler->drop_last ? full + 1 : full;
}

/* Fisher-Yates from the identity, so that an epoch's order does not depend on the epochs before
 * it. */
static void shuffle(uint32_t *order, size_t samples, const cot_stream *stream)
{
    uint32_t words[4];
    for (size_t i = 0; i < samples; i++) order[i] = (uint32_t)i;
    for (size_t i = 0; i + 1 < samples; i++) {
        size_t last = samples - 1 - i;
        if (i % 4 == 0) cot_rng_words(stream, (uint32_t)(i / 4), words);
        uint32_t chosen = cot_rng_below(words[i % 4], last + 1);
        uint32_t kept = order[last];
        order[last] = order[chosen];
        order[chosen] = kept;
    }
}

void cot_sampler_start_epoch(cot_sampler *sampler, uint64_t epoch)
{
    if (sampler->prepared && sampler->epoch == epoch) return;
    sampler->prepared = true;
    sampler->epoch = epoch;
    if (sampler->order == NULL) return;
    cot_stream stream = {sampler->seed, 0, (uint32_t)epoch, COT_PURPOSE_SHUFFLE};
    shuffle(sampler->order, sampler->samples, &stream);
}

size_t cot_sampler_batch_size(const cot_sampler *sampler, size_t batch)
{
    COT_ASSERT(batch < cot_sampler_batches(sampler));
    size_t left = sampler->samples - batch * sampler->batch;
    return left < sampler->batch ? left : sampler->batch;
}

size_t cot_sampler_index(const cot_sampler *sampler, size_t batch, size_t position)
{
    COT_ASSERT(sampler->prepared && position < cot_sampler_batch_size(sampler, batch));
    size_t place = batch * sampler->batch + position;
    return sampler->order != NULL ? sampler->order[place] : place;
}
