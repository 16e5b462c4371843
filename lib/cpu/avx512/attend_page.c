/* Pages of one attend call: who sees what, widening, where products read. */
#include "cpu/avx512/attend_page.h"

/* ---------------------------------------------------------------- who sees what */

static samba__span visible(const samba__attend_args *a, size_t row, uint64_t page)
{
    uint64_t at = a->position + row, first = a->first_key, start = page * SAMBA__PAGE;
    if (a->window && at + 1 > a->window && at + 1 - a->window > first)
        first = at + 1 - a->window;
    if (at < start || first >= start + SAMBA__PAGE || first > at)
        return (samba__span){0, 0};
    uint64_t end = at - start + 1;
    return (samba__span){(size_t)(first > start ? first - start : 0),
                         (size_t)(end < SAMBA__PAGE ? end : SAMBA__PAGE)};
}

samba__span samba__avx512_look(samba__attend_work *w, uint64_t page)
{
    samba__span all = {SAMBA__PAGE, 0};
    for (size_t r = 0; r < w->a->n_rows; r++) {
        samba__span s = visible(w->a, r, page);
        w->rows[r] = s;
        if (s.lo >= s.hi)
            continue;
        all.lo = s.lo < all.lo ? s.lo : all.lo;
        all.hi = s.hi > all.hi ? s.hi : all.hi;
    }
    return all;
}

/* ---------------------------------------------------------------- widening */

SAMBA__INLINE void widen_run(int kind, const uint8_t *from, float *to, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        _mm512_store_ps(to + i, samba__load_16(kind, from + i * samba__kv_elem_bytes(kind)));
}

/* A value of any width; the padding becomes 0. */
static void widen_value(int kind, const uint8_t *from, float *to, size_t c)
{
    size_t es = samba__kv_elem_bytes(kind);
    for (size_t i = 0; i < c; i += 16) {
        __mmask16 m = samba__kv_mask(c - i);
        if (kind == SAMBA__KV_F32) {
            _mm512_store_ps(to + i, _mm512_maskz_loadu_ps(m, from + i * es));
            continue;
        }
        uint8_t part[32];
        _mm256_storeu_si256((__m256i *)(void *)part, _mm256_maskz_loadu_epi16(m, from + i * es));
        _mm512_store_ps(to + i, samba__load_16(kind, part));
    }
}

/* Scales of keys and values as floats. */
static void widen_scales(const samba__attend_work *w)
{
    const samba__attend_args *a = w->a;
    size_t c = a->shape.head_dim, at = 0;
    for (size_t i = 0; i < c; i += SAMBA__KV_BLOCK)
        for (size_t j = 0; j < SAMBA__KV_QUARTERS; j++, at += 16)
            widen_run(SAMBA__KV_F16,
                      w->page + samba__kv_quarter_at(SAMBA__KV_Q8_0, a->shape, a->key_head, j) +
                          samba__kv_key_scales(c, i),
                      w->scales + at, 16);
    for (size_t h = a->value_head; h < a->value_head + a->n_value_heads; h++)
        for (size_t i = 0; i < c; i += SAMBA__KV_BLOCK, at += SAMBA__PAGE)
            widen_run(SAMBA__KV_F16,
                      w->page + samba__kv_value_at(SAMBA__KV_Q8_0, a->shape, h, 0) +
                          samba__kv_value_scales(c, i),
                      w->scales + at, SAMBA__PAGE);
}

SAMBA__INLINE void widen_keys(int kind, samba__attend_work *w, samba__span seen)
{
    const samba__attend_args *a = w->a;
    size_t c = a->shape.head_dim;
    for (size_t i = seen.lo / 16; i * 16 < seen.hi; i++) {
        const uint8_t *from = w->page + samba__kv_quarter_at(kind, a->shape, a->key_head, i);
        float *to = w->keys + i * c * 16;
        if (kind != SAMBA__KV_Q8_0)
            widen_run(kind, from, to, c * 16);
        else
            for (size_t k = 0; k < c; k++) {
                const float *scale = w->scales + k / SAMBA__KV_BLOCK * SAMBA__PAGE + i * 16;
                _mm512_store_ps(to + k * 16,
                                samba__load_bytes(from + k * 16, _mm512_load_ps(scale)));
            }
    }
}

