/*
 * Packing, unpacking and the walk over panels for block formats. A packed block is, for 16 rows,
 * what the file has for one, each part transposed: scales as [n][16], runs of 32 quants as
 * [32 / group][16][group]. Nibbles stay two to a byte, so unpacking is the same few operations on
 * every byte and does not know the group. It is done once per piece and chunk of rows; a product
 * then works in the first cache: 4 KB of quants and 64 rows of 256 int8.
 */
#include "cpu/neon/blocks.h"
#include "base/bytes.h"
#include "cpu/neon/math.h"
#include "cpu/neon/outputs.h"
#include "tensor/blocks.h"

enum {
    STEP = SAMBA__NEON_STEP,
    STEP_BYTES = SAMBA__NEON_STEP_BYTES,
    PIECE = SAMBA__NEON_PIECE,
    CHUNK = SAMBA__NEON_CHUNK,
    HALVES = 16 * 2 /* bytes of an f16 per row */
};

/* ---------------------------------------------------------------- packing */

/* 32 bytes of one row. */
static void put_run(const uint8_t *from, uint8_t *to, size_t lane, size_t group, size_t n)
{
    for (size_t i = 0; i < n; i += group)
        for (size_t j = 0; j < group; j++)
            to[i * 16 + lane * group + j] = from[i + j];
}

static void pack_q8_0(const uint8_t *from, uint8_t *to, size_t lane, size_t group)
{
    memcpy(to + 2 * lane, from, 2);
    put_run(from + 2, to + HALVES, lane, group, STEP);
}

static void pack_q4_0(const uint8_t *from, uint8_t *to, size_t lane, size_t group)
{
    memcpy(to + 2 * lane, from, 2);
    put_run(from + 2, to + HALVES, lane, group, STEP / 2);
}

/* d [16], dmin [16], scales [12][16], 4 runs of two groups' nibbles */
enum {
    Q4_K_SCALES = 2 * HALVES,
    Q4_K_QUANTS = Q4_K_SCALES + 12 * 16
};

static void pack_q4_k(const uint8_t *from, uint8_t *to, size_t lane, size_t group)
{
    memcpy(to + 2 * lane, from, 2);
    memcpy(to + HALVES + 2 * lane, from + 2, 2);
    for (size_t j = 0; j < 12; j++)
        to[Q4_K_SCALES + j * 16 + lane] = from[4 + j];
    for (size_t p = 0; p < 4; p++)
        put_run(from + 16 + p * STEP, to + Q4_K_QUANTS + p * STEP_BYTES, lane, group, STEP);
}

/* d [16], scales [16][16], 4 runs of low nibbles, 2 of upper bit pairs */
enum {
    Q6_K_SCALES = HALVES,
    Q6_K_LOW = Q6_K_SCALES + 16 * 16,
    Q6_K_HIGH = Q6_K_LOW + 4 * STEP_BYTES
};

static void pack_q6_k(const uint8_t *from, uint8_t *to, size_t lane, size_t group)
{
    memcpy(to + 2 * lane, from + 208, 2);
    for (size_t j = 0; j < 16; j++)
        to[Q6_K_SCALES + j * 16 + lane] = from[192 + j];
    for (size_t p = 0; p < 6; p++)
        put_run(from + p * STEP, to + Q6_K_LOW + p * STEP_BYTES, lane, group, STEP);
}

/* ---------------------------------------------------------------- unpacking */

static samba__v16 load_halves(const uint8_t *from)
{
    uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(from));
    uint16x8_t b = vreinterpretq_u16_u8(vld1q_u8(from + 16));
    return (samba__v16){{vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(a))),
                         vcvt_high_f32_f16(vreinterpretq_f16_u16(a)),
                         vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(b))),
                         vcvt_high_f32_f16(vreinterpretq_f16_u16(b))}};
}

/* to[16] = d * (float)codes */
static void scale_codes(samba__v16 d, int8x16_t codes, float *to)
{
    int16x8_t a = vmovl_s8(vget_low_s8(codes)), b = vmovl_high_s8(codes);
    int32x4_t wide[4] = {vmovl_s16(vget_low_s16(a)), vmovl_high_s16(a), vmovl_s16(vget_low_s16(b)),
                         vmovl_high_s16(b)};
    for (size_t i = 0; i < 4; i++)
        vst1q_f32(to + 4 * i, vmulq_f32(d.q[i], vcvtq_f32_s32(wide[i])));
}

