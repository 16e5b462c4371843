/*
 * Attention over pages. Pages outside, tiles of up to 6 queries inside; where more than one tile
 * uses a page it is widened to f32 once per call.
 *
 * One query's numbers depend on its own visible keys only: a score is one chain over c, in parts of
 * 64 kept in f32; the sum of weights is 16 lanes over the pages and one tree at the end; values are
 * added in order of position, first those that only a part of the tile sees. Slots that a query
 * does not see are masked off or not read. q is scaled by scale*log2(e) at the start, so that
 * exp(s - max) is one power of 2.
 */
#include "cpu/avx512/attend_page.h"
#include "cpu/avx512/math.h"

/* ---------------------------------------------------------------- begin and end of a call */

/* Carves the scratch for n_q queries; floats used. */
static size_t carve(samba__attend_work *w, samba__kv_shape shape, size_t n_q, size_t n_value_heads,
                    float *p)
{
    size_t c = shape.head_dim;
    w->n_q = n_q;
    w->n_tiles = (n_q + SAMBA__TILE - 1) / SAMBA__TILE;
    w->parts = (c + SAMBA__PAGE - 1) / SAMBA__PAGE;
    w->wide = samba__pad16(c);
    w->width = w->wide * n_value_heads;
    size_t sizes[] = {SAMBA__PAGE * c,   SAMBA__PAGE * SAMBA__PAGE * w->parts * n_value_heads,
                      n_q * w->width,    w->n_tiles * w->parts * SAMBA__TILE * SAMBA__PAGE,
                      n_q * SAMBA__PAGE, n_q * 16,
                      samba__pad16(n_q), (1 + n_value_heads) * (c / SAMBA__KV_BLOCK) * SAMBA__PAGE};
    float **to[] = {&w->keys,    &w->values, &w->acc, &w->q,
                    &w->weights, &w->sum,    &w->max, &w->scales};
    size_t used = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; used += sizes[i++])
        if (p)
            *to[i] = p + used;
    return used;
}

static size_t scratch_bytes(samba__kv_shape shape, size_t n_heads, size_t n_value_heads)
{
    samba__attend_work w;
    return sizeof(float) * carve(&w, shape, SAMBA__ATTEND_ROWS * n_heads, n_value_heads, NULL);
}

/* Queries [first, first + n) of tile t: n differs by at most 1 over the tiles. */
typedef struct tile {
    size_t first, n;
    const float *q;
} tile;

static tile tile_of(const samba__attend_work *w, size_t t)
{
    size_t n = w->n_q / w->n_tiles, more = w->n_q % w->n_tiles;
    return (tile){.first = t * n + (t < more ? t : more),
                  .n = n + (t < more ? 1 : 0),
                  .q = w->q + t * w->parts * SAMBA__TILE * SAMBA__PAGE};
}

static void begin_tile(const samba__attend_work *w, size_t t)
{
    const samba__attend_args *a = w->a;
    tile now = tile_of(w, t);
    size_t c = a->shape.head_dim;
    __m512 scale = _mm512_set1_ps(a->scale * SAMBA__LOG2_E);
    for (size_t i = 0; i < now.n; i++) {
        size_t row = (now.first + i) / a->n_heads, head = (now.first + i) % a->n_heads;
        const float *q = a->q + row * a->ldq + head * a->q_stride;
        float *to = w->q + t * w->parts * SAMBA__TILE * SAMBA__PAGE + i * SAMBA__PAGE;
        for (size_t j = 0; j < c; j += 16) {
            __m512 v = _mm512_maskz_loadu_ps(samba__kv_mask(c - j), q + j);
            _mm512_store_ps(to + j / SAMBA__PAGE * SAMBA__TILE * SAMBA__PAGE + j % SAMBA__PAGE,
                            _mm512_mul_ps(v, scale));
        }
    }
}

