/*
 * Attention over pages. Queries go in tiles of up to 6, which share the loads of a page: scores are
 * tiles of queries x 16 positions, values tiles of queries x 16 channels (one query takes 64). Keys
 * and values of 16 bits widen as they are loaded; a q8_0 page is widened into scratch once for all
 * queries of the call.
 *
 * One query's numbers depend on its own visible keys only: scores are one chain per key over c, the
 * block's exp sum is one tree over 64 lanes with zeros where a key is not visible, and values are
 * added in order of position, which a tile keeps by doing what its queries see alone before and
 * after what all see.
 */
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/kv.h"
#include "cpu/avx2/math.h"

enum {
    PAGE = SAMBA__PAGE,
    TILE = 6
};

/* The keys of one head and the values of some heads of one page, as elements of one kind. */
typedef struct source {
    const uint8_t *keys;   /* [c][64] */
    const uint8_t *values; /* heads of [64][c] */
} source;

/* Visible slots [lo, hi) of the page at hand. */
typedef struct span {
    size_t lo, hi;
} span;

/* Some queries of a call against one page. */
typedef struct tile {
    const samba__attend_args *args;
    source page;
    const float *q[TILE];
    float *y[TILE];
    float *max[TILE], *sum[TILE];
    span seen[TILE];
    float p[TILE][PAGE] __attribute__((aligned(32))); /* scores, then their exp */
} tile;

/* ---- scores ---- */

/* n_v registers of scores of n_q queries, from slot `at` on. */
SAMBA__V8_INLINE void score_block(int kind, tile *t, size_t n_q, size_t n_v, size_t at)
{
    __m256 acc[12];
    size_t es = samba__kv_elem(kind), c = t->args->shape.head_dim;
    const uint8_t *k = t->page.keys + at * es;
    for (size_t i = 0; i < n_q * n_v; i++)
        acc[i] = _mm256_setzero_ps();
    for (size_t i = 0; i < c; i++, k += PAGE * es) {
        __m256 w[8];
        for (size_t v = 0; v < n_v; v++)
            w[v] = samba__kv_load(kind, k + 8 * v * es);
        for (size_t q = 0; q < n_q; q++) {
            __m256 x = _mm256_broadcast_ss(t->q[q] + i);
            for (size_t v = 0; v < n_v; v++)
                acc[q * n_v + v] = _mm256_fmadd_ps(x, w[v], acc[q * n_v + v]);
        }
    }
    for (size_t q = 0; q < n_q; q++)
        for (size_t v = 0; v < n_v; v++)
            _mm256_store_ps(t->p[q] + at + 8 * v, acc[q * n_v + v]);
}

SAMBA__V8_INLINE void scores(int kind, tile *t, size_t n_q)
{
    size_t n_v = n_q == 1 ? 8 : n_q == 2 ? 4 : 2;
    for (size_t at = 0; at < PAGE; at += 8 * n_v)
        score_block(kind, t, n_q, n_v, at);
}

/* ---- softmax ---- */

static __m256 visible_lanes(size_t at, span seen)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i slot = _mm256_add_epi32(lane, _mm256_set1_epi32((int)at));
    __m256i from = _mm256_cmpgt_epi32(slot, _mm256_set1_epi32((int)seen.lo - 1));
    __m256i to = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)seen.hi), slot);
    return _mm256_castsi256_ps(_mm256_and_si256(from, to));
}

/* y *= fade; a query that has seen nothing starts with 0. */
static void fade_values(float *y, size_t n, bool starts, __m256 fade)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_setzero_ps();
        if (!starts)
            v = _mm256_mul_ps(samba__v8_load(y + i, n - i), fade);
        samba__v8_store(y + i, v, n - i);
    }
}

/* Softmax step of query i: scores to their exp, running max and sum, y rescaled. all: the query
 * sees the whole page, so that no lane is masked. */
