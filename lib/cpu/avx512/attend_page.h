/*
 * What one attend call works on, and how a page becomes readable for its products: where it lies,
 * for one tile or for f32, or widened to f32 in scratch.
 */
#ifndef SAMBA_CPU_AVX512_ATTEND_PAGE_H
#define SAMBA_CPU_AVX512_ATTEND_PAGE_H

#include "cpu/avx512/attend_product.h"

/* Visible slots [lo, hi) of one page; none: lo >= hi. */
typedef struct samba__span {
    size_t lo, hi;
} samba__span;

typedef struct samba__attend_work {
    const samba__attend_args *a;
    int kind;
    size_t n_q, n_tiles, parts; /* parts: of 64 channels in a head */
    size_t wide, width;         /* padded floats of a value head, of a value */
    float *q;                   /* [n_tiles][parts][TILE][PAGE] */
    float *weights;             /* [n_q][PAGE]: scores, then weights in the page at hand */
    float *acc;                 /* [n_q][width] */
    float *sum;                 /* [n_q][16] */
    float *max;                 /* [n_q] */
    float *keys;                /* [QUARTERS][c][16] */
    float *values;              /* [n_value_heads][parts][PAGE][64] */
    float *scales;              /* q8_0: [1 + n_value_heads][c/32][PAGE] of keys, of values */
    const uint8_t *page, *next; /* next: NULL after the last one */
    samba__span rows[SAMBA__ATTEND_ROWS]; /* what each row sees of it */
    /* Where products read: the page itself, or what it was widened to. */
    samba__product k, v;
    int k_read, v_read;
    size_t v_part, v_head; /* bytes from 64 channels to the next, from head to head */
} samba__attend_work;

/* Page number `page`: sets what each row sees of it; what some row sees. */
samba__span samba__avx512_look(samba__attend_work *w, uint64_t page);
/* Sets where products read w->page, of which `seen` is needed. */
void samba__avx512_open_page(samba__attend_work *w, samba__span seen);

#endif
