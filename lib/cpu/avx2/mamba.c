/*
 * The kernels of the Mamba mixer. Channels lie across lanes, a group of 16 is two registers; B and
 * C are broadcasts, so there are no horizontal sums, and y sums over n in order. 16 states of 16
 * channels would need 32 registers: the states of a group stay in state_out, which the first cache
 * holds, and only one is in a register at a time.
 *
 * Most of the scan is exp(dt * A). 2^t is taken apart as 2^(j/8) from a table of 8 in a register
 * (one permutation), a polynomial of degree 3 on |f| <= 1/16 without its constant, and the exponent
 * put in by integer addition: 5 of the 13 instructions of a state are multiply-adds.
 */
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/math.h"

#include <string.h>

enum {
    HALVES = 2 /* registers of a group */
};

/* Smallest exponent that is taken as it is: below it 2^t counts as 2^-125. */
#define LOWEST (-125.0f)

/* What one row of one channel group needs besides its state. */
typedef struct scan_row {
    size_t t, e;        /* row, first channel */
    __m256 dt2[HALVES]; /* dt * log2(e) */
    __m256 dtx[HALVES], x[HALVES];
} scan_row;

SAMBA__V8_INLINE scan_row scan_load(const samba__scan_args *a, size_t t, size_t e)
{
    scan_row r;
    r.t = t;
    r.e = e;
    for (size_t i = 0; i < HALVES; i++, e += 8) {
        __m256 raw = _mm256_loadu_ps(a->dt + t * a->lddt + e);
        __m256 dt = samba__v8_softplus(_mm256_add_ps(raw, _mm256_loadu_ps(a->dt_bias + e)));
        r.x[i] = _mm256_loadu_ps(a->x + t * a->ldx + e);
        r.dtx[i] = _mm256_mul_ps(dt, r.x[i]);
        r.dt2[i] = _mm256_mul_ps(dt, _mm256_set1_ps(0x1.715476p+0f));
    }
    return r;
}

/* 2^(dt2 * a), a <= 0. Where `deep`, results below 2^-125 come out as about that; elsewhere there
 * are none, and it changes nothing. */
SAMBA__V8_INLINE __m256 decay_of(__m256 dt2, __m256 a, bool deep)
{
    /* Adding 1.5 * 2^20 rounds to eighths: 8 * t lands in the low bits. */
    const __m256 magic = _mm256_set1_ps(0x1.8p20f);
    /* Bits of 2^(j/8), less j << 20: shifting the eighths in adds that again. */
    const __m256i table = _mm256_setr_epi32(0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                                            0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7);
    __m256 shifted = _mm256_fmadd_ps(dt2, a, magic);
    if (deep)
        shifted = _mm256_max_ps(_mm256_set1_ps(0x1.8p20f + LOWEST), shifted);
    __m256 f = _mm256_fmsub_ps(dt2, a, _mm256_sub_ps(shifted, magic));
    if (deep) /* the second operand wins on NaN */
        f = _mm256_max_ps(_mm256_set1_ps(-0.125f), f);
    __m256 p = _mm256_set1_ps(0x1.c6b8bep-5f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.ec0aa6p-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.62e430p-1f));
    p = _mm256_mul_ps(p, f);
    __m256i bits = _mm256_castps_si256(shifted);
    __m256i root = _mm256_permutevar8x32_epi32(table, bits);
    __m256 power = _mm256_castsi256_ps(_mm256_add_epi32(root, _mm256_slli_epi32(bits, 20)));
    return _mm256_fmadd_ps(power, p, power);
}

/* All states of one row: h [n_state][16] in place, y [16] out. */
SAMBA__V8_INLINE void scan_states(const samba__scan_args *args, const scan_row *r, float *h,
                                  __m256 y[HALVES], bool deep)
{
    const float *a = args->a + r->e * args->n_state;
    const float *b = args->b + r->t * args->ldbc, *c = args->c + r->t * args->ldbc;
    for (size_t n = 0; n < args->n_state; n++, a += 16, h += 16) {
        __m256 bn = _mm256_broadcast_ss(b + n), cn = _mm256_broadcast_ss(c + n);
        for (size_t i = 0; i < HALVES; i++) {
            __m256 decay = decay_of(r->dt2[i], _mm256_loadu_ps(a + 8 * i), deep);
            __m256 s =
                _mm256_fmadd_ps(decay, _mm256_loadu_ps(h + 8 * i), _mm256_mul_ps(r->dtx[i], bn));
            _mm256_storeu_ps(h + 8 * i, s);
            y[i] = _mm256_fmadd_ps(s, cn, y[i]);
        }
    }
}

/* The largest |A| of each channel. */
static inline void steepest(const samba__scan_args *args, size_t e, __m256 top[HALVES])
{
    const float *a = args->a + e * args->n_state;
    const __m256 sign = _mm256_set1_ps(-0.0f);
    top[0] = top[1] = _mm256_setzero_ps();
    for (size_t n = 0; n < args->n_state; n++, a += 16)
        for (size_t i = 0; i < HALVES; i++)
            top[i] = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(a + 8 * i)), top[i]);
}

