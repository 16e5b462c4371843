/*
 * The codec of chunks; see chunk.h. zstd is used through its stable API: its contexts take memory
 * from malloc, as the hooks for it are static-linking-only.
 */
#include "state/chunk.h"
#include "base/bytes.h"
#include "base/half.h"
#include "tensor/dtype.h"

#include <zstd.h>
#include <zstd_errors.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elsewhere bytes are swapped here");

enum {
    Q8_UNIT = SAMBA__Q8_0_BYTES,
    SAMPLE = 4096,
    RUN = SAMBA__Q8_0_BLOCK, /* of a sample */
    FAST_LEVEL = 1,          /* of zstd: see make_compressor */
    FAST_HASH_LOG = 6,
    FAST_MATCH = 7,
    FRAME_LEAST = 9 /* a zstd frame that is not empty: magic, header, one block */
};
#define PLANE_ZSTD ((uint32_t)1 << 31)

/* ---------------------------------------------------------------- geometry */

uint64_t samba__chunk_rows(const samba__section *section, int32_t type)
{
    const size_t row = samba__section_row(section, type);
    return row && row < SAMBA__CHUNK_BYTES ? SAMBA__CHUNK_BYTES / row : 1;
}

uint32_t samba__type_planes(int32_t type)
{
    switch (type) {
    case SAMBA_DTYPE_F32:
    case SAMBA__TYPE_I32:
        return 4;
    case SAMBA_DTYPE_F16:
    case SAMBA_DTYPE_BF16:
        return 2;
    case SAMBA_DTYPE_Q8_0:
        return 3; /* low and high bytes of the scales, then the numbers */
    default:
        return 1;
    }
}

/* Bytes of plane p of rows that take `size` bytes. */
static size_t plane_size(int32_t type, uint32_t p, size_t size)
{
    if (type == SAMBA_DTYPE_Q8_0)
        return size / Q8_UNIT * (p < 2 ? 1 : SAMBA__Q8_0_BLOCK);
    return size / samba__type_planes(type);
}

size_t samba__chunk_bound(size_t size)
{
    return size + SAMBA__CHUNK_PLANES * SAMBA__PLANE_WORD;
}

size_t samba__chunk_stored(int32_t stored_type, const uint8_t *words, size_t rows_size)
{
    const uint32_t n = samba__type_planes(stored_type);
    size_t stored = n * SAMBA__PLANE_WORD;
    for (uint32_t p = 0; p < n; p++) {
        const uint32_t word = samba__load_u32(words + p * SAMBA__PLANE_WORD);
        const size_t size = word & ~PLANE_ZSTD, plain = plane_size(stored_type, p, rows_size);
        if (word & PLANE_ZSTD ? size < FRAME_LEAST || size >= plain : size != plain)
            return 0;
        stored += size;
    }
    return stored;
}

uint64_t samba__chunk_least(const samba__section *section, int32_t stored_type, uint64_t stored_raw)
{
    const uint64_t bytes =
        samba__chunk_rows(section, stored_type) * samba__section_row(section, stored_type);
    const uint64_t n_chunks = bytes ? stored_raw / bytes : 0;
    return n_chunks * samba__type_planes(stored_type) * (SAMBA__PLANE_WORD + FRAME_LEAST);
}

/* ---------------------------------------------------------------- planes */

static void split_2(const uint8_t *restrict from, uint8_t *const planes[2], size_t n)
{
    uint8_t *restrict a = planes[0], *restrict b = planes[1];
    for (size_t i = 0; i < n; i++) {
        a[i] = from[2 * i];
        b[i] = from[2 * i + 1];
    }
}

static void join_2(const uint8_t *restrict a, const uint8_t *restrict b, uint8_t *restrict to,
                   size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = a[i];
        to[2 * i + 1] = b[i];
    }
}