static void unpack_q8_0(const uint8_t *from, size_t n_steps, samba__neon_piece *to)
{
    to->q = (const int8_t *)from + HALVES;
    to->stride = HALVES + STEP_BYTES;
    for (size_t s = 0; s < n_steps; s++)
        samba__v16_store(to->scale[s], load_halves(from + s * to->stride));
}

static void unpack_q4_0(const uint8_t *from, size_t n_steps, samba__neon_piece *to)
{
    const uint8x16_t low = vdupq_n_u8(15);
    const int8x16_t eight = vdupq_n_s8(8);
    to->q = to->own;
    to->stride = STEP_BYTES;
    for (size_t s = 0; s < n_steps; s++, from += HALVES + STEP_BYTES / 2) {
        int8_t *q = to->own + s * STEP_BYTES;
        samba__v16_store(to->scale[s], load_halves(from));
        for (size_t i = 0; i < STEP_BYTES / 2; i += 16) {
            uint8x16_t v = vld1q_u8(from + HALVES + i);
            vst1q_s8(q + i, vsubq_s8(vreinterpretq_s8_u8(vandq_u8(v, low)), eight));
            vst1q_s8(q + STEP_BYTES / 2 + i,
                     vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(v, 4)), eight));
        }
    }
}

/* 6-bit scales and minima of 8 groups. */
static void unpack_q4_k_scales(const uint8_t *from, samba__neon_piece *to)
{
    const uint8x16_t six = vdupq_n_u8(63), four = vdupq_n_u8(15);
    samba__v16 d = load_halves(from), dmin = load_halves(from + HALVES);
    const uint8_t *codes = from + Q4_K_SCALES;
    for (size_t g = 0; g < 4; g++) {
        uint8x16_t a = vld1q_u8(codes + g * 16), b = vld1q_u8(codes + (g + 4) * 16);
        uint8x16_t c = vld1q_u8(codes + (g + 8) * 16);
        uint8x16_t scale = vorrq_u8(vandq_u8(c, four), vshlq_n_u8(vshrq_n_u8(a, 6), 4));
        uint8x16_t min = vorrq_u8(vshrq_n_u8(c, 4), vshlq_n_u8(vshrq_n_u8(b, 6), 4));
        scale_codes(d, vreinterpretq_s8_u8(vandq_u8(a, six)), to->scale[g]);
        scale_codes(d, vreinterpretq_s8_u8(scale), to->scale[g + 4]);
        scale_codes(dmin, vreinterpretq_s8_u8(vandq_u8(b, six)), to->min[g]);
        scale_codes(dmin, vreinterpretq_s8_u8(min), to->min[g + 4]);
    }
}

static void unpack_q4_k(const uint8_t *from, size_t n_steps, samba__neon_piece *to)
{
    const uint8x16_t low = vdupq_n_u8(15);
    (void)n_steps; /* a piece is a block */
    to->q = to->own;
    to->stride = STEP_BYTES;
    unpack_q4_k_scales(from, to);
    from += Q4_K_QUANTS;
    for (size_t p = 0; p < 4; p++, from += STEP_BYTES) {
        int8_t *q = to->own + 2 * p * STEP_BYTES;
        for (size_t i = 0; i < STEP_BYTES; i += 16) {
            uint8x16_t v = vld1q_u8(from + i);
            vst1q_s8(q + i, vreinterpretq_s8_u8(vandq_u8(v, low)));
            vst1q_s8(q + STEP_BYTES + i, vreinterpretq_s8_u8(vshrq_n_u8(v, 4)));
        }
    }
}

/* low | high << 4, less 32; high in its lowest two bits, the rest ignored. */
static inline int8x16_t join_q6(uint8x16_t low, uint8x16_t high)
{
    uint8x16_t q = vorrq_u8(low, vshlq_n_u8(vandq_u8(high, vdupq_n_u8(3)), 4));
    return vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(32));
}

