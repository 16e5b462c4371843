/*
 * Two open-addressing tables: text -> id and (left id, right id) -> merge. Keys come from untrusted
 * files, so a probe longer than any honest table needs is refused instead of going quadratic.
 */
#ifndef SAMBA_TOKEN_VOCAB_MAP_H
#define SAMBA_TOKEN_VOCAB_MAP_H

#include "base/alloc.h"
#include "token/tokenizer.h"

/* Ids of texts. Borrows the texts, which must outlive the map. */
typedef struct samba__vocab_map {
    uint32_t *slots; /* [mask + 1]: id + 1, 0 = free */
    size_t mask;
    const samba__text *texts; /* by id */
} samba__vocab_map;

typedef enum samba__put {
    SAMBA__PUT_NEW,
    SAMBA__PUT_THERE,
    SAMBA__PUT_CROWDED
} samba__put;

/* Room for n entries; false when memory is out. */
bool samba__vocab_map_init(samba__vocab_map *map, const samba_allocator *a, size_t n,
                           const samba__text *texts);
void samba__vocab_map_free(samba__vocab_map *map, const samba_allocator *a);
/* Enters texts[id]; THERE: its text had an entry already, which stays. */
samba__put samba__vocab_map_put(samba__vocab_map *map, samba_token id);
/* -1 if absent. */
samba_token samba__vocab_map_get(const samba__vocab_map *map, const char *text, size_t size);

typedef struct samba__merge {
    uint64_t key; /* left << 32 | right; all ones = free */
    uint32_t rank;
    samba_token id;
} samba__merge;

/*
 * `joins` has a bit for every pair of neighbouring characters between which some merge can happen
 * (hashed: a set bit may be wrong, a clear one never is). Where it is clear a word falls apart into
 * independent parts.
 */
typedef struct samba__merges {
    samba__merge *slots; /* [mask + 1] */
    size_t mask;
    uint64_t joins[1024];
} samba__merges;

bool samba__merges_init(samba__merges *m, const samba_allocator *a, size_t n);
void samba__merges_free(samba__merges *m, const samba_allocator *a);
/* A pair entered again replaces the earlier entry. False: crowded. */
bool samba__merges_put(samba__merges *m, samba_token left, samba_token right, uint32_t rank,
                       samba_token id);
/* NULL if the pair does not merge. */
const samba__merge *samba__merges_get(const samba__merges *m, samba_token left, samba_token right);

static inline uint32_t samba__join_bit(uint32_t left_cp, uint32_t right_cp)
{
    return (left_cp * 0x9e3779b1u ^ right_cp * 0x85ebca6bu) >> 16;
}

static inline void samba__join_set(samba__merges *m, uint32_t left_cp, uint32_t right_cp)
{
    uint32_t bit = samba__join_bit(left_cp, right_cp);
    m->joins[bit >> 6] |= (uint64_t)1 << (bit & 63);
}

static inline bool samba__joins(const samba__merges *m, uint32_t left_cp, uint32_t right_cp)
{
    uint32_t bit = samba__join_bit(left_cp, right_cp);
    return m->joins[bit >> 6] >> (bit & 63) & 1;
}

#endif
