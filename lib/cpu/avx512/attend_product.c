/* Products of attention, one set of tiles per kind of element. */
#include "cpu/avx512/attend_product.h"

/* Register w of step k. */
SAMBA__INLINE __m512 load_step(int read, const samba__product *p, const uint8_t *a, size_t k,
                               size_t w)
{
    if (read == SAMBA__READ_Q8_KEYS)
        return samba__load_bytes(
            a, _mm512_load_ps(p->scales + k / SAMBA__KV_BLOCK * SAMBA__PAGE + w * 16));
    if (read == SAMBA__READ_Q8_VALUES)
        return samba__load_bytes(a, _mm512_set1_ps(p->scales[w / 2 * SAMBA__PAGE + k]));
    return samba__load_16(read, a);
}

/* The loops over sum must unroll completely, or it would live in memory. */
SAMBA__INLINE void multiply(int read, size_t n_q, size_t n_w, const samba__product *at)
{
    __m512 sum[SAMBA__TILE * 4];
    const samba__product p = *at;
    const size_t row = n_w * samba__read_bytes(read);
    const uint8_t *a = p.a + p.begin * p.step;
#pragma GCC unroll 24
    for (size_t i = 0; i < n_q * n_w; i++)
        sum[i] =
            p.fresh ? _mm512_setzero_ps() : _mm512_load_ps(p.out + i / n_w * p.ld + i % n_w * 16);
    for (size_t k = p.begin; k < p.end; k++, a += p.step) {
        __m512 v[4];
        for (size_t w = 0; w < n_w; w++)
            v[w] = load_step(read, &p, a + w * p.across, k, w);
        if (read != SAMBA__READ_F32)
            for (size_t i = 0; i < row; i += 64)
                _mm_prefetch((const char *)p.ahead + k * row + i, _MM_HINT_T0);
#pragma GCC unroll 6
        for (size_t i = 0; i < n_q; i++) {
            __m512 x = _mm512_set1_ps(p.b[i * SAMBA__PAGE + k]);
            for (size_t w = 0; w < n_w; w++)
                sum[i * n_w + w] = _mm512_fmadd_ps(x, v[w], sum[i * n_w + w]);
        }
    }
#pragma GCC unroll 24
    for (size_t i = 0; i < n_q * n_w; i++)
        _mm512_store_ps(p.out + i / n_w * p.ld + i % n_w * 16, sum[i]);
}

SAMBA__INLINE void multiply_by(int read, size_t n_q, size_t n_w, const samba__product *p)
{
    if (n_w == 4)
        multiply(read, n_q, 4, p);
    else if (n_w == 2)
        multiply(read, n_q, 2, p);
    else
        multiply(read, n_q, 1, p);
}

SAMBA__INLINE void multiply_any(int read, size_t n_q, size_t n_w, const samba__product *p)
{
    switch (n_q) {
    case 1:
        multiply_by(read, 1, n_w, p);
        break;
    case 2:
        multiply_by(read, 2, n_w, p);
        break;
    case 3:
        multiply_by(read, 3, n_w, p);
        break;
    case 4:
        multiply_by(read, 4, n_w, p);
        break;
    case 5:
        multiply_by(read, 5, n_w, p);
        break;
    default:
        multiply_by(read, 6, n_w, p);
    }
}

static void multiply_f32(size_t n_q, size_t n_w, const samba__product *p)
{
    multiply_any(SAMBA__READ_F32, n_q, n_w, p);
}

static void multiply_f16(size_t n_q, size_t n_w, const samba__product *p)
{
    multiply_any(SAMBA__READ_F16, n_q, n_w, p);
}

static void multiply_bf16(size_t n_q, size_t n_w, const samba__product *p)
{
    multiply_any(SAMBA__READ_BF16, n_q, n_w, p);
}

static void multiply_q8_keys(size_t n_q, size_t n_w, const samba__product *p)
{
    multiply_any(SAMBA__READ_Q8_KEYS, n_q, n_w, p);
}

static void multiply_q8_values(size_t n_q, size_t n_w, const samba__product *p)
{
    multiply_any(SAMBA__READ_Q8_VALUES, n_q, n_w, p);
}

/* n registers across, as fours, twos and ones. */
void samba__avx512_multiply(int read, size_t n_q, size_t n, samba__product p)
{
    static void (*const by_read[])(size_t, size_t, const samba__product *) = {
        [SAMBA__READ_F32] = multiply_f32,
        [SAMBA__READ_F16] = multiply_f16,
        [SAMBA__READ_BF16] = multiply_bf16,
        [SAMBA__READ_Q8_KEYS] = multiply_q8_keys,
        [SAMBA__READ_Q8_VALUES] = multiply_q8_values,
    };
    for (size_t step; n > 0; n -= step) {
        step = n >= 4 ? 4 : n >= 2 ? 2 : 1;
        by_read[read](n_q, step, &p);
        p.a += step * p.across;
        p.out += step * 16;
        if (read == SAMBA__READ_Q8_KEYS)
            p.scales += step * 16;
        if (read == SAMBA__READ_Q8_VALUES)
            p.scales += step / 2 * SAMBA__PAGE;
    }
}