/* Up to 64 channels, from channel i on, of slot j. */
SAMBA__INLINE void widen_part(int kind, const samba__attend_work *w, size_t h, size_t j, size_t i)
{
    const samba__attend_args *a = w->a;
    size_t c = a->shape.head_dim, n = c - i < SAMBA__PAGE ? c - i : SAMBA__PAGE;
    const uint8_t *from = w->page + samba__kv_value_at(kind, a->shape, a->value_head + h, j) +
                          i * samba__kv_elem_bytes(kind);
    float *to = w->values + ((h * w->parts + i / SAMBA__PAGE) * SAMBA__PAGE + j) * SAMBA__PAGE;
    const float *scale = w->scales + ((1 + h) * c + i) / SAMBA__KV_BLOCK * SAMBA__PAGE + j;
    if (kind == SAMBA__KV_Q8_0)
        for (size_t l = 0; l < n; l += 16)
            _mm512_store_ps(
                to + l, samba__load_bytes(
                            from + l, _mm512_set1_ps(scale[l / SAMBA__KV_BLOCK * SAMBA__PAGE])));
    else if (n % 16 == 0)
        widen_run(kind, from, to, n);
    else
        widen_value(kind, from, to, n);
}

SAMBA__INLINE void widen_values(int kind, const samba__attend_work *w, samba__span seen)
{
    for (size_t h = 0; h < w->a->n_value_heads; h++)
        for (size_t j = seen.lo; j < seen.hi; j++)
            for (size_t i = 0; i < w->a->shape.head_dim; i += SAMBA__PAGE)
                widen_part(kind, w, h, j, i);
}

/* ---------------------------------------------------------------- where products read */

/* Products read the page where it lies. */
SAMBA__INLINE void read_keys(int kind, samba__attend_work *w)
{
    const samba__attend_args *a = w->a;
    size_t es = samba__kv_elem_bytes(kind);
    w->k_read = kind == SAMBA__KV_Q8_0 ? SAMBA__READ_Q8_KEYS : kind;
    w->k.a = w->page + samba__kv_quarter_at(kind, a->shape, a->key_head, 0);
    w->k.step = 16 * es;
    w->k.across = 16 * samba__kv_row_bytes(kind, a->shape.head_dim);
    w->k.scales = w->scales;
    w->k.ahead = w->page + samba__kv_value_at(kind, a->shape, a->value_head, 0);
}

SAMBA__INLINE void read_values(int kind, samba__attend_work *w)
{
    const samba__attend_args *a = w->a;
    size_t c = a->shape.head_dim, es = samba__kv_elem_bytes(kind);
    w->v_read = kind == SAMBA__KV_Q8_0 ? SAMBA__READ_Q8_VALUES : kind;
    w->v.a = w->page + samba__kv_value_at(kind, a->shape, a->value_head, 0);
    w->v.step = c * es;
    w->v.across = 16 * es;
    w->v.scales = w->scales + c / SAMBA__KV_BLOCK * SAMBA__PAGE;
    w->v.ahead =
        (w->next ? w->next : w->page) + samba__kv_quarter_at(kind, a->shape, a->key_head, 0);
    w->v_part = SAMBA__PAGE * es;
    w->v_head = SAMBA__PAGE * samba__kv_row_bytes(kind, c);
}

/* Products read floats in scratch. */
SAMBA__INLINE void read_wide_keys(int kind, samba__attend_work *w, samba__span seen)
{
    widen_keys(kind, w, seen);
    w->k_read = SAMBA__READ_F32;
    w->k.a = (const uint8_t *)w->keys;
    w->k.step = 16 * sizeof(float);
    w->k.across = w->k.step * w->a->shape.head_dim;
    w->k.scales = w->scales;
    w->k.ahead = w->k.a;
}

SAMBA__INLINE void read_wide_values(int kind, samba__attend_work *w, samba__span seen)
{
    widen_values(kind, w, seen);
    w->v_read = SAMBA__READ_F32;
    w->v.a = (const uint8_t *)w->values;
    w->v.step = SAMBA__PAGE * sizeof(float);
    w->v.across = 16 * sizeof(float);
    w->v.scales = w->scales;
    w->v.ahead = w->v.a;
    w->v_part = SAMBA__PAGE * SAMBA__PAGE * sizeof(float);
    w->v_head = w->v_part * w->parts;
}

/* One tile reads the page directly, more tiles too if it is f32; a tail of channels is padded. */
SAMBA__INLINE void open_page(int kind, samba__attend_work *w, samba__span seen)
{
    bool direct = kind == SAMBA__KV_F32 || w->n_tiles == 1;
    if (kind == SAMBA__KV_Q8_0)
        widen_scales(w);
    if (direct)
        read_keys(kind, w);
    else
        read_wide_keys(kind, w, seen);
    if (direct && w->a->shape.head_dim % 16 == 0)
        read_values(kind, w);
    else
        read_wide_values(kind, w, seen);
}

void samba__avx512_open_page(samba__attend_work *w, samba__span seen)
{
    if (w->kind == SAMBA__KV_F32)
        open_page(SAMBA__KV_F32, w, seen);
    else if (w->kind == SAMBA__KV_F16)
        open_page(SAMBA__KV_F16, w, seen);
    else if (w->kind == SAMBA__KV_BF16)
        open_page(SAMBA__KV_BF16, w, seen);
    else
        open_page(SAMBA__KV_Q8_0, w, seen);
}