static void split_4(const uint8_t *restrict from, uint8_t *const planes[4], size_t n)
{
    uint8_t *restrict a = planes[0], *restrict b = planes[1];
    uint8_t *restrict c = planes[2], *restrict d = planes[3];
    for (size_t i = 0; i < n; i++) {
        a[i] = from[4 * i];
        b[i] = from[4 * i + 1];
        c[i] = from[4 * i + 2];
        d[i] = from[4 * i + 3];
    }
}

static void join_4(const uint8_t *const planes[4], uint8_t *restrict to, size_t n)
{
    const uint8_t *restrict a = planes[0], *restrict b = planes[1];
    const uint8_t *restrict c = planes[2], *restrict d = planes[3];
    for (size_t i = 0; i < n; i++) {
        to[4 * i] = a[i];
        to[4 * i + 1] = b[i];
        to[4 * i + 2] = c[i];
        to[4 * i + 3] = d[i];
    }
}

static void split_q8(const uint8_t *from, uint8_t *const planes[3], size_t n)
{
    for (size_t i = 0; i < n; i++, from += Q8_UNIT) {
        planes[0][i] = from[0];
        planes[1][i] = from[1];
        memcpy(planes[2] + i * SAMBA__Q8_0_BLOCK, from + 2, SAMBA__Q8_0_BLOCK);
    }
}

static void join_q8(const uint8_t *const planes[3], uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++, to += Q8_UNIT) {
        to[0] = planes[0][i];
        to[1] = planes[1][i];
        memcpy(to + 2, planes[2] + i * SAMBA__Q8_0_BLOCK, SAMBA__Q8_0_BLOCK);
    }
}

static void split(int32_t type, const uint8_t *from, uint8_t *const *planes, size_t size)
{
    if (type == SAMBA_DTYPE_Q8_0)
        split_q8(from, planes, size / Q8_UNIT);
    else if (samba__type_planes(type) == 4)
        split_4(from, planes, size / 4);
    else if (samba__type_planes(type) == 2)
        split_2(from, planes, size / 2);
    else
        memcpy(planes[0], from, size);
}

static void join(int32_t type, const uint8_t *const *planes, uint8_t *to, size_t size)
{
    if (type == SAMBA_DTYPE_Q8_0)
        join_q8(planes, to, size / Q8_UNIT);
    else if (samba__type_planes(type) == 4)
        join_4(planes, to, size / 4);
    else if (samba__type_planes(type) == 2)
        join_2(planes[0], planes[1], to, size / 2);
    else
        memcpy(to, planes[0], size);
}

/* ---------------------------------------------------------------- finite */