static void begin(const samba__attend_work *w)
{
    for (size_t t = 0; t < w->n_tiles; t++)
        begin_tile(w, t);
    for (size_t i = 0; i < w->n_q * w->width; i += 16)
        _mm512_store_ps(w->acc + i, _mm512_setzero_ps());
    for (size_t i = 0; i < w->n_q; i++) {
        _mm512_store_ps(w->sum + 16 * i, _mm512_setzero_ps());
        w->max[i] = -__builtin_inff();
    }
}

static void finish(const samba__attend_work *w)
{
    const samba__attend_args *a = w->a;
    size_t c = a->shape.head_dim;
    for (size_t i = 0; i < w->n_q; i++) {
        float *y = a->y + i / a->n_heads * a->ldy + i % a->n_heads * a->y_stride;
        __m512 sum = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_load_ps(w->sum + 16 * i)));
        for (size_t h = 0; h < a->n_value_heads; h++)
            for (size_t j = 0; j < c; j += 16) {
                __m512 v = _mm512_load_ps(w->acc + i * w->width + h * w->wide + j);
                _mm512_mask_storeu_ps(y + h * c + j, samba__kv_mask(c - j), _mm512_div_ps(v, sum));
            }
    }
}

/* ---------------------------------------------------------------- one tile and one page */

