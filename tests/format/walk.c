/* The walk of util.h, on its own so that the fuzz targets can use it without a test framework. */
#include "format/util.h"

#include <stdlib.h>
#include <string.h>

static unsigned char sink; /* keeps reads of the bytes from being optimised away */

static void touch(const char *data, size_t n)
{
    unsigned char x = 0;
    for (size_t i = 0; i < n; i++)
        x = (unsigned char)(x ^ (unsigned char)data[i]);
    sink = (unsigned char)(sink ^ x);
}

static bool walk_tensors(const samba__checkpoint *c)
{
    for (size_t i = 0; i < c->n_tensors; i++) {
        const samba__file_tensor *t = &c->tensors[i];
        char *data = malloc(t->bytes ? (size_t)t->bytes : 1);
        bool good = data && t->n_dims <= 4 && t->dtype_name[0] && t->file < c->n_sources &&
                    samba__checkpoint_find(c, t->name) == t &&
                    (i == 0 || strcmp(c->tensors[i - 1].name, t->name) < 0) &&
                    samba__checkpoint_read(c, t, 0, data, (size_t)t->bytes, NULL) == SAMBA_OK &&
                    samba__checkpoint_read(c, t, t->bytes, data, 1, NULL) != SAMBA_OK &&
                    samba__checkpoint_read(c, t, UINT64_MAX, data, 2, NULL) != SAMBA_OK;
        if (good)
            touch(data, (size_t)t->bytes);
        free(data);
        if (!good)
            return false;
    }
    return true;
}

static bool walk_array(const samba__gguf_value *v)
{
    const size_t n = samba__gguf_array_size(v);
    uint64_t u;
    int64_t s;
    double d;
    samba__string text;
    for (size_t i = 0; i < n; i++) {
        const bool is_u = samba__gguf_array_u64(v, i, &u), is_s = samba__gguf_array_i64(v, i, &s);
        if (is_u && is_s && (int64_t)u != s)
            return false;
        if ((is_u || is_s) && samba__gguf_array_f64(v, i, &d))
            return false;
        if (samba__gguf_array_string(v, i, &text))
            touch(text.data, text.size);
    }
    return !samba__gguf_array_u64(v, n, &u) && !samba__gguf_array_string(v, n, &text);
}

static bool walk_values(const samba__gguf *g)
{
    const size_t n = samba__gguf_n_values(g);
    uint64_t u;
    int64_t s;
    double d;
    bool b;
    samba__string text;
    for (size_t i = 0; i < n; i++) {
        const char *key = NULL;
        const samba__gguf_value *v = samba__gguf_value_at(g, i, &key);
        if (!v || samba__gguf_find(g, key) != v)
            return false;
        const bool is_u = samba__gguf_get_u64(v, &u), is_s = samba__gguf_get_i64(v, &s);
        if (is_u && is_s && (int64_t)u != s)
            return false;
        if ((int)(is_u || is_s) + (int)samba__gguf_get_f64(v, &d) +
                (int)samba__gguf_get_bool(v, &b) + (int)samba__gguf_get_string(v, &text) +
                (int)(samba__gguf_array_size(v) > 0) >
            1)
            return false;
        if (samba__gguf_get_string(v, &text))
            touch(text.data, text.size);
        if (!walk_array(v))
            return false;
    }
    return true;
}

bool walk(const samba__checkpoint *checkpoint)
{
    return walk_tensors(checkpoint) && (!checkpoint->gguf || walk_values(checkpoint->gguf));
}
