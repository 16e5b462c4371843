/*
 * Philox4x32-10: a block of random bits as a pure function of counter and key, so that a draw needs
 * no state and is the same on every platform. Constants are those of the paper.
 */
#include "base/rng.h"

enum {
    ROUNDS = 10
};

void samba__philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

double samba__rng_uniform(uint64_t seed, uint64_t branch, uint64_t position)
{
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)branch,
                                 (uint32_t)(branch >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    samba__philox4x32(counter, key, r);
    uint64_t bits = ((uint64_t)r[1] << 32 | r[0]) >> 11;
    return (double)bits * 0x1p-53;
}
