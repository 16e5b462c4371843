/*
 * Little-endian loads and stores, and a bounded cursor over untrusted bytes: reading past the end
 * gives zeros and sets `failed`, which the caller checks once per record.
 */
#ifndef SAMBA_BASE_BYTES_H
#define SAMBA_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t samba__load_u16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t samba__load_u32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t samba__load_u64(const void *p)
{
    const uint8_t *b = p;
    return samba__load_u32(b) | (uint64_t)samba__load_u32(b + 4) << 32;
}

static inline void samba__store_u16(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

static inline void samba__store_u32(void *p, uint32_t v)
{
    samba__store_u16(p, (uint16_t)v);
    samba__store_u16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}

static inline void samba__store_u64(void *p, uint64_t v)
{
    samba__store_u32(p, (uint32_t)v);
    samba__store_u32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

typedef struct samba__cursor {
    const uint8_t *data;
    size_t size;
    size_t pos;
    bool failed;
} samba__cursor;

/* The next n bytes, or NULL (and failed) when fewer are left. */
static inline const uint8_t *samba__cursor_take(samba__cursor *c, size_t n)
{
    if (c->failed || n > c->size - c->pos) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->data + c->pos;
    c->pos += n;
    return p;
}

static inline uint8_t samba__cursor_u8(samba__cursor *c)
{
    const uint8_t *p = samba__cursor_take(c, 1);
    return p ? *p : 0;
}

static inline uint16_t samba__cursor_u16(samba__cursor *c)
{
    const uint8_t *p = samba__cursor_take(c, 2);
    return p ? samba__load_u16(p) : 0;
}

static inline uint32_t samba__cursor_u32(samba__cursor *c)
{
    const uint8_t *p = samba__cursor_take(c, 4);
    return p ? samba__load_u32(p) : 0;
}

static inline uint64_t samba__cursor_u64(samba__cursor *c)
{
    const uint8_t *p = samba__cursor_take(c, 8);
    return p ? samba__load_u64(p) : 0;
}

#endif
