/*
 * Pages and attention: what pack gives is the codec's encoding of what was stored; attention
 * against double softmax over those decoded values, in pages that are NaN wherever nothing was
 * stored.
 */
#include "kit.h"
#include "tensor/dtype.h"

enum {
    MAX_PAGES = 6
};

typedef struct cache {
    const samba__kv_kernels *k;
    const samba__dtype_info *codec;
    samba__kv_shape shape;
    size_t n, width; /* positions stored, from `first`; width: of a row of K */
    uint64_t first;
    void *pages[MAX_PAGES];
    const void *view[MAX_PAGES];
    float *keys, *values; /* [n][width], as decoded */
} cache;

static cache cache_new(const samba__kernels *t, samba_dtype dtype, samba__kv_shape shape,
                       uint64_t first, size_t n)
{
    cache c = {.k = &t->kv[dtype], .codec = samba__dtype_info_of(dtype), .shape = shape};
    size_t size = c.k->page_bytes(shape);
    c.n = n;
    c.first = first;
    c.width = shape.n_heads * shape.head_dim;
    for (size_t i = 0; i < MAX_PAGES; i++) {
        c.pages[i] = aligned_alloc(64, (size + 63) & ~(size_t)63);
        memset(c.pages[i], 0xff, size); /* NaN in every float format */
        c.view[i] = c.pages[i];
    }
    c.keys = kit_random(n * c.width, 2.0f);
    c.values = kit_random(n * c.width, 1.0f);
    for (size_t j = 0; j < n;) { /* runs of some rows, heads in two ranges */
        size_t at = (size_t)(first % 64) + j, run = 1 + kit_below(9);
        run = run < n - j ? run : n - j;
        run = run < 64 - at % 64 ? run : 64 - at % 64;
        samba__kv_store_args a = {.shape = shape, .page = c.pages[at / 64], .slot = at % 64};
        a.n_rows = run;
        a.k = c.keys + j * c.width;
        a.v = c.values + j * c.width;
        a.ldk = a.ldv = c.width;
        a.head_end = kit_below(shape.n_heads + 1);
        c.k->store(&a);
        a.head_begin = a.head_end;
        a.head_end = shape.n_heads;
        c.k->store(&a);
        j += run;
    }
    return c;
}

/* What the pages hold in canonical form must be the codec's bytes; then use those values. */
static void cache_decode(cache *c)
{
    size_t row = c->k->row_bytes(c->shape);
    uint64_t bytes;
    ck_assert(samba__dtype_bytes(c->codec->dtype, c->width, &bytes));
    ck_assert_uint_eq(row, 2 * bytes);
    unsigned char *got = malloc(row), *want = malloc(row);
    for (size_t j = 0; j < c->n; j++) {
        size_t at = (size_t)(c->first % 64) + j;
        c->k->pack(&(samba__kv_rows_args){c->shape, c->pages[at / 64], at % 64, 1, got});
        c->codec->from_f32(c->keys + j * c->width, want, c->width);
        c->codec->from_f32(c->values + j * c->width, want + bytes, c->width);
        ck_assert_mem_eq(got, want, row);
        c->codec->to_f32(want, c->keys + j * c->width, c->width);
        c->codec->to_f32(want + bytes, c->values + j * c->width, c->width);
    }
    free(got);
    free(want);
}

static void cache_free(cache *c)
{
    for (size_t i = 0; i < MAX_PAGES; i++)
        free(c->pages[i]);
    kit_free(c->keys);
    kit_free(c->values);
}

static void check_query(const cache *c, const samba__attend_args *a, size_t row, size_t head)
{
    const float *q = a->q + row * a->ldq + head * a->q_stride;
    const float *y = a->y + row * a->ldy + head * a->y_stride;
    size_t dim = c->shape.head_dim, wide = a->n_value_heads * dim;
    uint64_t position = a->position + row, from = a->first_key;
    if (a->window && position + 1 > from + a->window)
        from = position + 1 - a->window;
    double s[MAX_PAGES * 64], max = -1e300, sum = 0, out[1024] = {0};
    size_t first = (size_t)(from - c->first), last = (size_t)(position - c->first);
    for (size_t j = first; j <= last; j++) {
        s[j] = 0;
        for (size_t i = 0; i < dim; i++)
            s[j] += (double)q[i] * (double)c->keys[j * c->width + a->key_head * dim + i];
        s[j] *= (double)a->scale;
        max = fmax(max, s[j]);
    }
    for (size_t j = first; j <= last; j++) {
        double p = exp(s[j] - max);
        sum += p;
        for (size_t i = 0; i < wide; i++)
            out[i] += p * (double)c->values[j * c->width + a->value_head * dim + i];
    }
    for (size_t i = 0; i < wide; i++)
        kit_near(y[i], out[i] / sum, 2e-5, "position %llu head %zu: ", (unsigned long long)position,
                 head);
}