/* Counting instead of leaving early: the compiler makes vectors of it. */
static bool finite_32(const uint8_t *data, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, data + 4 * i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

static bool finite_16(const uint8_t *data, size_t n, uint16_t exponent)
{
    uint16_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i, sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    return !bad;
}

bool samba__floats_finite(int32_t type, const uint8_t *data, size_t size)
{
    bool ok = true;
    switch (type) {
    case SAMBA_DTYPE_F32:
        return finite_32(data, size / 4);
    case SAMBA_DTYPE_F16:
        return finite_16(data, size / 2, 0x7c00);
    case SAMBA_DTYPE_BF16:
        return finite_16(data, size / 2, 0x7f80);
    case SAMBA_DTYPE_Q8_0:
        for (size_t i = 0; i < size; i += Q8_UNIT)
            ok = ok && (samba__load_u16(data + i) & 0x7c00) != 0x7c00;
        return ok;
    default:
        return true;
    }
}

/* ---------------------------------------------------------------- lossy */

enum {
    CONVERT = 8 * SAMBA__Q8_0_BLOCK /* elements at a time */
};

/* `n` elements; a multiple of the Q8_0 block. */
static void to_q8(int32_t type, const uint8_t *from, uint8_t *to, size_t n)
{
    const samba__dtype_info *info = samba__dtype_info_of(type);
    float f[CONVERT];
    for (size_t i = 0; i < n; i += CONVERT) {
        const size_t m = n - i < CONVERT ? n - i : CONVERT;
        info->to_f32(from + i * info->block_bytes, f, m);
        samba__q8_0_from_f32(f, to + i / SAMBA__Q8_0_BLOCK * Q8_UNIT, m);
    }
}

/* Scale times number may be beyond f16 where the value it was made from was not: held at the
 * largest one. */
static void from_q8(int32_t type, const uint8_t *from, uint8_t *to, size_t n)
{
    const samba__dtype_info *info = samba__dtype_info_of(type);
    float f[CONVERT];
    for (size_t i = 0; i < n; i += CONVERT) {
        const size_t m = n - i < CONVERT ? n - i : CONVERT;
        samba__q8_0_to_f32(from + i / SAMBA__Q8_0_BLOCK * Q8_UNIT, f, m);
        for (size_t k = 0; k < m; k++)
            f[k] = f[k] > SAMBA__F16_MAX    ? SAMBA__F16_MAX
                   : f[k] < -SAMBA__F16_MAX ? -SAMBA__F16_MAX
                                            : f[k];
        info->from_f32(f, to + i * info->block_bytes, m);
    }
}

static size_t stored_size(const samba__chunk *c, size_t size)
{
    uint32_t elements;
    const size_t unit = samba__type_unit(c->type, &elements);
    return c->stored_type == c->type ? size : size / unit * elements / SAMBA__Q8_0_BLOCK * Q8_UNIT;
}

/* ---------------------------------------------------------------- codec */

void samba__chunk_codec_free(samba__chunk_codec *codec)
{
    ZSTD_freeCCtx(codec->compressor);
    ZSTD_freeDCtx(codec->decompressor);
    if (codec->alloc) {
        samba__free(codec->alloc, codec->planes);
        samba__free(codec->alloc, codec->rows);
    }
    *codec = (samba__chunk_codec){0};
}

static bool reserve(samba__chunk_codec *codec, size_t size)
{
    if (size <= codec->capacity)
        return true;
    samba__free(codec->alloc, codec->planes);
    samba__free(codec->alloc, codec->rows);
    codec->planes = samba__alloc_aligned(codec->alloc, size, 64);
    codec->rows = samba__alloc_aligned(codec->alloc, size, 64);
    codec->capacity = codec->planes && codec->rows ? size : 0;
    return codec->capacity != 0;
}

/* Whether plane p, of `size` bytes, of rows not yet split looks like noise: in a sample, byte
 * values collide hardly more often than they would by chance (1/256). Their entropy is then
 * above 7.8 bits, and trying costs more time than everything else. */
static bool is_noise(int32_t type, const uint8_t *rows, uint32_t p, size_t size)
{
    const bool numbers = type == SAMBA_DTYPE_Q8_0 && p == 2;
    const size_t step = type == SAMBA_DTYPE_Q8_0 ? Q8_UNIT : samba__type_planes(type);
    uint32_t counts[256] = {0};
    uint64_t squares = 0;
    if (step == 1 || size < 4 * SAMPLE)
        return false;
    for (size_t i = 0; i < SAMPLE / RUN; i++) { /* runs, evenly spread */
        const size_t unit = i * (size / SAMPLE);
        const uint8_t *run = rows + (numbers ? unit * Q8_UNIT + 2 : unit * RUN * step + p);
        for (size_t k = 0; k < RUN; k++)
            counts[run[numbers ? k : k * step]]++;
    }
    for (size_t i = 0; i < 256; i++)
        squares += (uint64_t)counts[i] * counts[i];
    return squares * 256 * 4 < (uint64_t)SAMPLE * SAMPLE * 5;
}

/* The plane as a frame in fewer than `size` - 1/32 bytes, or 0: it does not gain enough. Negative:
 * memory is out. */
static int64_t compress(const samba__chunk_codec *codec, const uint8_t *plane, size_t size,
                        uint8_t *to)
{
    const size_t most = size - size / 32;
    if (most <= FRAME_LEAST)
        return 0;
    const size_t n = ZSTD_compress2(codec->compressor, to, most - 1, plane, size);
    if (!ZSTD_isError(n))
        return n < FRAME_LEAST ? 0 : (int64_t)n;
    ZSTD_CCtx_reset(codec->compressor, ZSTD_reset_session_only);
    return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -1 : 0;
}

static bool set(const samba__chunk_codec *codec, ZSTD_cParameter parameter, int32_t value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(codec->compressor, parameter, value));
}