SAMBA__V8_INLINE void soften(tile *t, size_t i, bool all)
{
    const __m256 none = _mm256_set1_ps(-__builtin_inff()), scale = _mm256_set1_ps(t->args->scale);
    __m256 v[8], top = none, total = _mm256_setzero_ps();
    float *p = t->p[i];
    for (size_t j = 0; j < 8; j++) {
        v[j] = _mm256_mul_ps(_mm256_load_ps(p + 8 * j), scale);
        if (!all)
            v[j] = _mm256_blendv_ps(none, v[j], visible_lanes(8 * j, t->seen[i]));
        top = _mm256_max_ps(top, v[j]);
    }
    float old = *t->max[i], m = samba__v8_top(top);
    m = m > old ? m : old;
    __m256 max = _mm256_set1_ps(m);
    for (size_t j = 0; j < 8; j++) {
        v[j] = samba__v8_exp(_mm256_sub_ps(v[j], max));
        if (!all)
            v[j] = _mm256_and_ps(v[j], visible_lanes(8 * j, t->seen[i]));
        _mm256_store_ps(p + 8 * j, v[j]);
        total = _mm256_add_ps(total, v[j]);
    }
    float sum = samba__v8_sum(total);
    bool starts = *t->sum[i] == 0.0f;
    if (starts || m != old) { /* else all fades by exp(0) = 1 */
        __m256 fade = samba__v8_exp(_mm256_sub_ps(_mm256_set1_ps(old), max));
        *t->sum[i] = starts ? 0.0f : *t->sum[i] * _mm256_cvtss_f32(fade);
        fade_values(t->y[i], t->args->n_value_heads * t->args->shape.head_dim, starts, fade);
    }
    *t->sum[i] += sum;
    *t->max[i] = m;
}

static void soften_query(tile *t, size_t i)
{
    if (t->seen[i].lo == 0 && t->seen[i].hi == PAGE)
        soften(t, i, true);
    else
        soften(t, i, false);
}

/* ---- values ---- */

/* Some channels of the values of one head: n of them, at channel `at` of y; slots `seen` for n_q
 * queries from `first` on. */
typedef struct piece {
    const uint8_t *v; /* slot 0 */
    size_t at, n, first;
    span seen;
} piece;

/* y += p_j v_j over slots j; n_v registers of channels (one may be partly filled). */
SAMBA__V8_INLINE void value_block(int kind, const tile *t, piece c, size_t n_q, size_t n_v)
{
    __m256 acc[12];
    size_t es = samba__kv_elem(kind), stride = t->args->shape.head_dim * es;
    float *const *y = t->y + c.first;
    const uint8_t *v = c.v + c.seen.lo * stride;
    for (size_t q = 0; q < n_q; q++)
        for (size_t i = 0; i < n_v; i++)
            acc[q * n_v + i] = samba__v8_load(y[q] + c.at + 8 * i, c.n - 8 * i);
    for (size_t j = c.seen.lo; j < c.seen.hi; j++, v += stride) {
        __m256 w[8];
        for (size_t i = 0; i < n_v; i++)
            w[i] =
                n_v == 1 ? samba__kv_load_part(kind, v, c.n) : samba__kv_load(kind, v + 8 * i * es);
        for (size_t q = 0; q < n_q; q++) {
            __m256 p = _mm256_broadcast_ss(&t->p[c.first + q][j]);
            for (size_t i = 0; i < n_v; i++)
                acc[q * n_v + i] = _mm256_fmadd_ps(p, w[i], acc[q * n_v + i]);
        }
    }
    for (size_t q = 0; q < n_q; q++)
        for (size_t i = 0; i < n_v; i++)
            samba__v8_store(y[q] + c.at + 8 * i, acc[q * n_v + i], c.n - 8 * i);
}

