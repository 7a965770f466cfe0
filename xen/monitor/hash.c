/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A 64-bit hash of a page, to tell whether its content changed. Not cryptographic: it only saves copies. */
#include "internal.h"

static uint64_t rotate(uint64_t value, unsigned int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

/*
 * Four lanes of multiply-and-rotate over 64-bit words, so that the multiplications overlap, then a final mix
 * in which every input bit reaches every output bit.
 */
uint64_t umbra_hash(const uint8_t *page)
{
    uint64_t lane[4] = { 0x243f6a8885a308d3ull, 0x13198a2e03707344ull, 0xa4093822299f31d0ull,
                         0x082efa98ec4e6c89ull };
    uint64_t word, hash;
    unsigned int at, i;

    for ( at = 0; at < UMBRA_PAGE_SIZE; at += 32 )
        for ( i = 0; i < 4; i++ )
        {
            memcpy(&word, page + at + i * 8, 8);
            lane[i] = rotate((lane[i] ^ word) * 0x9e3779b97f4a7c15ull, 29);
        }
    hash = lane[0];
    for ( i = 1; i < 4; i++ )
        hash = (rotate(hash, 17) ^ lane[i]) * 0xd6e8feb86659fd93ull;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93ull;
    return hash ^ (hash >> 32);
}