/* Whether dt * |A| passes the lowest exponent anywhere (or is NaN). */
static inline bool is_deep(const scan_row *r, const __m256 top[HALVES])
{
    const __m256 limit = _mm256_set1_ps(-LOWEST);
    __m256 in0 = _mm256_cmp_ps(_mm256_mul_ps(r->dt2[0], top[0]), limit, _CMP_LT_OQ);
    __m256 in1 = _mm256_cmp_ps(_mm256_mul_ps(r->dt2[1], top[1]), limit, _CMP_LT_OQ);
    return _mm256_movemask_ps(_mm256_and_ps(in0, in1)) != 0xff;
}

static void scan_group(const samba__scan_args *a, size_t e)
{
    float *h = a->state_out + e * a->n_state;
    size_t size = 16 * a->n_state * sizeof *h;
    __m256 top[HALVES];
    if (a->state_in)
        memcpy(h, a->state_in + e * a->n_state, size);
    else
        memset(h, 0, size);
    steepest(a, e, top);
    for (size_t t = 0; t < a->n_rows; t++) {
        scan_row r = scan_load(a, t, e);
        __m256 y[HALVES] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        if (is_deep(&r, top))
            scan_states(a, &r, h, y, true);
        else
            scan_states(a, &r, h, y, false);
        for (size_t i = 0; i < HALVES; i++) {
            size_t at = e + 8 * i;
            __m256 gate = samba__v8_silu(_mm256_loadu_ps(a->z + t * a->ldz + at));
            y[i] = _mm256_fmadd_ps(_mm256_loadu_ps(a->d + at), r.x[i], y[i]);
            if (a->memory)
                _mm256_storeu_ps(a->memory + t * a->ldm + at, y[i]);
            _mm256_storeu_ps(a->y + t * a->ldy + at, _mm256_mul_ps(y[i], gate));
        }
    }
}

void samba__avx2_scan(const samba__scan_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 16)
        scan_group(args, e);
}

/* ---- conv ---- */

/* Raw input of row t - back, from the state where that lies before the first row. */
static inline __m256 conv_input(const samba__conv_args *a, size_t t, size_t back, size_t e)
{
    if (t >= back)
        return _mm256_loadu_ps(a->x + (t - back) * a->ldx + e);
    if (!a->state_in)
        return _mm256_setzero_ps();
    return _mm256_loadu_ps(a->state_in + (a->taps - 1 + t - back) * a->channels + e);
}

static inline __m256 conv_start(const samba__conv_args *a, size_t e)
{
    return a->bias ? _mm256_loadu_ps(a->bias + e) : _mm256_setzero_ps();
}

static inline __m256 conv_weight(const samba__conv_args *a, size_t tap, size_t e)
{
    return _mm256_loadu_ps(a->weight + tap * a->channels + e);
}

static inline void conv_store(const samba__conv_args *a, size_t t, size_t e, __m256 y)
{
    _mm256_storeu_ps(a->y + t * a->ldy + e, samba__v8_silu(y));
}

/* Four taps: weights and the last three inputs stay in registers. */
static void conv_4(const samba__conv_args *a, size_t e)
{
    __m256 w[4], bias = conv_start(a, e), past[3];
    for (size_t j = 0; j < 4; j++)
        w[j] = conv_weight(a, j, e);
    for (size_t j = 0; j < 3; j++)
        past[j] = conv_input(a, 0, 3 - j, e);
    for (size_t t = 0; t < a->n_rows; t++) {
        __m256 x = _mm256_loadu_ps(a->x + t * a->ldx + e);
        __m256 y = _mm256_fmadd_ps(w[0], past[0], bias);
        y = _mm256_fmadd_ps(w[1], past[1], y);
        y = _mm256_fmadd_ps(w[2], past[2], y);
        conv_store(a, t, e, _mm256_fmadd_ps(w[3], x, y));
        past[0] = past[1];
        past[1] = past[2];
        past[2] = x;
    }
}

static void conv_any(const samba__conv_args *a, size_t e)
{
    for (size_t t = 0; t < a->n_rows; t++) {
        __m256 y = conv_start(a, e);
        for (size_t j = 0; j < a->taps; j++)
            y = _mm256_fmadd_ps(conv_weight(a, j, e), conv_input(a, t, a->taps - 1 - j, e), y);
        conv_store(a, t, e, y);
    }
}

void samba__avx2_conv(const samba__conv_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 8) {
        if (args->taps == 4)
            conv_4(args, e);
        else
            conv_any(args, e);
        for (size_t j = 0; j + 1 < args->taps; j++)
            _mm256_storeu_ps(args->state_out + j * args->channels + e,
                             conv_input(args, args->n_rows - 1, args->taps - 2 - j, e));
    }
}

/* ---- gate ---- */

void samba__avx2_silu_mul(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t i = args->begin; i < args->end; i += 8) {
            size_t n = samba__v8_left(i, args->end);
            __m256 a = samba__v8_load(args->a + r * args->lda + i, n);
            __m256 b = samba__v8_load(args->b + r * args->ldb + i, n);
            samba__v8_store(args->y + r * args->ldy + i, _mm256_mul_ps(samba__v8_silu(a), b), n);
        }
}