static void unpack_q6_k(const uint8_t *from, size_t n_steps, samba__neon_piece *to)
{
    const uint8x16_t low = vdupq_n_u8(15);
    samba__v16 d = load_halves(from);
    to->q = to->own;
    to->stride = STEP_BYTES;
    for (size_t g = 0; g < 2 * n_steps; g++)
        scale_codes(d, vreinterpretq_s8_u8(vld1q_u8(from + Q6_K_SCALES + g * 16)), to->scale[g]);
    for (size_t h = 0; h < 2; h++) { /* 128 columns each */
        const uint8_t *a = from + Q6_K_LOW + 2 * h * STEP_BYTES, *b = a + STEP_BYTES;
        const uint8_t *c = from + Q6_K_HIGH + h * STEP_BYTES;
        int8_t *q = to->own + 4 * h * STEP_BYTES;
        for (size_t i = 0; i < STEP_BYTES; i += 16) {
            uint8x16_t va = vld1q_u8(a + i), vb = vld1q_u8(b + i), vc = vld1q_u8(c + i);
            vst1q_s8(q + i, join_q6(vandq_u8(va, low), vc));
            vst1q_s8(q + STEP_BYTES + i, join_q6(vandq_u8(vb, low), vshrq_n_u8(vc, 2)));
            vst1q_s8(q + 2 * STEP_BYTES + i, join_q6(vshrq_n_u8(va, 4), vshrq_n_u8(vc, 4)));
            vst1q_s8(q + 3 * STEP_BYTES + i, join_q6(vshrq_n_u8(vb, 4), vshrq_n_u8(vc, 6)));
        }
    }
}

const samba__neon_format samba__neon_q8_0 = {
    SAMBA__Q8_0_BLOCK, SAMBA__Q8_0_BYTES, SAMBA__Q8_0_BYTES * 16,
    pack_q8_0,         unpack_q8_0,       SAMBA__ONE_SCALE};
const samba__neon_format samba__neon_q4_0 = {
    SAMBA__Q4_0_BLOCK, SAMBA__Q4_0_BYTES, SAMBA__Q4_0_BYTES * 16,
    pack_q4_0,         unpack_q4_0,       SAMBA__ONE_SCALE};
const samba__neon_format samba__neon_q4_k = {
    SAMBA__Q4_K_BLOCK, SAMBA__Q4_K_BYTES, SAMBA__Q4_K_BYTES * 16,
    pack_q4_k,         unpack_q4_k,       SAMBA__SCALE_AND_MIN};
const samba__neon_format samba__neon_q6_k = {
    SAMBA__Q6_K_BLOCK, SAMBA__Q6_K_BYTES, SAMBA__Q6_K_BYTES * 16,
    pack_q6_k,         unpack_q6_k,       SAMBA__TWO_SCALES};

/* ---------------------------------------------------------------- panels */

size_t samba__neon_blocks_panel_bytes(const samba__neon_format *f, size_t cols)
{
    return (cols / f->block * f->packed_bytes + 63) & ~(size_t)63;
}

void samba__neon_blocks_pack(const samba__neon_format *f, size_t group,
                             const samba__pack_args *args)
{
    size_t n_blocks = args->cols / f->block;
    const uint8_t *from = args->src;
    for (size_t i = 0; i < args->rows; i++) {
        size_t row = args->first_row + i;
        uint8_t *to =
            (uint8_t *)args->packed + row / 16 * samba__neon_blocks_panel_bytes(f, args->cols);
        for (size_t b = 0; b < n_blocks; b++, from += f->file_bytes, to += f->packed_bytes)
            f->pack(from, to, row % 16, group);
    }
}

/* Columns [col, col + 256) of a panel, or what is left. */
static void unpack_piece(const samba__neon_format *f, const uint8_t *panel, size_t col, size_t cols,
                         samba__neon_piece *to)
{
    to->n_steps = (cols - col < PIECE ? cols - col : PIECE) / STEP;
    f->unpack(panel + col / f->block * f->packed_bytes, to->n_steps, to);
}

/* Of 16 unpacked rows one is kept: plain, and little beside the layers that follow. */
void samba__neon_blocks_gather(const samba__neon_format *f, size_t group, const void *packed,
                               size_t cols, size_t row, float *to)
{
    const uint8_t *panel =
        (const uint8_t *)packed + row / 16 * samba__neon_blocks_panel_bytes(f, cols);
    size_t lane = row % 16, per_step = f->layout == SAMBA__TWO_SCALES ? 2 : 1;
    samba__neon_piece p;
    for (size_t col = 0; col < cols; col += PIECE) {
        unpack_piece(f, panel, col, cols, &p);
        for (size_t i = 0; i < p.n_steps * STEP; i++) {
            size_t s = i / STEP, k = i % STEP;
            int8_t q = p.q[s * p.stride + k / group * group * 16 + lane * group + k % group];
            float w = p.scale[i * per_step / STEP][lane] * (float)q;
            to[col + i] = f->layout == SAMBA__SCALE_AND_MIN ? w - p.min[s][lane] : w;
        }
    }
}

