/*
 * Looking at GGUF metadata: by key or number, with conversions that never lose anything (integers
 * of any width if the value fits). Works on what gguf.c has checked.
 */
#include "format/gguf_meta.h"
#include "base/bytes.h"
#include "base/half.h"

#include <string.h>

uint32_t samba__gguf_type_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof bytes ? bytes[type] : 0;
}

void samba__gguf_free(samba__gguf *gguf)
{
    if (!gguf)
        return;
    samba__free(gguf->alloc, gguf->values);
    samba__free(gguf->alloc, gguf->by_key);
    samba__arena_free(&gguf->arena);
    samba__free(gguf->alloc, gguf);
}

const samba__gguf_value *samba__gguf_find(const samba__gguf *gguf, const char *key)
{
    size_t low = 0, high = gguf->n_values;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const samba__gguf_value *v = gguf->by_key[mid];
        const int c = strcmp(key, v->key);
        if (c == 0)
            return v;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

size_t samba__gguf_n_values(const samba__gguf *gguf)
{
    return gguf->n_values;
}

const samba__gguf_value *samba__gguf_value_at(const samba__gguf *gguf, size_t i, const char **key)
{
    if (i >= gguf->n_values)
        return NULL;
    *key = gguf->values[i].key;
    return &gguf->values[i];
}

/* ---- numbers ---- */

/* The bits of an integer, sign-extended where the type is signed. */
static bool load_int(uint32_t type, const uint8_t *p, uint64_t *bits, bool *negative)
{
    switch (type) {
    case SAMBA__GGUF_U8:
        *bits = p[0];
        break;
    case SAMBA__GGUF_I8:
        *bits = (uint64_t)(int64_t)(int8_t)p[0];
        break;
    case SAMBA__GGUF_U16:
        *bits = samba__load_u16(p);
        break;
    case SAMBA__GGUF_I16:
        *bits = (uint64_t)(int64_t)(int16_t)samba__load_u16(p);
        break;
    case SAMBA__GGUF_U32:
        *bits = samba__load_u32(p);
        break;
    case SAMBA__GGUF_I32:
        *bits = (uint64_t)(int64_t)(int32_t)samba__load_u32(p);
        break;
    case SAMBA__GGUF_U64:
    case SAMBA__GGUF_I64:
        *bits = samba__load_u64(p);
        break;
    default:
        return false;
    }
    *negative = type != SAMBA__GGUF_U64 && *bits >> 63;
    return true;
}

static bool load_u64(uint32_t type, const uint8_t *p, uint64_t *out)
{
    uint64_t bits;
    bool negative;
    if (!load_int(type, p, &bits, &negative) || negative)
        return false;
    *out = bits;
    return true;
}

static bool load_i64(uint32_t type, const uint8_t *p, int64_t *out)
{
    uint64_t bits;
    bool negative;
    if (!load_int(type, p, &bits, &negative) || (!negative && bits > INT64_MAX))
        return false;
    *out = (int64_t)bits;
    return true;
}

static bool load_f64(uint32_t type, const uint8_t *p, double *out)
{
    if (type == SAMBA__GGUF_F32) {
        *out = (double)samba__f32_from_bits(samba__load_u32(p));
        return true;
    }
    if (type != SAMBA__GGUF_F64)
        return false;
    const uint64_t bits = samba__load_u64(p);
    memcpy(out, &bits, sizeof *out);
    return true;
}

bool samba__gguf_get_u64(const samba__gguf_value *v, uint64_t *out)
{
    return v && load_u64(v->type, v->as.scalar, out);
}

bool samba__gguf_get_i64(const samba__gguf_value *v, int64_t *out)
{
    return v && load_i64(v->type, v->as.scalar, out);
}

bool samba__gguf_get_f64(const samba__gguf_value *v, double *out)
{
    return v && load_f64(v->type, v->as.scalar, out);
}

bool samba__gguf_get_bool(const samba__gguf_value *v, bool *out)
{
    if (!v || v->type != SAMBA__GGUF_BOOL)
        return false;
    *out = v->as.scalar[0] != 0;
    return true;
}

bool samba__gguf_get_string(const samba__gguf_value *v, samba__string *out)
{
    if (!v || v->type != SAMBA__GGUF_STRING)
        return false;
    *out = (samba__string){(const char *)v->as.data, v->n};
    return true;
}

/* ---- arrays ---- */

size_t samba__gguf_array_size(const samba__gguf_value *v)
{
    return v && v->type == SAMBA__GGUF_ARRAY ? v->n : 0;
}

/* Element i of an array of numbers. */
static const uint8_t *element(const samba__gguf_value *v, size_t i)
{
    return v->as.data + i * samba__gguf_type_bytes(v->elem_type);
}

bool samba__gguf_array_u64(const samba__gguf_value *v, size_t i, uint64_t *out)
{
    return i < samba__gguf_array_size(v) && load_u64(v->elem_type, element(v, i), out);
}

bool samba__gguf_array_i64(const samba__gguf_value *v, size_t i, int64_t *out)
{
    return i < samba__gguf_array_size(v) && load_i64(v->elem_type, element(v, i), out);
}

bool samba__gguf_array_f64(const samba__gguf_value *v, size_t i, double *out)
{
    return i < samba__gguf_array_size(v) && load_f64(v->elem_type, element(v, i), out);
}

bool samba__gguf_array_string(const samba__gguf_value *v, size_t i, samba__string *out)
{
    if (i >= samba__gguf_array_size(v) || v->elem_type != SAMBA__GGUF_STRING)
        return false;
    const size_t begin = i ? v->ends[i - 1] : 0;
    *out = (samba__string){(const char *)v->as.data + begin, v->ends[i] - begin};
    return true;
}
