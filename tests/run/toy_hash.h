/* The hashes that the toy backend and its plain form both compute. */
#ifndef TOY_HASH_H
#define TOY_HASH_H

#include "samba.h"

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6))) + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t embed_of(samba_token token)
{
    return mix((uint64_t)token, 77);
}

static inline uint64_t slab_next(uint64_t slab, uint64_t h)
{
    return mix(slab, h);
}

static inline uint64_t stored(uint64_t h, uint32_t sublayer)
{
    return mix(h, 500 + sublayer);
}

#endif