/* Exponents have an uneven histogram and hardly a repetition. At the fast level looking for those
 * costs up to half of the time, and what is found by chance takes more bytes than it saves: the
 * table to find them is the smallest, and only long ones count. 0: as the level has it. */
static bool make_compressor(samba__chunk_codec *codec, const samba__chunk *c)
{
    const bool plain = c->level != FAST_LEVEL || samba__type_planes(c->stored_type) == 1;
    if (!codec->compressor)
        codec->compressor = ZSTD_createCCtx();
    return codec->compressor && set(codec, ZSTD_c_compressionLevel, c->level) &&
           set(codec, ZSTD_c_hashLog, plain ? 0 : FAST_HASH_LOG) &&
           set(codec, ZSTD_c_minMatch, plain ? 0 : FAST_MATCH);
}

/* Planes before the first one worth compressing have a place that is known, and are split into it;
 * the others are split into scratch. */
typedef struct plane_plan {
    uint32_t n, in_place;
    bool noise[SAMBA__CHUNK_PLANES];
    uint8_t *planes[SAMBA__CHUNK_PLANES];
} plane_plan;

static plane_plan plan_planes(const samba__chunk_codec *codec, const samba__chunk *c,
                              const uint8_t *rows, size_t size)
{
    plane_plan plan = {.n = samba__type_planes(c->stored_type)};
    uint8_t *to = c->to + plan.n * SAMBA__PLANE_WORD, *scratch = codec->planes;
    for (uint32_t p = 0; p < plan.n; p++) {
        const size_t plain = plane_size(c->stored_type, p, size);
        plan.noise[p] = is_noise(c->stored_type, rows, p, plain);
        plan.in_place += plan.noise[p] && plan.in_place == p;
        plan.planes[p] = plan.in_place > p ? to : scratch;
        to += plain;
        scratch += plain;
    }
    return plan;
}

static samba__chunk_result encode_planes(samba__chunk_codec *codec, samba__chunk *c,
                                         const uint8_t *rows, size_t size)
{
    const plane_plan plan = plan_planes(codec, c, rows, size);
    uint8_t *to = c->to + plan.n * SAMBA__PLANE_WORD;
    if (!make_compressor(codec, c))
        return SAMBA__CHUNK_NO_MEMORY;
    split(c->stored_type, rows, plan.planes, size);
    for (uint32_t p = 0; p < plan.n; p++) {
        const size_t plain = plane_size(c->stored_type, p, size);
        const int64_t n = plan.noise[p] ? 0 : compress(codec, plan.planes[p], plain, to);
        if (n < 0)
            return SAMBA__CHUNK_NO_MEMORY;
        if (n == 0 && p >= plan.in_place)
            memcpy(to, plan.planes[p], plain);
        samba__store_u32(c->to + p * SAMBA__PLANE_WORD,
                         n ? PLANE_ZSTD | (uint32_t)n : (uint32_t)plain);
        to += n ? (size_t)n : plain;
    }
    c->stored = c->to;
    c->to_size = (size_t)(to - c->to);
    return SAMBA__CHUNK_OK;
}

