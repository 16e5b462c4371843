/*
 * A format's functions over tiles of few rows (packed weights) and many (unpacked ones). The
 * including file defines one inline function, samba__v8_tile_run(), which is inlined here once per
 * number of rows, so that its arrays become registers.
 */
#ifndef SAMBA_CPU_AVX2_LINEAR_TILES_H
#define SAMBA_CPU_AVX2_LINEAR_TILES_H

#include "cpu/avx2/linear_blocks.h"

SAMBA__V8_INLINE void samba__v8_tile_run(bool packed, const samba__v8_tile *t, size_t n_r);

static void few(const samba__v8_tile *t, size_t n_rows)
{
    if (n_rows == 1)
        samba__v8_tile_run(true, t, 1);
    else
        samba__v8_tile_run(true, t, SAMBA__V8_FEW);
}

static void many(const samba__v8_tile *t, size_t n_rows)
{
    switch (n_rows) {
    case 1:
        samba__v8_tile_run(false, t, 1);
        break;
    case 2:
        samba__v8_tile_run(false, t, 2);
        break;
    case 3:
        samba__v8_tile_run(false, t, 3);
        break;
    case 4:
        samba__v8_tile_run(false, t, 4);
        break;
    case 5:
        samba__v8_tile_run(false, t, 5);
        break;
    default:
        samba__v8_tile_run(false, t, SAMBA__V8_ROWS);
        break;
    }
}

#endif
