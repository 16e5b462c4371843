/*
 * The elementwise kernels of the Mamba mixer and of the gates. Channels lie across the 16 lanes.
 *
 * The scan takes a channel group in blocks of rows, and a block in three loops, so that the long
 * chains of softplus and silu of many rows overlap instead of standing before and after the states
 * of every row: dt and dt*x; the states; D and the gate. 16 states of a group stay in 16 registers
 * over the block; B and C are broadcasts, so there are no horizontal sums; y sums over n in order.
 * Only where some decay of a block may be less than the normal numbers the states take a loop that
 * looks at each; where both loops apply they give the same bits.
 */
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/math.h"

enum {
    STATES = 16, /* that fit the registers */
    ROWS = 8     /* of a block */
};

/* ---------------------------------------------------------------- selective scan */

/* One block of rows of one channel group. */
typedef struct scan_block {
    float dt[ROWS][16], dtx[ROWS][16], y[ROWS][16];
    const float *b, *c; /* [n_rows][ldbc], from the state at hand on */
    size_t ldbc, n_rows;
    bool tiny;
} __attribute__((aligned(64))) scan_block;

/* least: the least of the group's A in units of log2 */
static void scan_open(const samba__scan_args *a, scan_block *k, size_t row, size_t e, __m512 least)
{
    const __m512 bias = _mm512_loadu_ps(a->dt_bias + e), low = _mm512_set1_ps(-125.0f);
    unsigned tiny = 0;
    for (size_t t = 0; t < k->n_rows; t++) {
        __m512 dt = _mm512_loadu_ps(a->dt + (row + t) * a->lddt + e);
        __m512 x = _mm512_loadu_ps(a->x + (row + t) * a->ldx + e);
        dt = samba__softplus_512(_mm512_add_ps(dt, bias));
        tiny |= _mm512_cmp_ps_mask(_mm512_mul_ps(dt, least), low, _CMP_NGE_UQ);
        _mm512_store_ps(k->dt[t], dt);
        _mm512_store_ps(k->dtx[t], _mm512_mul_ps(dt, x));
        _mm512_store_ps(k->y[t], _mm512_setzero_ps());
    }
    k->tiny = tiny != 0;
}

static void scan_close(const samba__scan_args *a, const scan_block *k, size_t row, size_t e)
{
    const __m512 d = _mm512_loadu_ps(a->d + e);
    for (size_t t = 0; t < k->n_rows; t++) {
        __m512 x = _mm512_loadu_ps(a->x + (row + t) * a->ldx + e);
        __m512 z = _mm512_loadu_ps(a->z + (row + t) * a->ldz + e);
        __m512 y = _mm512_fmadd_ps(d, x, _mm512_load_ps(k->y[t]));
        if (a->memory)
            _mm512_storeu_ps(a->memory + (row + t) * a->ldm + e, y);
        _mm512_storeu_ps(a->y + (row + t) * a->ldy + e, _mm512_mul_ps(y, samba__silu_512(z)));
    }
}

/* Where the states at hand lie: A, and the state before (NULL: zeros) and after, all [n][16]. */
typedef struct scan_part {
    const float *a, *in;
    float *out;
} scan_part;