typedef struct setup {
    samba__attend_args args;
    float *q, *y, *scratch;
    size_t rows, heads, y_width, n_scratch;
} setup;

static setup setup_new(const cache *c, size_t rows, bool pairs)
{
    setup s = {.rows = rows, .heads = 1 + kit_below(3)};
    size_t dim = c->shape.head_dim, step = pairs ? 2 : 1, wide = step * dim;
    samba__attend_args *a = &s.args;
    a->shape = c->shape;
    a->pages = c->view;
    a->first_page = c->first / 64;
    a->first_key = c->first;
    a->n_value_heads = step;
    a->value_head = kit_below(c->shape.n_heads / step) * step;
    a->key_head = a->value_head + kit_below(step);
    a->n_heads = s.heads;
    a->scale = 1.0f / sqrtf((float)dim);
    a->q_stride = wide;
    a->ldq = samba__pad16(s.heads * wide) + 16;
    a->y_stride = wide;
    s.y_width = s.heads * wide;
    a->ldy = samba__pad16(s.y_width) + 16;
    a->q = s.q = kit_rows(rows, a->ldq, s.heads * wide, 3.0f);
    a->y = s.y = kit_floats(rows * a->ldy);
    s.n_scratch = c->k->scratch_bytes(c->shape, s.heads, step) / sizeof(float);
    s.scratch = kit_floats(s.n_scratch);
    a->scratch = s.scratch;
    a->window = kit_below(3) ? 1 + kit_below(c->n) : 0;
    a->position = c->first + c->n - rows;
    return s;
}

/* In calls of at most 32 rows. */
static void run_all(const cache *c, const setup *s, float *y, size_t most)
{
    for (size_t r = 0; r < s->rows;) {
        size_t n = 1 + kit_below(most);
        samba__attend_args a = s->args;
        n = n < s->rows - r ? n : s->rows - r;
        a.position += r;
        a.n_rows = n;
        a.q += r * a.ldq;
        a.y = y + r * a.ldy;
        c->k->attend(&a);
        r += n;
    }
}

START_TEST(attention)
{
    static const samba_dtype dtypes[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                         SAMBA_DTYPE_Q8_0};
    static const size_t dims[] = {1, 6, 8, 24, 64, 128}, q8_dims[] = {32, 64, 96};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 48; i++) {
        samba_dtype dtype = dtypes[i % 4];
        bool pairs = kit_below(2);
        samba__kv_shape shape = {pairs ? 2 * (1 + kit_below(2)) : 1 + kit_below(3), 0};
        shape.head_dim = dtype == SAMBA_DTYPE_Q8_0 ? q8_dims[kit_below(3)] : dims[kit_below(6)];
        size_t n = 1 + kit_below(250), rows = 1 + kit_below(n < 70 ? n : 70);
        cache c = cache_new(&t, dtype, shape, 64 * kit_below(3) + kit_below(64), n);
        cache_decode(&c);
        setup s = setup_new(&c, rows, pairs);
        run_all(&c, &s, s.y, SAMBA__ATTEND_ROWS);
        for (size_t r = 0; r < rows; r++)
            for (size_t h = 0; h < s.heads; h++)
                check_query(&c, &s.args, r, h);
        kit_check_margins(s.y, rows, s.args.ldy, s.y_width);
        kit_check_margins(s.scratch, 1, s.n_scratch, s.n_scratch);
        float *y = kit_floats(rows * s.args.ldy); /* cut otherwise: the same bits */
        run_all(&c, &s, y, 5);
        ck_assert_mem_eq(s.y, y, rows * s.args.ldy * sizeof *y);
        /* Heads one by one: the same bits. */
        float *z = kit_floats(rows * s.args.ldy);
        for (size_t h = 0; h < s.heads; h++) {
            setup one = s;
            one.args.n_heads = 1;
            one.args.q += h * s.args.q_stride;
            run_all(&c, &one, z + h * s.args.y_stride, SAMBA__ATTEND_ROWS);
        }
        ck_assert_mem_eq(s.y, z, rows * s.args.ldy * sizeof *z);
        kit_free(y);
        kit_free(z);
        kit_free(s.q);
        kit_free(s.y);
        kit_free(s.scratch);
        cache_free(&c);
    }
}
END_TEST

