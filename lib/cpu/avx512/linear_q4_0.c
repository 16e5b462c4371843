/* Q4_0 weights on any AVX-512 machine: panels and products; the layout is linear_q4_0.h's. */
#include "cpu/avx512/linear_q4_0.h"

#include "cpu/avx512/linear_int8_panels.h"
#include "cpu/avx512/linear_int8_plain.h"

#include "cpu/avx512/linear_int8_run.h"

SAMBA__INLINE void pack_rows(const uint8_t *src, size_t stride, size_t n, uint8_t *unit)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    for (size_t b = 0; b < n; b++, src += samba__int8.file_bytes, to += 256) {
        samba__int8_put_f16(src, stride, unit + 32 * b);
        samba__int8_put_rows(src + 2, stride, 1, to);
    }
}

SAMBA__INLINE void pack_lane(const uint8_t *src, size_t n, uint8_t *unit, size_t lane)
{
    uint8_t *to = unit + samba__int8_head_bytes(n);
    for (size_t b = 0; b < n; b++, src += samba__int8.file_bytes, to += 256) {
        memcpy(unit + 32 * b + 2 * lane, src, 2);
        samba__int8_put_lane(src + 2, 1, to, lane);
    }
}

void samba__avx512_linear_q4_0(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        samba__int8_panel_size,          samba__int8_pack, samba__avx512_int8_row_bytes,
        samba__avx512_int8_prepare_rows, samba__int8_run,  samba__int8_gather};
}