SAMBA__V8_INLINE void values(int kind, const tile *t, size_t first, size_t n_q, span seen)
{
    size_t c = t->args->shape.head_dim, es = samba__kv_elem(kind);
    size_t most = n_q == 1 ? 8 : n_q == 2 ? 4 : 2;
    for (size_t h = 0; h < t->args->n_value_heads; h++) {
        const uint8_t *v = t->page.values + h * PAGE * c * es;
        size_t i = 0, at = h * c;
        for (; i + 8 * most <= c; i += 8 * most) {
            piece p = {v + i * es, at + i, 8 * most, first, seen};
            value_block(kind, t, p, n_q, most);
        }
        for (; i + 16 <= c; i += 16) {
            piece p = {v + i * es, at + i, 16, first, seen};
            value_block(kind, t, p, n_q, 2);
        }
        for (; i < c; i += 8) {
            piece p = {v + i * es, at + i, c - i < 8 ? c - i : 8, first, seen};
            value_block(kind, t, p, n_q, 1);
        }
    }
}

/* Slots that query i sees and not all of its tile. Rare, so there is one copy per kind. */
static __attribute__((noinline)) void values_alone(int kind, const tile *t, size_t i, span seen)
{
    if (kind == SAMBA__KV_F32)
        values(SAMBA__KV_F32, t, i, 1, seen);
    else if (kind == SAMBA__KV_F16)
        values(SAMBA__KV_F16, t, i, 1, seen);
    else
        values(SAMBA__KV_BF16, t, i, 1, seen);
}

static span common(const tile *t, size_t n_q)
{
    span s = t->seen[0];
    for (size_t i = 1; i < n_q; i++) {
        s.lo = t->seen[i].lo > s.lo ? t->seen[i].lo : s.lo;
        s.hi = t->seen[i].hi < s.hi ? t->seen[i].hi : s.hi;
    }
    return s;
}

/* Values of all queries in order of position: those seen before the common ones, those, the rest.
 */
SAMBA__V8_INLINE void tile_values(int kind, const tile *t, size_t n_q)
{
    span all = common(t, n_q);
    if (all.lo >= all.hi) {
        for (size_t i = 0; i < n_q; i++)
            values_alone(kind, t, i, t->seen[i]);
        return;
    }
    for (size_t i = 0; i < n_q; i++)
        if (t->seen[i].lo < all.lo)
            values_alone(kind, t, i, (span){t->seen[i].lo, all.lo});
    values(kind, t, 0, n_q, all);
    for (size_t i = 0; i < n_q; i++)
        if (all.hi < t->seen[i].hi)
            values_alone(kind, t, i, (span){all.hi, t->seen[i].hi});
}

/* ---- walk ---- */

SAMBA__V8_INLINE void tile_run(int kind, tile *t, size_t n_q)
{
    scores(kind, t, n_q);
    for (size_t i = 0; i < n_q; i++)
        soften_query(t, i);
    tile_values(kind, t, n_q);
}

SAMBA__V8_INLINE void tile_queries(int kind, tile *t, size_t n_q)
{
    switch (n_q) {
    case 1:
        tile_run(kind, t, 1);
        break;
    case 2:
        tile_run(kind, t, 2);
        break;
    case 3:
        tile_run(kind, t, 3);
        break;
    case 4:
        tile_run(kind, t, 4);
        break;
    case 5:
        tile_run(kind, t, 5);
        break;
    default:
        tile_run(kind, t, TILE);
        break;
    }
}

static span visible(const samba__attend_args *a, size_t row, uint64_t page)
{
    uint64_t at = a->position + row, first = a->first_key, start = page * PAGE;
    if (a->window && at + 1 > a->window && at + 1 - a->window > first)
        first = at + 1 - a->window;
    if (at < start || first >= start + PAGE || first > at)
        return (span){0, 0};
    uint64_t end = at - start + 1;
    return (span){(size_t)(first > start ? first - start : 0), (size_t)(end < PAGE ? end : PAGE)};
}

/* Rows [lo, hi) that see something of a page: they lie together, as both ends of what a row sees
 * grow with the row. */
