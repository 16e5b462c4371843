/* Q4_K weights on any AVX-512 machine: panels and products; the layout is linear_q4_k.h's. */
#include "cpu/avx512/linear_q4_k.h"

#include "cpu/avx512/linear_int8_panels.h"
#include "cpu/avx512/linear_int8_plain.h"

#include "cpu/avx512/linear_int8_run.h"

SAMBA__INLINE void pack_rows(const uint8_t *src, size_t stride, size_t n, uint8_t *unit)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    for (size_t b = 0; b < n / 8; b++, src += samba__int8.file_bytes) {
        samba__int8_put_rows(src, stride, 1, unit + 256 * b);
        samba__int8_put_rows(src + 16, stride, 8, to + 2048 * b);
    }
}

SAMBA__INLINE void pack_lane(const uint8_t *src, size_t n, uint8_t *unit, size_t lane)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    for (size_t b = 0; b < n / 8; b++, src += samba__int8.file_bytes) {
        samba__int8_put_lane(src, 1, unit + 256 * b, lane);
        samba__int8_put_lane(src + 16, 8, to + 2048 * b, lane);
    }
}

void samba__avx512_linear_q4_k(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        samba__int8_panel_size,          samba__int8_pack, samba__avx512_int8_row_bytes,
        samba__avx512_int8_prepare_rows, samba__int8_run,  samba__int8_gather};
}