static void fetch(const uint8_t *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/* Asks for a tile's share of the page after this one. */
static void fetch_share(const samba__attend_work *w, size_t t)
{
    const samba__attend_args *a = w->a;
    if (!w->next || w->n_tiles == 1)
        return;
    size_t keys = SAMBA__PAGE * samba__kv_row_bytes(w->kind, a->shape.head_dim);
    size_t n_values = keys * a->n_value_heads, n = w->n_tiles;
    fetch(w->next + samba__kv_quarter_at(w->kind, a->shape, a->key_head, 0), keys * t / n,
          keys * (t + 1) / n);
    fetch(w->next + samba__kv_value_at(w->kind, a->shape, a->value_head, 0), n_values * t / n,
          n_values * (t + 1) / n);
}

static samba__span seen_by(const samba__attend_work *w, const tile *t, size_t i)
{
    return w->rows[(t->first + i) / w->a->n_heads];
}

/* q_i . k_j * scale * log2(e) in the quarters of `seen`. */
static void scores(const samba__attend_work *w, const tile *t, samba__span seen)
{
    size_t c = w->a->shape.head_dim, first = seen.lo / 16, n = (seen.hi + 15) / 16 - first;
    samba__product p = w->k;
    p.out = w->weights + t->first * SAMBA__PAGE + first * 16;
    p.ld = SAMBA__PAGE;
    p.a += first * p.across;
    p.b = t->q;
    p.fresh = true;
    for (size_t i = 0; i < c;
         i += SAMBA__PAGE, p.b += SAMBA__TILE * SAMBA__PAGE, p.a += SAMBA__PAGE * p.step) {
        p.end = c - i < SAMBA__PAGE ? c - i : SAMBA__PAGE;
        p.ahead = w->k.ahead + i * 4 * samba__read_bytes(w->k_read);
        if (w->k_read == SAMBA__READ_Q8_KEYS)
            p.scales = w->k.scales + i / SAMBA__KV_BLOCK * SAMBA__PAGE + first * 16;
        samba__avx512_multiply(w->k_read, t->n, n, p);
        p.fresh = false;
    }
}

/* A new maximum of query i: what was summed up before shrinks. */
static void shrink(const samba__attend_work *w, size_t i, float max)
{
    __m512 fade =
        samba__exp2_512(_mm512_set1_ps(w->max[i] - max)); /* 0 the first time: -inf - max */
    float *acc = w->acc + i * w->width;
    w->max[i] = max;
    _mm512_store_ps(w->sum + 16 * i, _mm512_mul_ps(_mm512_load_ps(w->sum + 16 * i), fade));
    for (size_t j = 0; j < w->width; j += 16)
        _mm512_store_ps(acc + j, _mm512_mul_ps(_mm512_load_ps(acc + j), fade));
}

/* Scores of query i become weights, 0 where it sees nothing. */
SAMBA__INLINE void soften(const samba__attend_work *w, size_t i, bool all, samba__span seen)
{
    float *p = w->weights + i * SAMBA__PAGE;
    const __m512 none = _mm512_set1_ps(-__builtin_inff());
    __mmask16 m[SAMBA__KV_QUARTERS];
    __m512 v[SAMBA__KV_QUARTERS], top = none, max;
    for (size_t j = 0; j < SAMBA__KV_QUARTERS; j++) {
        uint64_t bits = (~0ull >> (SAMBA__PAGE - seen.hi)) & (~0ull << seen.lo);
        m[j] = all ? 0xffff : (__mmask16)(bits >> 16 * j);
        v[j] = _mm512_load_ps(p + 16 * j);
        top = all ? _mm512_max_ps(top, v[j]) : _mm512_mask_max_ps(top, m[j], top, v[j]);
    }
    max = _mm512_set1_ps(w->max[i]);
    if (_mm512_cmp_ps_mask(top, max, _CMP_GT_OQ)) {
        shrink(w, i, _mm512_reduce_max_ps(top));
        max = _mm512_set1_ps(w->max[i]);
    }
    for (size_t j = 0; j < SAMBA__KV_QUARTERS; j++) {
        v[j] = samba__exp2_512(_mm512_sub_ps(v[j], max));
        v[j] = all ? v[j] : _mm512_maskz_mov_ps(m[j], v[j]);
        _mm512_store_ps(p + 16 * j, v[j]);
    }
    __m512 total = _mm512_add_ps(_mm512_add_ps(v[0], v[1]), _mm512_add_ps(v[2], v[3]));
    _mm512_store_ps(w->sum + 16 * i, _mm512_add_ps(_mm512_load_ps(w->sum + 16 * i), total));
}

/* Scores and weights of a tile. */
static void weigh(const samba__attend_work *w, const tile *t)
{
    samba__span seen = {SAMBA__PAGE, 0};
    for (size_t i = 0; i < t->n; i++) {
        samba__span own = seen_by(w, t, i);
        if (own.lo >= own.hi)
            continue;
        seen.lo = own.lo < seen.lo ? own.lo : seen.lo;
        seen.hi = own.hi > seen.hi ? own.hi : seen.hi;
    }
    if (seen.lo >= seen.hi)
        return;
    scores(w, t, seen);
    for (size_t i = 0; i < t->n; i++) {
        samba__span own = seen_by(w, t, i);
        if (own.lo == 0 && own.hi == SAMBA__PAGE)
            soften(w, t->first + i, true, own);
        else if (own.lo < own.hi)
            soften(w, t->first + i, false, own);
    }
}

/* Channels of a value head that are worked together: 64 at most. */
typedef struct part {
    const uint8_t *v;
    size_t at, n; /* floats within acc, registers */
} part;

/* acc += p_j v_j for queries [i, i + n) of the tile and slots of `seen`, in order. */
static void add(const samba__attend_work *w, const tile *t, const part *at, size_t i, size_t n,
                samba__span seen)
{
    if (seen.lo >= seen.hi)
        return;
    samba__product p = w->v;
    p.a = at->v;
    p.ahead += at->at * 4 * samba__read_bytes(w->v_read);
    if (w->v_read == SAMBA__READ_Q8_VALUES)
        p.scales += at->at / SAMBA__KV_BLOCK * SAMBA__PAGE;
    p.b = w->weights + (t->first + i) * SAMBA__PAGE;
    p.begin = seen.lo;
    p.end = seen.hi;
    p.ld = w->width;
    p.out = w->acc + (t->first + i) * w->width + at->at;
    samba__avx512_multiply(w->v_read, n, at->n, p);
}

/* Slots that all queries of the tile see go together; before and after them, each its own. */
static void add_values(const samba__attend_work *w, const tile *t, const part *at)
{
    samba__span common = {0, SAMBA__PAGE};
    for (size_t i = 0; i < t->n; i++) {
        samba__span own = seen_by(w, t, i);
        common.lo = own.lo > common.lo ? own.lo : common.lo;
        common.hi = own.hi < common.hi ? own.hi : common.hi;
    }
    if (common.lo >= common.hi) {
        for (size_t i = 0; i < t->n; i++)
            add(w, t, at, i, 1, seen_by(w, t, i));
        return;
    }
    for (size_t i = 0; i < t->n; i++)
        add(w, t, at, i, 1, (samba__span){seen_by(w, t, i).lo, common.lo});
    add(w, t, at, 0, t->n, common);
    for (size_t i = 0; i < t->n; i++)
        add(w, t, at, i, 1, (samba__span){common.hi, seen_by(w, t, i).hi});
}

/* Keys first for all tiles, then 64 channels of the values for all tiles: what the tiles share
 * stays in the first cache. */
static void attend_page(const samba__attend_work *w)
{
    for (size_t t = 0; t < w->n_tiles; t++) {
        tile now = tile_of(w, t);
        weigh(w, &now);
        fetch_share(w, t);
    }
    for (size_t h = 0; h < w->a->n_value_heads; h++)
        for (size_t i = 0; i < w->parts; i++) {
            size_t left = (w->wide - i * SAMBA__PAGE) / 16;
            part at = {.v = w->v.a + h * w->v_head + i * w->v_part,
                       .at = h * w->wide + i * SAMBA__PAGE,
                       .n = left < 4 ? left : 4};
            for (size_t t = 0; t < w->n_tiles; t++) {
                tile now = tile_of(w, t);
                add_values(w, &now, &at);
            }
        }
}

/* ---------------------------------------------------------------- the table */

static void attend(int kind, const samba__attend_args *a)
{
    samba__attend_work w = {.a = a, .kind = kind};
    uint64_t last = (a->position + a->n_rows - 1) / SAMBA__PAGE;
    carve(&w, a->shape, a->n_rows * a->n_heads, a->n_value_heads, a->scratch);
    begin(&w);
    for (uint64_t page = a->first_page; page <= last; page++) {
        samba__span seen = samba__avx512_look(&w, page);
        if (seen.lo >= seen.hi)
            continue;
        w.page = a->pages[page - a->first_page];
        w.next = page < last ? a->pages[page - a->first_page + 1] : NULL;
        samba__avx512_open_page(&w, seen);
        attend_page(&w);
    }
    finish(&w);
}

static void attend_f32(const samba__attend_args *a)
{
    attend(SAMBA__KV_F32, a);
}

static void attend_f16(const samba__attend_args *a)
{
    attend(SAMBA__KV_F16, a);
}

static void attend_bf16(const samba__attend_args *a)
{
    attend(SAMBA__KV_BF16, a);
}

static void attend_q8_0(const samba__attend_args *a)
{
    attend(SAMBA__KV_Q8_0, a);
}

/* page_bytes and row_bytes stay ref/'s: the sizes are the same. */
void samba__avx512_kv_table(samba__kv_kernels *table)
{
    static const samba_dtype dtypes[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                         SAMBA_DTYPE_Q8_0};
    samba__avx512_kv_pages(table);
    for (size_t i = 0; i < 4; i++)
        table[dtypes[i]].scratch_bytes = scratch_bytes;
    table[SAMBA_DTYPE_F32].attend = attend_f32;
    table[SAMBA_DTYPE_F16].attend = attend_f16;
    table[SAMBA_DTYPE_BF16].attend = attend_bf16;
    table[SAMBA_DTYPE_Q8_0].attend = attend_q8_0;
}