static span rows_of(const samba__attend_args *a, uint64_t page)
{
    span rows = {0, a->n_rows};
    while (rows.lo < rows.hi && !visible(a, rows.lo, page).hi)
        rows.lo++;
    while (rows.lo < rows.hi && !visible(a, rows.hi - 1, page).hi)
        rows.hi--;
    return rows;
}

static void tile_fill(tile *t, size_t query, size_t n_q, uint64_t page)
{
    const samba__attend_args *a = t->args;
    float *max = a->scratch, *sum = max + a->n_rows * a->n_heads;
    for (size_t i = 0; i < n_q; i++, query++) {
        size_t row = query / a->n_heads, head = query % a->n_heads;
        t->q[i] = a->q + row * a->ldq + head * a->q_stride;
        t->y[i] = a->y + row * a->ldy + head * a->y_stride;
        t->max[i] = max + query;
        t->sum[i] = sum + query;
        t->seen[i] = visible(a, row, page);
    }
}

SAMBA__V8_INLINE void page_run(int kind, const samba__attend_args *a, source from, uint64_t page,
                               span rows)
{
    tile t;
    size_t end = rows.hi * a->n_heads;
    t.args = a;
    t.page = from;
    for (size_t i = rows.lo * a->n_heads, n_q; i < end; i += n_q) {
        size_t tiles = (end - i + TILE - 1) / TILE;
        n_q = (end - i + tiles - 1) / tiles;
        tile_fill(&t, i, n_q, page);
        tile_queries(kind, &t, n_q);
    }
}

/* q8_0 pages come here too, once widened. */
static __attribute__((noinline)) void page_run_f32(const samba__attend_args *a, source from,
                                                   uint64_t page, span rows)
{
    page_run(SAMBA__KV_F32, a, from, page, rows);
}

static void start(const samba__attend_args *a)
{
    size_t n = a->n_rows * a->n_heads;
    float *max = a->scratch, *sum = max + n;
    for (size_t i = 0; i < n; i++) {
        max[i] = -__builtin_inff();
        sum[i] = 0.0f;
    }
}

static void finish(const samba__attend_args *a)
{
    size_t n = a->n_value_heads * a->shape.head_dim;
    const float *sum = (const float *)a->scratch + a->n_rows * a->n_heads;
    for (size_t i = 0; i < a->n_rows * a->n_heads; i++) {
        float *y = a->y + i / a->n_heads * a->ldy + i % a->n_heads * a->y_stride;
        __m256 inverse = _mm256_set1_ps(1.0f / sum[i]);
        for (size_t j = 0; j < n; j += 8)
            samba__v8_store(y + j, _mm256_mul_ps(samba__v8_load(y + j, n - j), inverse), n - j);
    }
}

SAMBA__V8_INLINE void attend_any(int kind, const samba__attend_args *a)
{
    uint64_t last = (a->position + a->n_rows - 1) / PAGE;
    start(a);
    for (uint64_t n = a->first_page; n <= last; n++) {
        const void *page = a->pages[n - a->first_page];
        source from = {samba__kv_key(kind, a->shape, page, a->key_head),
                       samba__kv_value(kind, a->shape, page, a->value_head)};
        span rows = rows_of(a, n);
        if (kind == SAMBA__KV_F32)
            page_run_f32(a, from, n, rows);
        else
            page_run(kind, a, from, n, rows);
    }
    finish(a);
}

static void attend_f32(const samba__attend_args *a)
{
    attend_any(SAMBA__KV_F32, a);
}

static void attend_f16(const samba__attend_args *a)
{
    attend_any(SAMBA__KV_F16, a);
}

static void attend_bf16(const samba__attend_args *a)
{
    attend_any(SAMBA__KV_BF16, a);
}