/* n states over the rows of the block: h' = exp(dt*A) h + dt*x*B, y += C h'. */
static inline __attribute__((always_inline)) void scan_rows(bool tiny, size_t n, scan_block *k,
                                                            const scan_part *p)
{
    __m512 h[STATES];
    float a2[STATES][16] __attribute__((aligned(64)));
    for (size_t i = 0; i < n; i++) {
        __m512 a = _mm512_loadu_ps(p->a + 16 * i);
        _mm512_store_ps(a2[i], _mm512_mul_ps(a, _mm512_set1_ps(SAMBA__LOG2_E)));
        h[i] = p->in ? _mm512_loadu_ps(p->in + 16 * i) : _mm512_setzero_ps();
    }
    const float *b = k->b, *c = k->c;
    for (size_t t = 0; t < k->n_rows; t++, b += k->ldbc, c += k->ldbc) {
        __m512 dt = _mm512_load_ps(k->dt[t]), dtx = _mm512_load_ps(k->dtx[t]);
        __m512 y = _mm512_load_ps(k->y[t]);
        for (size_t i = 0; i < n; i++) {
            __m512 power = _mm512_mul_ps(dt, _mm512_load_ps(a2[i]));
            __m512 decay = tiny ? samba__exp2_512(power) : samba__exp2_normal_512(power);
            h[i] = _mm512_fmadd_ps(decay, h[i], _mm512_mul_ps(dtx, _mm512_set1_ps(b[i])));
            y = _mm512_fmadd_ps(h[i], _mm512_set1_ps(c[i]), y);
        }
        _mm512_store_ps(k->y[t], y);
    }
    for (size_t i = 0; i < n; i++)
        _mm512_storeu_ps(p->out + 16 * i, h[i]);
}

static void scan_16_normal(scan_block *k, const scan_part *p)
{
    scan_rows(false, STATES, k, p);
}

static void scan_16_tiny(scan_block *k, const scan_part *p)
{
    scan_rows(true, STATES, k, p);
}

static void scan_1(scan_block *k, const scan_part *p)
{
    scan_rows(true, 1, k, p);
}

static void scan_states(const samba__scan_args *a, scan_block *k, size_t row, size_t e)
{
    size_t n = a->n_state, at = 0, step;
    const float *in = row ? a->state_out : a->state_in;
    k->ldbc = a->ldbc;
    for (; at < n; at += step) {
        size_t from = e * n + 16 * at;
        scan_part p = {.a = a->a + from, .in = in ? in + from : NULL, .out = a->state_out + from};
        k->b = a->b + row * a->ldbc + at;
        k->c = a->c + row * a->ldbc + at;
        step = n - at >= STATES ? STATES : 1;
        if (step == 1)
            scan_1(k, &p);
        else if (k->tiny)
            scan_16_tiny(k, &p);
        else
            scan_16_normal(k, &p);
    }
}

/* The least A of a group in units of log2. */
static __m512 scan_least(const samba__scan_args *a, size_t e)
{
    __m512 least = _mm512_setzero_ps();
    for (size_t i = 0; i < a->n_state; i++)
        least = _mm512_min_ps(least, _mm512_loadu_ps(a->a + e * a->n_state + 16 * i));
    return _mm512_mul_ps(least, _mm512_set1_ps(SAMBA__LOG2_E));
}

static void fetch(const float *p, size_t ld, size_t n_rows)
{
    for (size_t t = 0; t < n_rows; t++)
        _mm_prefetch((const char *)(p + t * ld), _MM_HINT_T1);
}

static void scan_fetch(const samba__scan_args *a, size_t row, size_t n_rows, size_t e)
{
    fetch(a->dt + row * a->lddt + e, a->lddt, n_rows);
    fetch(a->x + row * a->ldx + e, a->ldx, n_rows);
    fetch(a->z + row * a->ldz + e, a->ldz, n_rows);
    fetch(a->y + row * a->ldy + e, a->ldy, n_rows);
}

void samba__avx512_scan(const samba__scan_args *args)
{
    scan_block k;
    for (size_t row = 0; row < args->n_rows; row += k.n_rows) {
        k.n_rows = args->n_rows - row < ROWS ? args->n_rows - row : ROWS;
        for (size_t e = args->begin; e < args->end; e += 16) {
            if (e + 16 < args->end)
                scan_fetch(args, row, k.n_rows, e + 16);
            scan_open(args, &k, row, e, scan_least(args, e));
            scan_states(args, &k, row, e);
            scan_close(args, &k, row, e);
        }
    }
}

/* ---------------------------------------------------------------- causal conv + silu */

