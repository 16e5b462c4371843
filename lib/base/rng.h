/* Philox4x32-10 (Salmon et al.: "Parallel random numbers: as easy as 1, 2, 3", 2011). */
#ifndef SAMBA_BASE_RNG_H
#define SAMBA_BASE_RNG_H

#include <stdint.h>

void samba__philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* Uniform in [0, 1) with 53 bits; counter = (position, branch), key = seed. */
double samba__rng_uniform(uint64_t seed, uint64_t branch, uint64_t position);

#endif
