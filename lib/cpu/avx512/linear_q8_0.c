/* Q8_0 weights on any AVX-512 machine: panels and products; the layout is linear_q8_0.h's. */
#include "cpu/avx512/linear_q8_0.h"

#include "cpu/avx512/linear_int8_panels.h"
#include "cpu/avx512/linear_int8_plain.h"

#include "cpu/avx512/linear_int8_run.h"

SAMBA__INLINE void pack_rows(const uint8_t *src, size_t stride, size_t n, uint8_t *unit)
{
    const __m512i sign = _mm512_set1_epi8(-128);
    uint8_t *to = unit + samba__int8_head_bytes(n);
    for (size_t b = 0; b < n; b++, src += samba__int8.file_bytes) {
        samba__int8_put_f16(src, stride, unit + 32 * b);
        for (size_t i = 0; i < 2; i++, to += 256) {
            __m512i t[4];
            samba__int8_transpose(src + 2 + 16 * i, stride, t);
            for (size_t k = 0; k < 4; k++)
                _mm512_store_si512(to + 64 * k, _mm512_xor_si512(t[k], sign));
        }
    }
}

SAMBA__INLINE void pack_lane(const uint8_t *src, size_t n, uint8_t *unit, size_t lane)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    for (size_t b = 0; b < n; b++, src += samba__int8.file_bytes, to += SAMBA__INT8_QUANTS) {
        memcpy(unit + 32 * b + 2 * lane, src, 2);
        for (size_t k = 0; k < SAMBA__INT8_COLS; k++)
            to[k / 4 * 64 + lane * 4 + k % 4] = src[2 + k] ^ 0x80;
    }
}

void samba__avx512_linear_q8_0(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        samba__int8_panel_size,          samba__int8_pack, samba__avx512_int8_row_bytes,
        samba__avx512_int8_prepare_rows, samba__int8_run,  samba__int8_gather};
}
