/* Q6_K weights on any AVX-512 machine: panels and products; the layout is linear_q6_k.h's. */
#include "cpu/avx512/linear_q6_k.h"

#include "cpu/avx512/linear_int8_panels.h"
#include "cpu/avx512/linear_int8_plain.h"

#include "cpu/avx512/linear_int8_run.h"

SAMBA__INLINE void pack_rows(const uint8_t *src, size_t stride, size_t n, uint8_t *unit)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    uint8_t *d = unit + n / 8 * SAMBA__Q6_K_FACTORS;
    for (size_t b = 0; b < n / 8; b++, src += samba__int8.file_bytes) {
        samba__int8_put_rows(src + 192, stride, 1, unit + b * SAMBA__Q6_K_FACTORS);
        samba__int8_put_f16(src + 208, stride, d + 32 * b);
        for (size_t h = 0; h < 2; h++, to += 4 * samba__int8.block_bytes) {
            samba__int8_put_rows(src + 64 * h, stride, 4, to);
            samba__int8_put_rows(src + 128 + 32 * h, stride, 2, to + SAMBA__Q6_K_LOW);
        }
    }
}

SAMBA__INLINE void pack_lane(const uint8_t *src, size_t n, uint8_t *unit, size_t lane)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    uint8_t *d = unit + n / 8 * SAMBA__Q6_K_FACTORS;
    for (size_t b = 0; b < n / 8; b++, src += samba__int8.file_bytes) {
        samba__int8_put_lane(src + 192, 1, unit + b * SAMBA__Q6_K_FACTORS, lane);
        memcpy(d + 32 * b + 2 * lane, src + 208, 2);
        for (size_t h = 0; h < 2; h++, to += 4 * samba__int8.block_bytes) {
            samba__int8_put_lane(src + 64 * h, 4, to, lane);
            samba__int8_put_lane(src + 128 + 32 * h, 2, to + SAMBA__Q6_K_LOW, lane);
        }
    }
}

void samba__avx512_linear_q6_k(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        samba__int8_panel_size,          samba__int8_pack, samba__avx512_int8_row_bytes,
        samba__avx512_int8_prepare_rows, samba__int8_run,  samba__int8_gather};
}
