#include <coterie/shard.h>

size_t cot_grains_capacity(size_t samples, size_t count, size_t parts, size_t part)
{
    cot_grains grains = cot_grains_of(samples, count, parts, part);
    size_t even = cot_grains_size(&grains);
    if (grains.first == grains.end) return 0;
    return even + 1 < samples ? even + 1 : samples;
}
