/* FNV-1a over 64 bits, to tell contents apart: not against forgery. */
#ifndef COTERIE_DATA_CHECKSUM_H
#define COTERIE_DATA_CHECKSUM_H

#include <coterie/rng.h>

/** Go on hashing `size` bytes; start from cot_hash of a name. */
static inline uint64_t cot_checksum_bytes(uint64_t hash, const uint8_t *bytes, size_t size)
{
    const uint64_t fnv_prime = 1099511628211u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * fnv_prime;
    return hash;
}

/** Go on hashing a number, the same on machines of either byte order. */
static inline uint64_t cot_checksum_number(uint64_t hash, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> (8 * i));
    return cot_checksum_bytes(hash, bytes, sizeof bytes);
}

#endif