static size_t scratch_bytes(samba__kv_shape shape, size_t n_heads, size_t n_value_heads)
{
    (void)shape;
    (void)n_value_heads;
    return samba__pad16(2 * SAMBA__ATTEND_ROWS * n_heads) * sizeof(float);
}

/* ---- q8_0: a page widened to f32, exactly ---- */

static inline __m256 widen_8(const uint8_t *p)
{
    __m128i q = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

static inline __m256 halves_8(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* keys [c][64] */
static void widen_keys(samba__kv_q8 from, size_t c, float *to)
{
    for (size_t b = 0; b < c / 32; b++) {
        __m256 d[8];
        for (size_t j = 0; j < 8; j++)
            d[j] = halves_8(from.key_scales + (b * PAGE + 8 * j) * 2);
        for (size_t i = 32 * b; i < 32 * b + 32; i++)
            for (size_t j = 0; j < 8; j++)
                _mm256_store_ps(to + i * PAGE + 8 * j,
                                _mm256_mul_ps(widen_8(from.keys + i * PAGE + 8 * j), d[j]));
    }
}

/* values [64][c] of slots that somebody sees */
static void widen_values(samba__kv_q8 from, size_t c, span seen, float *to)
{
    for (size_t slot = seen.lo; slot < seen.hi; slot++)
        for (size_t b = 0; b < c / 32; b++) {
            uint16_t half;
            __builtin_memcpy(&half, from.value_scales + (slot * (c / 32) + b) * 2, 2);
            __m256 d = _mm256_cvtph_ps(_mm_set1_epi16((int16_t)half));
            for (size_t i = slot * c + 32 * b; i < slot * c + 32 * b + 32; i += 8)
                _mm256_store_ps(to + i, _mm256_mul_ps(widen_8(from.values + i), d));
        }
}

static size_t scratch_bytes_q8_0(samba__kv_shape shape, size_t n_heads, size_t n_value_heads)
{
    return scratch_bytes(shape, n_heads, n_value_heads) +
           (1 + n_value_heads) * PAGE * shape.head_dim * sizeof(float);
}

static void attend_q8_0(const samba__attend_args *a)
{
    uint64_t last = (a->position + a->n_rows - 1) / PAGE;
    size_t c = a->shape.head_dim;
    float *keys = (float *)a->scratch + samba__pad16(2 * SAMBA__ATTEND_ROWS * a->n_heads);
    float *vals = keys + PAGE * c;
    start(a);
    for (uint64_t n = a->first_page; n <= last; n++) {
        const void *page = a->pages[n - a->first_page];
        span rows = rows_of(a, n);
        if (rows.lo >= rows.hi)
            continue;
        span seen = {visible(a, rows.lo, n).lo, visible(a, rows.hi - 1, n).hi};
        widen_keys(samba__kv_q8_at(a->shape, page, a->key_head), c, keys);
        for (size_t h = 0; h < a->n_value_heads; h++)
            widen_values(samba__kv_q8_at(a->shape, page, a->value_head + h), c, seen,
                         vals + h * PAGE * c);
        source from = {(const uint8_t *)(const void *)keys, (const uint8_t *)(const void *)vals};
        page_run_f32(a, from, n, rows);
    }
    finish(a);
}

void samba__avx2_kv_table(samba__kv_kernels *table)
{
    samba__avx2_kv_store(table);
    table[SAMBA_DTYPE_F32].attend = attend_f32;
    table[SAMBA_DTYPE_F16].attend = attend_f16;
    table[SAMBA_DTYPE_BF16].attend = attend_bf16;
    table[SAMBA_DTYPE_Q8_0].attend = attend_q8_0;
    table[SAMBA_DTYPE_F32].scratch_bytes = scratch_bytes;
    table[SAMBA_DTYPE_F16].scratch_bytes = scratch_bytes;
    table[SAMBA_DTYPE_BF16].scratch_bytes = scratch_bytes;
    table[SAMBA_DTYPE_Q8_0].scratch_bytes = scratch_bytes_q8_0;
}