/* A copy of the pages that holds NaN wherever row `row` sees nothing. */
static cache cache_seen(const cache *from, const setup *s, size_t row)
{
    cache c = *from;
    size_t size = c.k->page_bytes(c.shape);
    uint64_t last = s->args.position + row, first = from->first;
    void *canonical = malloc(c.k->row_bytes(c.shape));
    if (s->args.window && last + 1 > first + s->args.window)
        first = last + 1 - s->args.window;
    for (size_t i = 0; i < MAX_PAGES; i++) {
        c.pages[i] = aligned_alloc(64, (size + 63) & ~(size_t)63);
        memset(c.pages[i], 0xff, size);
        c.view[i] = c.pages[i];
    }
    for (uint64_t at = first; at <= last; at++) {
        size_t page = (size_t)(at / 64 - from->first / 64);
        c.k->pack(&(samba__kv_rows_args){c.shape, from->pages[page], at % 64, 1, canonical});
        c.k->unpack(&(samba__kv_rows_args){c.shape, c.pages[page], at % 64, 1, canonical});
    }
    free(canonical);
    return c;
}

/* Keys that only other rows of the call see have no part in a row. */
START_TEST(unseen)
{
    static const samba_dtype dtypes[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                         SAMBA_DTYPE_Q8_0};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 16; i++) {
        samba__kv_shape shape = {2, i % 3 ? 32 : 96};
        size_t n = 40 + kit_below(150), rows = 2 + kit_below(30);
        cache c = cache_new(&t, dtypes[i % 4], shape, 64 * kit_below(3) + kit_below(64), n);
        setup s = setup_new(&c, rows, i % 8 >= 4);
        s.args.window = 1 + kit_below(i % 2 ? 6 : 70);
        s.args.n_rows = rows;
        c.k->attend(&s.args);
        for (size_t r = 0; r < rows; r++) {
            cache alone = cache_seen(&c, &s, r);
            setup one = s;
            float *y = kit_floats(s.args.ldy);
            one.rows = 1;
            one.args.pages = alone.view;
            one.args.position += r;
            one.args.q += r * one.args.ldq;
            run_all(&alone, &one, y, 1);
            ck_assert_mem_eq(y, s.y + r * s.args.ldy, s.y_width * sizeof *y);
            kit_free(y);
            for (size_t j = 0; j < MAX_PAGES; j++)
                free(alone.pages[j]);
        }
        kit_free(s.q);
        kit_free(s.y);
        kit_free(s.scratch);
        cache_free(&c);
    }
}
END_TEST

/* Pack, unpack into a fresh page, pack again: the same bytes, and other rows untouched. */
START_TEST(round_trip)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (samba_dtype dtype = SAMBA_DTYPE_F32; dtype <= SAMBA_DTYPE_Q8_0; dtype++) {
        cache c = cache_new(&t, dtype, (samba__kv_shape){3, 32}, 0, 64);
        size_t row = c.k->row_bytes(c.shape), size = c.k->page_bytes(c.shape);
        char *a = malloc(row * 64), *b = malloc(row * 64);
        c.k->pack(&(samba__kv_rows_args){c.shape, c.pages[0], 5, 40, a});
        c.k->unpack(&(samba__kv_rows_args){c.shape, c.pages[1], 5, 40, a});
        c.k->pack(&(samba__kv_rows_args){c.shape, c.pages[1], 5, 40, b});
        ck_assert_mem_eq(a, b, row * 40);
        memset(c.pages[2], 0xff, size);
        c.k->pack(&(samba__kv_rows_args){c.shape, c.pages[2], 45, 19, a});
        c.k->pack(&(samba__kv_rows_args){c.shape, c.pages[1], 45, 19, b});
        ck_assert_mem_eq(a, b, row * 19);
        free(a);
        free(b);
        cache_free(&c);
    }
    ck_assert_uint_eq(t.kv[SAMBA_DTYPE_Q8_0].page_bytes((samba__kv_shape){2, 24}), 0);
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{attention}, {unseen}, {round_trip}};
    return kit_main("kernels/attention", tests, 3);
}