samba__chunk_result samba__chunk_encode(samba__chunk_codec *codec, samba__chunk *c)
{
    const size_t size = stored_size(c, c->from_size);
    const uint8_t *rows = c->from;
    uint32_t elements;
    if (!samba__floats_finite(c->type, c->from, c->from_size))
        return SAMBA__CHUNK_NOT_FINITE;
    if (!reserve(codec, size))
        return SAMBA__CHUNK_NO_MEMORY;
    if (c->stored_type != c->type) {
        uint8_t *q8 = c->codec == SAMBA_CODEC_RAW ? c->to : codec->rows;
        const size_t unit = samba__type_unit(c->type, &elements);
        to_q8(c->type, c->from, q8, c->from_size / unit * elements);
        rows = q8;
    }
    if (c->codec == SAMBA_CODEC_ZSTD)
        return encode_planes(codec, c, rows, size);
    c->stored = rows;
    c->to_size = size;
    return SAMBA__CHUNK_OK;
}

/* Finds plane p in the stored bytes, or decompresses it into scratch. */
static bool decode_plane(samba__chunk_codec *codec, uint32_t word, const uint8_t *stored,
                         size_t plain, uint8_t *scratch, const uint8_t **plane)
{
    const size_t size = word & ~PLANE_ZSTD;
    *plane = word & PLANE_ZSTD ? scratch : stored;
    return !(word & PLANE_ZSTD) ||
           (ZSTD_getFrameContentSize(stored, size) == plain &&
            ZSTD_decompressDCtx(codec->decompressor, scratch, plain, stored, size) == plain);
}

static samba__chunk_result decode_planes(samba__chunk_codec *codec, const samba__chunk *c,
                                         uint8_t *rows, size_t size)
{
    const uint32_t n_planes = samba__type_planes(c->stored_type);
    const uint8_t *planes[SAMBA__CHUNK_PLANES], *at = c->from + n_planes * SAMBA__PLANE_WORD;
    uint8_t *scratch = codec->planes;
    if (!codec->decompressor)
        codec->decompressor = ZSTD_createDCtx();
    if (!codec->decompressor)
        return SAMBA__CHUNK_NO_MEMORY;
    if (samba__chunk_stored(c->stored_type, c->from, size) != c->from_size)
        return SAMBA__CHUNK_BAD;
    for (uint32_t p = 0; p < n_planes; p++) {
        const uint32_t word = samba__load_u32(c->from + p * SAMBA__PLANE_WORD);
        const size_t plain = plane_size(c->stored_type, p, size);
        if (!decode_plane(codec, word, at, plain, scratch, &planes[p]))
            return SAMBA__CHUNK_BAD;
        at += word & ~PLANE_ZSTD;
        scratch += plain;
    }
    join(c->stored_type, planes, rows, size);
    return SAMBA__CHUNK_OK;
}

samba__chunk_result samba__chunk_decode(samba__chunk_codec *codec, const samba__chunk *c)
{
    const size_t size = stored_size(c, c->to_size);
    const bool lossy = c->stored_type != c->type;
    uint32_t elements;
    if (!reserve(codec, size))
        return SAMBA__CHUNK_NO_MEMORY;
    uint8_t *decoded = lossy ? codec->rows : c->to;
    const uint8_t *rows = decoded;
    if (c->codec == SAMBA_CODEC_ZSTD) {
        const samba__chunk_result result = decode_planes(codec, c, decoded, size);
        if (result != SAMBA__CHUNK_OK)
            return result;
    } else {
        if (c->from_size != size)
            return SAMBA__CHUNK_BAD;
        rows = c->from;
    }
    if (!samba__floats_finite(c->stored_type, rows, size))
        return SAMBA__CHUNK_NOT_FINITE;
    const size_t unit = samba__type_unit(c->type, &elements);
    if (lossy)
        from_q8(c->type, rows, c->to, c->to_size / unit * elements);
    else if (rows != c->to)
        memcpy(c->to, rows, size);
    return SAMBA__CHUNK_OK;
}