/* ---------------------------------------------------------------- activations */

/* A prepared row: int8 q[cols], then float scale[cols / 32], then float sum[cols / 32]. */
size_t samba__neon_blocks_row_bytes(size_t cols)
{
    return (cols + cols / STEP * 2 * sizeof(float) + 63) & ~(size_t)63;
}

/* scale = absmax / 127; q = x * (127 / absmax), nearest, ties to even. */
static float quantise_step(const float *x, int8_t *q, float *scaled_sum)
{
    float32x4_t v[8], top = vdupq_n_f32(0.0f);
    int32x4_t sum = vdupq_n_s32(0);
    int16x4_t narrow[8];
    for (size_t i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        top = vmaxq_f32(top, vabsq_f32(v[i]));
    }
    float max = vmaxvq_f32(top), scale = max / 127.0f;
    float inverse = max > 0x1p-120f ? 127.0f / max : 0.0f;
    for (size_t i = 0; i < 8; i++) {
        int32x4_t n = vcvtnq_s32_f32(vmulq_n_f32(v[i], inverse));
        sum = vaddq_s32(sum, n);
        narrow[i] = vqmovn_s32(n);
    }
    for (size_t i = 0; i < 8; i += 2)
        vst1_s8(q + 4 * i, vqmovn_s16(vcombine_s16(narrow[i], narrow[i + 1])));
    *scaled_sum = scale * (float)vaddvq_s32(sum);
    return scale;
}

void samba__neon_blocks_prepare(const samba__prepare_args *args)
{
    size_t n_steps = args->cols / STEP;
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        int8_t *q = (int8_t *)args->to + r * samba__neon_blocks_row_bytes(args->cols);
        float *scale = (float *)(void *)(q + args->cols);
        for (size_t s = 0; s < n_steps; s++)
            scale[s] = quantise_step(x + s * STEP, q + s * STEP, scale + n_steps + s);
    }
}

/* ---------------------------------------------------------------- product */

static samba__neon_rows rows_at(const samba__linear_args *args, size_t row, size_t n, size_t col)
{
    samba__neon_rows x = {.stride = samba__neon_blocks_row_bytes(args->cols), .n = n};
    const int8_t *q = (const int8_t *)args->x + row * x.stride;
    x.q = q + col;
    x.scale = (const float *)(const void *)(q + args->cols) + col / STEP;
    x.sum = x.scale + args->cols / STEP;
    return x;
}

/* n rows from `row`, one panel. */
static void panel_run(const samba__neon_format *f, samba__neon_product product,
                      const samba__linear_args *args, size_t panel, size_t row, size_t n)
{
    float acc[CHUNK][16];
    samba__neon_piece piece;
    size_t j = panel * 16;
    const uint8_t *w =
        (const uint8_t *)args->packed + panel * samba__neon_blocks_panel_bytes(f, args->cols);
    for (size_t i = 0; i < 16; i += 4) {
        float32x4_t bias = samba__load_4(args->bias ? args->bias + j + i : NULL, j + i, args->rows);
        for (size_t r = 0; r < n; r++)
            vst1q_f32(acc[r] + i, bias);
    }
    for (size_t col = 0; col < args->cols; col += PIECE) {
        samba__neon_rows x = rows_at(args, row, n, col);
        unpack_piece(f, w, col, args->cols, &piece);
        product(&piece, &x, acc);
    }
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < 16; i += 4)
            samba__put_4(args->y + (row + r) * args->ldy + j + i, vld1q_f32(acc[r] + i), j + i,
                         args->rows, args->accumulate);
}

void samba__neon_blocks_run(const samba__neon_format *f, samba__neon_product product,
                            const samba__linear_args *args)
{
    for (size_t row = 0; row < args->n_rows; row += CHUNK) {
        size_t n = args->n_rows - row < CHUNK ? args->n_rows - row : CHUNK;
        for (size_t p = args->panel_begin; p < args->panel_end; p++)
            panel_run(f, product, args, p, row, n);
    }
}
