/*
 * The tables of vocab_map.h: power-of-two sizes, at most half full, linear probing.
 */
#include "token/vocab_map.h"
#include "base/bytes.h"

#include <string.h>

/* Far beyond what half-full tables of honest keys need. */
enum {
    PROBES_MAX = 1024
};

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 29;
    h *= 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

static uint64_t hash_text(const char *text, size_t size)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ size;
    for (; size >= 8; text += 8, size -= 8)
        h = mix(h ^ samba__load_u64(text)) + 0x2545f4914f6cdd1du;
    uint64_t rest = 0;
    for (size_t i = 0; i < size; i++)
        rest |= (uint64_t)(unsigned char)text[i] << 8 * i;
    return mix(h ^ rest);
}

/* Slots for n entries at most half full; 0 on overflow. */
static size_t table_size(size_t n)
{
    size_t size = 16;
    if (n > SIZE_MAX / 8)
        return 0;
    while (size < 2 * n)
        size *= 2;
    return size;
}

bool samba__vocab_map_init(samba__vocab_map *map, const samba_allocator *a, size_t n,
                           const samba__text *texts)
{
    size_t size = table_size(n);
    *map = (samba__vocab_map){.texts = texts};
    map->slots = size ? samba__calloc(a, size, sizeof *map->slots) : NULL;
    map->mask = size - 1;
    return map->slots != NULL;
}

void samba__vocab_map_free(samba__vocab_map *map, const samba_allocator *a)
{
    samba__free(a, map->slots);
    map->slots = NULL;
}

static bool same_text(samba__text a, const char *text, size_t size)
{
    return a.size == size && (size == 0 || memcmp(a.data, text, size) == 0);
}

samba__put samba__vocab_map_put(samba__vocab_map *map, samba_token id)
{
    samba__text t = map->texts[id];
    size_t at = hash_text(t.data, t.size) & map->mask;
    for (size_t probes = 0; probes < PROBES_MAX; probes++, at = (at + 1) & map->mask) {
        if (map->slots[at] == 0) {
            map->slots[at] = (uint32_t)id + 1;
            return SAMBA__PUT_NEW;
        }
        if (same_text(map->texts[map->slots[at] - 1], t.data, t.size))
            return SAMBA__PUT_THERE;
    }
    return SAMBA__PUT_CROWDED;
}

samba_token samba__vocab_map_get(const samba__vocab_map *map, const char *text, size_t size)
{
    if (!map->slots)
        return -1;
    size_t at = hash_text(text, size) & map->mask;
    for (size_t p = 0; p < PROBES_MAX && map->slots[at]; p++, at = (at + 1) & map->mask)
        if (same_text(map->texts[map->slots[at] - 1], text, size))
            return (samba_token)(map->slots[at] - 1);
    return -1;
}

bool samba__merges_init(samba__merges *m, const samba_allocator *a, size_t n)
{
    size_t size = table_size(n);
    *m = (samba__merges){.mask = size - 1};
    m->slots = size ? samba__alloc_array(a, size, sizeof *m->slots) : NULL;
    if (!m->slots)
        return false;
    memset(m->slots, 0xff, size * sizeof *m->slots);
    return true;
}

void samba__merges_free(samba__merges *m, const samba_allocator *a)
{
    samba__free(a, m->slots);
    m->slots = NULL;
}

static uint64_t pair_key(samba_token left, samba_token right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

bool samba__merges_put(samba__merges *m, samba_token left, samba_token right, uint32_t rank,
                       samba_token id)
{
    uint64_t key = pair_key(left, right);
    size_t at = mix(key) & m->mask;
    for (size_t probes = 0; probes < PROBES_MAX; probes++, at = (at + 1) & m->mask) {
        if (m->slots[at].key == UINT64_MAX || m->slots[at].key == key) {
            m->slots[at] = (samba__merge){key, rank, id};
            return true;
        }
    }
    return false;
}

const samba__merge *samba__merges_get(const samba__merges *m, samba_token left, samba_token right)
{
    uint64_t key = pair_key(left, right);
    size_t at = mix(key) & m->mask;
    for (size_t p = 0; p < PROBES_MAX && m->slots[at].key != UINT64_MAX; p++)
        if (m->slots[at].key == key)
            return &m->slots[at];
        else
            at = (at + 1) & m->mask;
    return NULL;
}