/* Input of row t - back, from the state where that lies before the first row. */
static inline __m512 conv_input(const samba__conv_args *a, size_t t, size_t back, size_t e)
{
    if (t >= back)
        return _mm512_loadu_ps(a->x + (t - back) * a->ldx + e);
    if (!a->state_in)
        return _mm512_setzero_ps();
    return _mm512_loadu_ps(a->state_in + (a->taps - 1 + t - back) * a->channels + e);
}

static void conv_any(const samba__conv_args *a, size_t row, size_t n_rows, size_t e)
{
    for (size_t t = row; t < row + n_rows; t++) {
        __m512 y = a->bias ? _mm512_loadu_ps(a->bias + e) : _mm512_setzero_ps();
        for (size_t j = 0; j < a->taps; j++)
            y = _mm512_fmadd_ps(_mm512_loadu_ps(a->weight + j * a->channels + e),
                                conv_input(a, t, a->taps - 1 - j, e), y);
        _mm512_storeu_ps(a->y + t * a->ldy + e, samba__silu_512(y));
    }
}

/* Four taps: weights and the last three inputs stay in registers. */
static void conv_4(const samba__conv_args *a, size_t row, size_t n_rows, size_t e)
{
    __m512 w[4], bias = a->bias ? _mm512_loadu_ps(a->bias + e) : _mm512_setzero_ps();
    for (size_t j = 0; j < 4; j++)
        w[j] = _mm512_loadu_ps(a->weight + j * a->channels + e);
    __m512 x0 = conv_input(a, row, 3, e), x1 = conv_input(a, row, 2, e);
    __m512 x2 = conv_input(a, row, 1, e);
    for (size_t t = row; t < row + n_rows; t++) {
        __m512 x3 = _mm512_loadu_ps(a->x + t * a->ldx + e);
        __m512 y = _mm512_fmadd_ps(w[0], x0, bias);
        y = _mm512_fmadd_ps(w[1], x1, y);
        y = _mm512_fmadd_ps(w[2], x2, y);
        y = _mm512_fmadd_ps(w[3], x3, y);
        _mm512_storeu_ps(a->y + t * a->ldy + e, samba__silu_512(y));
        x0 = x1;
        x1 = x2;
        x2 = x3;
    }
}

static void conv_state(const samba__conv_args *a, size_t e)
{
    for (size_t j = 0; j + 1 < a->taps; j++)
        _mm512_storeu_ps(a->state_out + j * a->channels + e,
                         conv_input(a, a->n_rows - 1, a->taps - 2 - j, e));
}

void samba__avx512_conv(const samba__conv_args *args)
{
    size_t n;
    for (size_t row = 0; row < args->n_rows; row += n) {
        n = args->n_rows - row < ROWS ? args->n_rows - row : ROWS;
        for (size_t e = args->begin; e < args->end; e += 16) {
            if (e + 32 < args->end) {
                fetch(args->x + row * args->ldx + e + 32, args->ldx, n);
                fetch(args->y + row * args->ldy + e + 32, args->ldy, n);
            }
            if (args->taps == 4)
                conv_4(args, row, n, e);
            else
                conv_any(args, row, n, e);
        }
    }
    for (size_t e = args->begin; e < args->end; e += 16)
        conv_state(args, e);
}

/* ---------------------------------------------------------------- gates */

static inline void silu_mul_16(const samba__gate_args *args, size_t row, size_t i, __mmask16 m)
{
    __m512 a = _mm512_maskz_loadu_ps(m, args->a + row * args->lda + i);
    __m512 b = _mm512_maskz_loadu_ps(m, args->b + row * args->ldb + i);
    _mm512_mask_storeu_ps(args->y + row * args->ldy + i, m, _mm512_mul_ps(samba__silu_512(a), b));
}

void samba__avx512_silu_mul(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        size_t i = args->begin;
        for (; i + 16 <= args->end; i += 16)
            silu_mul_16(args, r, i, 0xffff);
        if (i < args->end)
            silu_mul_16(args, r, i, (__mmask16)((1u << (args->end - i)) - 1));
    }
}
