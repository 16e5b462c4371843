/*
 * Snapshot files of the golden models through the public header: what was written continues, where
 * it is restored, with the same bits; damage of every kind is an error that names it, or, with the
 * checksums made good again, an error or a finite state.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "state/snapshot_world.h"

#include <stdio.h>
#include <unistd.h>

static const char *const models[] = {
    "ms_samba",  "ms_mamba_swa_mlp", "ms_gla",          "ms_retnet",
    "phi4flash", "mamba_hf",         "ms_samba_scattn", WIDE};
enum {
    N_MODELS = sizeof models / sizeof *models
};

static samba_bytes *write_bytes(const samba_snapshot *s, const samba_snapshot_write_options *o)
{
    samba_bytes *b = NULL;
    CK_OK(samba_snapshot_write_memory(s, o, &b, RIG_ERROR));
    return b;
}

static samba_snapshot *read_bytes(const world *w, const samba_bytes *b,
                                  const samba_snapshot_read_options *o)
{
    samba_snapshot *s = NULL;
    CK_OK(samba_snapshot_read_memory(w->context, samba_bytes_data(b), samba_bytes_size(b), o, &s,
                                     RIG_ERROR));
    return s;
}

static samba_snapshot *snapshot_of(const samba_session *s)
{
    samba_snapshot *snapshot = NULL;
    const samba_snapshot_options o = {
        .struct_size = sizeof o, .metadata = "host's", .metadata_size = 6};
    CK_OK(samba_session_snapshot(s, &o, &snapshot, RIG_ERROR));
    return snapshot;
}

/* ---------------------------------------------------------------- round trips */

static void same_continuation(const world *w, const samba_snapshot *snapshot, const float *want)
{
    samba_session *s = NULL;
    CK_OK(samba_session_create_from(w->model, snapshot, NULL, &s, RIG_ERROR));
    float *got = go_on(w, s);
    ck_assert(memcmp(got, want, N_MORE * w->n_vocab * sizeof *got) == 0);
    free(got);
    samba_session_free(s);
}

static void round_trip(const world *w, samba_dtype kv, size_t n, samba_codec codec)
{
    samba_session *s = session_at(w, kv, n);
    samba_snapshot *live = snapshot_of(s);
    const samba_snapshot_write_options o = {.struct_size = sizeof o, .codec = codec};
    samba_bytes *b = write_bytes(live, &o), *again;
    float *want = go_on(w, s);
    samba_snapshot *read = read_bytes(w, b, NULL);
    same_continuation(w, read, want);
    /* Written anew from what was read: the same bytes. */
    again = write_bytes(read, &o);
    ck_assert_uint_eq(samba_bytes_size(again), samba_bytes_size(b));
    ck_assert(memcmp(samba_bytes_data(again), samba_bytes_data(b), samba_bytes_size(b)) == 0);
    /* Into a session that stands elsewhere. */
    CK_OK(samba_session_restore(s, read, RIG_ERROR));
    float *got = go_on(w, s);
    ck_assert(memcmp(got, want, N_MORE * w->n_vocab * sizeof *got) == 0);
    free(got);
    free(want);
    samba_bytes_free(again);
    samba_bytes_free(b);
    samba_snapshot_release(read);
    samba_snapshot_release(live);
    samba_session_free(s);
}

START_TEST(written_and_read_it_goes_on_with_the_same_bits)
{
    static const samba_dtype kv[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                     SAMBA_DTYPE_Q8_0};
    world w = open_world(models[_i], 0);
    for (size_t d = 0; d < (w.c ? 3 : 4); d++)
        for (samba_codec codec = SAMBA_CODEC_RAW; codec <= SAMBA_CODEC_ZSTD; codec++) {
            round_trip(&w, kv[d], 1, codec);
            round_trip(&w, kv[d], 5, codec);
            round_trip(&w, kv[d], 150, codec);
        }
    close_world(&w);
}
END_TEST

START_TEST(nothing_fed_yet)
{
    world w = open_world(models[_i], 0);
    samba_session *s = session_at(&w, 0, 0), *t = NULL;
    samba_snapshot *live = snapshot_of(s);
    samba_bytes *b = write_bytes(live, NULL);
    samba_snapshot *read = read_bytes(&w, b, NULL);
    CK_OK(samba_session_create_from(w.model, read, NULL, &t, RIG_ERROR));
    rig_eval(s, tokens_of(&w), 20, 0);
    rig_eval(t, tokens_of(&w), 20, 0);
    ck_assert(memcmp(rig_logits(s, SAMBA_ROW_LAST), rig_logits(t, SAMBA_ROW_LAST),
                     w.n_vocab * sizeof(float)) == 0);
    samba_session_free(t);
    samba_session_free(s);
    samba_snapshot_release(read);
    samba_snapshot_release(live);
    samba_bytes_free(b);
    close_world(&w);
}
END_TEST

static samba_dtype kv_of(const world *w)
{
    return w->c ? SAMBA_DTYPE_F16 : SAMBA_DTYPE_Q8_0;
}

/* Written under one instruction set, restored under another, from memory and from the live one:
 * from the portable kernels to the machine's best, and back. */
START_TEST(another_instruction_set)
{
    const samba_cpu_tier tiers[] = {SAMBA_CPU_REFERENCE, 0};
    world a = open_world(models[_i / 2], tiers[_i % 2]);
    world b = open_world(models[_i / 2], tiers[(_i + 1) % 2]);
    samba_session *s = session_at(&a, kv_of(&a), 150), *t = NULL;
    samba_snapshot *live = snapshot_of(s);
    samba_bytes *bytes = write_bytes(live, NULL);
    samba_snapshot *read = read_bytes(&b, bytes, NULL);
    float *want = go_on(&a, s);
    for (int i = 0; i < 2; i++) {
        CK_OK(samba_session_create_from(b.model, i ? live : read, NULL, &t, RIG_ERROR));
        float *got = go_on(&b, t);
        ck_assert_double_lt(golden_error(got, want, N_MORE * a.n_vocab),
                            other_tier_error(models[_i / 2]));
        free(got);
        samba_session_free(t);
    }
    same_continuation(&a, read, want);
    free(want);
    samba_bytes_free(bytes);
    samba_snapshot_release(read);
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&a);
    close_world(&b);
}
END_TEST

/* Written and restored on other numbers of threads: the same file, the same bits. */
START_TEST(another_thread_count)
{
    static const int32_t n_threads[] = {1, 3, 4, 1};
    samba_bytes *before = NULL;
    float *want = NULL;
    for (int i = 0; i < 4; i++) {
        world w = open_world_with(models[_i], (rig_options){.n_threads = n_threads[i]});
        samba_session *s = session_at(&w, kv_of(&w), 150);
        samba_snapshot *live = snapshot_of(s);
        samba_bytes *b = write_bytes(live, NULL);
        if (before) {
            samba_snapshot *read = read_bytes(&w, before, NULL);
            same_continuation(&w, read, want);
            samba_snapshot_release(read);
            ck_assert_uint_eq(samba_bytes_size(b), samba_bytes_size(before));
            ck_assert(memcmp(samba_bytes_data(b), samba_bytes_data(before), samba_bytes_size(b)) ==
                      0);
        }
        free(want);
        samba_bytes_free(before);
        want = go_on(&w, s);
        before = b;
        samba_snapshot_release(live);
        samba_session_free(s);
        close_world(&w);
    }
    free(want);
    samba_bytes_free(before);
}
END_TEST

START_TEST(what_it_tells)
{
    world w = open_world("ms_samba", 0);
    samba_session *s = session_at(&w, SAMBA_DTYPE_BF16, 40);
    samba_snapshot *live = snapshot_of(s), *refused = NULL;
    samba_bytes *b = write_bytes(live, NULL);
    samba_model_info model = {.struct_size = sizeof model};
    CK_OK(samba_model_get_info(w.model, &model, RIG_ERROR));
    for (samba_snapshot_mode mode = 0; mode <= SAMBA_SNAPSHOT_VERIFY; mode++) {
        const samba_snapshot_read_options o = {.struct_size = sizeof o, .mode = mode};
        samba_snapshot *r = mode ? read_bytes(&w, b, &o) : samba_snapshot_retain(live);
        samba_snapshot_info info = {.struct_size = sizeof info};
        const samba_token *tokens;
        uint64_t first;
        size_t n;
        CK_OK(samba_snapshot_get_info(r, &info, RIG_ERROR));
        ck_assert_uint_eq(info.position, 40);
        ck_assert_uint_eq(info.n_tokens, 40);
        ck_assert_uint_eq(info.n_vocab, w.n_vocab);
        ck_assert_int_eq(info.kv_dtype, SAMBA_DTYPE_BF16);
        ck_assert_int_eq(info.has_logits, 1);
        ck_assert(info.metadata_size == 6 && memcmp(info.metadata, "host's", 6) == 0);
        ck_assert(memcmp(info.fingerprint, model.fingerprint, 16) == 0);
        ck_assert_uint_eq(info.file_bytes, mode ? samba_bytes_size(b) : 0);
        ck_assert_int_eq(info.format_version, mode ? 1 : 0);
        CK_OK(samba_snapshot_tokens(r, &tokens, &first, &n, RIG_ERROR));
        ck_assert(first == 0 && n == 40 && memcmp(tokens, tokens_of(&w), 40 * sizeof *tokens) == 0);
        uint64_t raw = 0;
        for (uint64_t i = 0; i < info.n_sections; i++) {
            samba_snapshot_section_info e = {.struct_size = sizeof e};
            CK_OK(samba_snapshot_get_section(r, i, &e, RIG_ERROR));
            raw += e.raw_bytes;
            ck_assert(mode != SAMBA_SNAPSHOT_FULL || e.data);
            if (e.kind == SAMBA_SECTION_KV) /* the window's rows but one, never a page's */
                ck_assert(e.dims[0] <= 40);
        }
        ck_assert_uint_eq(raw, info.raw_bytes);
        if (mode > SAMBA_SNAPSHOT_FULL) {
            samba_bytes *none = NULL;
            CK_FAILS(SAMBA_ERROR_STATE, samba_session_restore(s, r, RIG_ERROR));
            CK_FAILS(SAMBA_ERROR_STATE, samba_snapshot_write_memory(r, NULL, &none, RIG_ERROR));
        }
        samba_snapshot_release(r);
    }
    const samba_snapshot_read_options little = {.struct_size = sizeof little, .max_bytes = 1000};
    CK_FAILS(SAMBA_ERROR_LIMIT,
             samba_snapshot_read_memory(w.context, samba_bytes_data(b), samba_bytes_size(b),
                                        &little, &refused, RIG_ERROR));
    samba_bytes_free(b);
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

START_TEST(other_models_are_refused_by_name)
{
    world a = open_world("ms_samba", 0), b = open_world("ms_mamba_swa_mlp", 0);
    samba_session *s = session_at(&a, 0, 20), *t = rig_session(b.model, 0, 0), *f32;
    samba_snapshot *live = snapshot_of(s);
    samba_bytes *bytes = write_bytes(live, NULL);
    samba_snapshot *read = read_bytes(&b, bytes, NULL);
    CK_FAILS(SAMBA_ERROR_MISMATCH, samba_session_restore(t, read, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "architecture"));
    f32 = rig_session(a.model, SAMBA_DTYPE_F32, 0);
    CK_FAILS(SAMBA_ERROR_MISMATCH, samba_session_restore(f32, read, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "as f16, the session as f32"));
    samba_session_free(f32);
    samba_session_free(t);
    samba_session_free(s);
    samba_bytes_free(bytes);
    samba_snapshot_release(read);
    samba_snapshot_release(live);
    close_world(&a);
    close_world(&b);
}
END_TEST

START_TEST(with_a_key)
{
    world w = open_world("mamba_hf", 0);
    samba_session *s = session_at(&w, 0, 12);
    samba_snapshot *live = snapshot_of(s), *read = NULL;
    const samba_snapshot_write_options o = {
        .struct_size = sizeof o, .mac_key = "0123456789abcdef", .mac_key_size = 16};
    const samba_snapshot_read_options good = {
        .struct_size = sizeof good, .mac_key = o.mac_key, .mac_key_size = 16};
    const samba_snapshot_read_options bad = {
        .struct_size = sizeof bad, .mac_key = "0123456789abcdeg", .mac_key_size = 16};
    samba_bytes *plain = write_bytes(live, NULL), *b = NULL;
    const samba_status status = samba_snapshot_write_memory(live, &o, &b, NULL);
    if (status != SAMBA_ERROR_UNSUPPORTED) {
        ck_assert_int_eq(status, SAMBA_OK);
        samba_snapshot_release(read_bytes(&w, b, &good));
        samba_snapshot_release(read_bytes(&w, b, NULL));
        CK_FAILS(SAMBA_ERROR_FORMAT,
                 samba_snapshot_read_memory(w.context, samba_bytes_data(b), samba_bytes_size(b),
                                            &bad, &read, RIG_ERROR));
        CK_FAILS(SAMBA_ERROR_FORMAT,
                 samba_snapshot_read_memory(w.context, samba_bytes_data(plain),
                                            samba_bytes_size(plain), &good, &read, RIG_ERROR));
    }
    samba_bytes_free(b);
    samba_bytes_free(plain);
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

/* ---------------------------------------------------------------- damage */

/* A file in memory that can be spoilt, and what it was. */
typedef struct victim {
    world w;
    samba_session *untouched;
    uint8_t *file, *data;
    size_t size;
} victim;

typedef struct victim_kind {
    const char *model;
    samba_codec codec;
    samba_dtype kv; /* 0: f16 */
    int32_t lossy;
} victim_kind;

static victim make_victim(victim_kind kind)
{
    victim v = {.w = open_world(kind.model, 0)};
    const samba_snapshot_write_options o = {
        .struct_size = sizeof o, .codec = kind.codec, .lossy_kv = kind.lossy};
    v.untouched = session_at(&v.w, kind.kv, 150);
    samba_snapshot *live = snapshot_of(v.untouched);
    samba_bytes *b = write_bytes(live, &o);
    v.size = samba_bytes_size(b);
    v.file = malloc(v.size);
    v.data = malloc(v.size);
    memcpy(v.file, samba_bytes_data(b), v.size);
    memcpy(v.data, v.file, v.size);
    samba_bytes_free(b);
    samba_snapshot_release(live);
    return v;
}

static void free_victim(victim *v)
{
    free(v->file);
    free(v->data);
    samba_session_free(v->untouched);
    close_world(&v->w);
}

/* Must be an error with a message. */
static void must_fail(const victim *v, size_t size)
{
    samba_snapshot *s = NULL;
    samba_error *error = NULL;
    const samba_status status =
        samba_snapshot_read_memory(v->w.context, v->data, size, NULL, &s, &error);
    ck_assert_ptr_null(s);
    ck_assert(status == SAMBA_ERROR_FORMAT || status == SAMBA_ERROR_UNSUPPORTED ||
              status == SAMBA_ERROR_LIMIT);
    ck_assert_ptr_nonnull(error);
    ck_assert_str_ne(samba_error_message(error), "");
    samba_error_free(error);
}

/* An error, or a state that is refused by the model, or restores, is finite, which writing it again
 * shows, and moves on. */
static int may_load(const victim *v)
{
    samba_snapshot *s = NULL, *again = NULL;
    samba_session *t = NULL;
    if (samba_snapshot_read_memory(v->w.context, v->data, v->size, NULL, &s, NULL) != SAMBA_OK)
        return 0;
    if (samba_session_create_from(v->w.model, s, NULL, &t, NULL) == SAMBA_OK) {
        const samba_snapshot_write_options raw = {.struct_size = sizeof raw,
                                                  .codec = SAMBA_CODEC_RAW};
        CK_OK(samba_session_snapshot(t, NULL, &again, RIG_ERROR));
        samba_bytes_free(write_bytes(again, &raw));
        samba_snapshot_release(again);
        rig_eval(t, tokens_of(&v->w), 3, 0);
        ck_assert_uint_eq(samba_session_n_rows(t), 1);
        samba_session_free(t);
    }
    samba_snapshot_release(s);
    return 1;
}

static size_t trailer_at(const victim *v)
{
    return v->size - 80;
}

/* All checksums made good again, as far as the sizes in the file make sense. */
static void reseal(victim *v)
{
    uint8_t *d = v->data, *t = d + trailer_at(v);
    const uint32_t header = samba__load_u32(v->file + 32);
    const uint64_t directory = samba__load_u64(v->file + trailer_at(v));
    const size_t n = (size_t)(trailer_at(v) - directory) / 96;
    samba__hash64_stream h;
    samba__hash64_begin(&h);
    samba__hash64_update(&h, d, 248);
    samba__hash64_update(&h, d + 256, header - 256);
    samba__store_u64(d + 248, samba__hash64_end(&h));
    for (size_t i = 0; i < n; i++) {
        uint8_t *e = d + directory + i * 96;
        const uint64_t at = samba__load_u64(e + 56), size = samba__load_u64(e + 64);
        if (at <= directory && size <= directory - at)
            samba__store_u64(e + 80, samba__hash64(d + at, (size_t)size));
    }
    samba__hash64_begin(&h);
    samba__hash64_update(&h, d + directory, n * 96);
    samba__hash64_update(&h, t, 24);
    samba__store_u64(t + 24, samba__hash64_end(&h));
    samba__hash128(d, v->size - 16, d + v->size - 16);
}

static const victim_kind cut[] = {
    {"mamba_hf", SAMBA_CODEC_RAW, 0, 0},
    {"mamba_hf", SAMBA_CODEC_ZSTD, 0, 0},
    {WIDE, SAMBA_CODEC_ZSTD, SAMBA_DTYPE_Q8_0, 0},
    {WIDE, SAMBA_CODEC_ZSTD, SAMBA_DTYPE_F16, SAMBA_YES},
    {WIDE, SAMBA_CODEC_RAW, SAMBA_DTYPE_F32, SAMBA_YES},
};

START_TEST(cut_anywhere)
{
    victim v = make_victim(cut[_i]);
    const bool all = rig_full || v.size < 10000;
    for (size_t n = 0; n < v.size; n += all || n < 2000 || n + 2000 > v.size ? 1 : 37)
        must_fail(&v, n);
    uint8_t *longer = realloc(v.data, v.size + 1);
    ck_assert_ptr_nonnull(longer);
    longer[v.size] = 0;
    v.data = longer;
    must_fail(&v, v.size + 1);
    free_victim(&v);
}
END_TEST

/* One bit flipped, as it is and resealed; 1: it loaded then. */
static size_t spoil(victim *v, size_t bit)
{
    v->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    must_fail(v, v->size);
    reseal(v);
    const size_t loaded = (size_t)may_load(v);
    memcpy(v->data, v->file, v->size);
    return loaded;
}

static const victim_kind flipped[] = {
    {"ms_gla", SAMBA_CODEC_RAW, 0, 0},
    {"ms_samba", SAMBA_CODEC_RAW, 0, 0},
    {"ms_gla", SAMBA_CODEC_ZSTD, 0, 0},
    {"ms_samba", SAMBA_CODEC_ZSTD, 0, 0},
    {WIDE, SAMBA_CODEC_ZSTD, SAMBA_DTYPE_Q8_0, 0},
    {WIDE, SAMBA_CODEC_ZSTD, SAMBA_DTYPE_F16, SAMBA_YES},
    {WIDE, SAMBA_CODEC_RAW, SAMBA_DTYPE_F32, SAMBA_YES},
};

START_TEST(flipped_bits)
{
    victim v = make_victim(flipped[_i]);
    const size_t header = samba__load_u32(v.file + 32);
    const size_t directory = (size_t)samba__load_u64(v.file + trailer_at(&v));
    rig_random r = {(uint64_t)_i + 1};
    size_t loaded = 0, n_sampled = rig_full ? 25000 : 1500;
    for (size_t bit = 0; bit < v.size * 8; bit++) {
        if (bit == header * 8)
            bit = directory * 8;
        loaded += spoil(&v, bit);
    }
    for (size_t i = 0; i < n_sampled; i++)
        loaded += spoil(&v, header * 8 + rig_below(&r, (uint32_t)((directory - header) * 8)));
    ck_assert_uint_gt(loaded, 0); /* else resealing is broken and proves nothing */
    free_victim(&v);
}
END_TEST

/* Fields of a directory entry set to what cannot be, all checksums good. */
typedef struct lie {
    size_t at; /* in the entry */
    uint64_t value;
    const char *text;
} lie;

static const lie lies[] = {
    {0, 99, "kind is unknown"},
    {24, UINT64_MAX / 2, "as the vocabulary has"}, /* on the logits */
    {56, 300, "overlaps"},
    {56, 1 << 20, "gap"},
    {64, UINT64_MAX - 5, "beyond the directory"},
    {64, 1, ""},
    {72, 1ull << 62, "size is impossible"},
    {16, 7, "codec"},
    {12, SAMBA_DTYPE_Q8_0, ""},
};

START_TEST(lies_in_the_directory)
{
    victim v = make_victim((victim_kind){"ms_samba", SAMBA_CODEC_ZSTD, 0, 0});
    const lie *l = &lies[_i];
    const size_t directory = (size_t)samba__load_u64(v.file + trailer_at(&v));
    uint8_t *e = v.data + directory + 2 * 96 + l->at;
    samba_snapshot *s = NULL;
    if (l->at < 24)
        samba__store_u32(e, (uint32_t)l->value);
    else
        samba__store_u64(e, l->value);
    reseal(&v);
    CK_FAILS(SAMBA_ERROR_FORMAT,
             samba_snapshot_read_memory(v.w.context, v.data, v.size, NULL, &s, RIG_ERROR));
    ck_assert_msg(strstr(rig_message(), l->text) && strstr(rig_message(), "section"), "%s",
                  rig_message());
    free_victim(&v);
}
END_TEST

/* Entries of state sections swapped, or one there twice. */
START_TEST(out_of_order)
{
    victim v = make_victim((victim_kind){"ms_samba", SAMBA_CODEC_ZSTD, 0, 0});
    uint8_t *e = v.data + (size_t)samba__load_u64(v.file + trailer_at(&v)) + 3 * 96, copy[96];
    samba_snapshot *s = NULL;
    memcpy(copy, e, 96);
    if (_i == 0)
        memcpy(e, e + 96, 96);
    memcpy(e + 96, copy, 96);
    if (_i == 0) /* places as they should be, so that only the order is wrong */
        samba__store_u64(e + 56, samba__load_u64(copy + 56));
    if (_i == 0)
        samba__store_u64(e + 96 + 56, samba__load_u64(e + 56) + samba__load_u64(e + 64));
    reseal(&v);
    CK_FAILS(SAMBA_ERROR_FORMAT,
             samba_snapshot_read_memory(v.w.context, v.data, v.size, NULL, &s, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), _i ? "there twice" : "out of order"));
    free_victim(&v);
}
END_TEST

static const victim_kind impossible[] = {
    {"ms_samba", SAMBA_CODEC_RAW, SAMBA_DTYPE_F16, 0},
    {WIDE, SAMBA_CODEC_RAW, SAMBA_DTYPE_BF16, 0},
    {WIDE, SAMBA_CODEC_RAW, SAMBA_DTYPE_Q8_0, 0},
    {WIDE, SAMBA_CODEC_RAW, SAMBA_DTYPE_F32, SAMBA_YES},
};

/* Tokens outside the vocabulary, and NaN in logits, keys and values (in 8 bits, in a scale) or a
 * slab; checksums good. */
START_TEST(values_that_cannot_be)
{
    victim v = make_victim(impossible[_i]);
    const bool in_8_bits = impossible[_i].kv == SAMBA_DTYPE_Q8_0 || impossible[_i].lossy;
    const size_t directory = (size_t)samba__load_u64(v.file + trailer_at(&v));
    const size_t n = (trailer_at(&v) - directory) / 96;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *e = v.file + directory + i * 96;
        uint8_t *data = v.data + samba__load_u64(e + 56);
        const uint32_t kind = samba__load_u32(e);
        const bool scale = kind == SAMBA_SECTION_KV && in_8_bits;
        const size_t last = (size_t)samba__load_u64(e + 64) - (scale ? 34 : 4);
        samba_snapshot *s = NULL;
        if (kind == SAMBA_SECTION_METADATA)
            continue;
        if (scale)
            samba__store_u16(data + last, 0xfe00);
        else
            samba__store_u32(data + last, kind == SAMBA_SECTION_TOKENS ? (uint32_t)v.w.n_vocab
                                          : kind == SAMBA_SECTION_KV   ? 0x7f800000u
                                                                       : 0xffc00000u);
        reseal(&v);
        CK_FAILS(SAMBA_ERROR_FORMAT,
                 samba_snapshot_read_memory(v.w.context, v.data, v.size, NULL, &s, RIG_ERROR));
        ck_assert_ptr_nonnull(strstr(rig_message(), kind == SAMBA_SECTION_TOKENS
                                                        ? "outside the vocabulary"
                                                        : "NaN or infinity"));
        memcpy(v.data, v.file, v.size);
    }
    free_victim(&v);
}
END_TEST

static struct {
    size_t now, most;
} meter;

static void *metered_alloc(void *user_data, size_t size, size_t align)
{
    (void)user_data;
    meter.now += size;
    meter.most = meter.now > meter.most ? meter.now : meter.most;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void metered_free(void *user_data, void *p, size_t size, size_t align)
{
    (void)user_data, (void)align;
    meter.now -= size;
    free(p);
}

/* A few hundred bytes that declare gigabytes of metadata-like state: refused before memory is
 * taken; more than max_bytes likewise. */
START_TEST(bombs)
{
    victim v = make_victim((victim_kind){"ms_samba", SAMBA_CODEC_ZSTD, 0, 0});
    const samba_allocator hooks = {sizeof hooks, metered_alloc, metered_free, NULL};
    samba_context *c = rig_context(&(rig_options){.allocator = &hooks, .n_threads = 1});
    const size_t directory = (size_t)samba__load_u64(v.file + trailer_at(&v));
    const uint64_t huge[] = {1ull << 27, 1ull << 36}; /* elements of conv: 512 MiB, 256 GiB */
    const samba_status wanted[] = {SAMBA_ERROR_FORMAT, SAMBA_ERROR_LIMIT};
    for (int i = 0; i < 2; i++) {
        uint8_t *e = v.data + directory + 3 * 96;
        samba_snapshot *s = NULL;
        const uint64_t d1 = samba__load_u64(v.file + directory + 3 * 96 + 32);
        const uint64_t raw = samba__load_u64(v.file + directory + 3 * 96 + 72);
        samba__store_u64(e + 24, huge[i] / d1);
        samba__store_u64(e + 72, huge[i] / d1 * d1 * 4);
        samba__store_u64(v.data + 80, samba__load_u64(v.file + 80) - raw + huge[i] / d1 * d1 * 4);
        reseal(&v);
        meter.most = meter.now;
        const size_t before = meter.now;
        CK_FAILS(wanted[i], samba_snapshot_read_memory(c, v.data, v.size, NULL, &s, RIG_ERROR));
        ck_assert_uint_lt(meter.most - before, 1 << 20);
    }
    samba_context_free(c);
    free_victim(&v);
}
END_TEST

/* ---------------------------------------------------------------- files */

typedef struct collected {
    uint8_t data[1 << 20];
    size_t size;
} collected;

static int32_t collect(void *user_data, const void *data, size_t size)
{
    collected *c = user_data;
    if (size > sizeof c->data - c->size)
        return 1;
    memcpy(c->data + c->size, data, size);
    c->size += size;
    return 0;
}

/* Chunks are made in memory that is the caller's, or handed to a sink: the same bytes. */
START_TEST(memory_and_sink_get_the_same)
{
    static collected c;
    world w = open_world("ms_samba", 0);
    samba_session *s = session_at(&w, SAMBA_DTYPE_F16, 70);
    samba_snapshot *live = snapshot_of(s);
    const samba_sink sink = {.struct_size = sizeof sink, .write = collect, .user_data = &c};
    for (int i = 0; i < 4; i++) {
        const samba_snapshot_write_options o = {.struct_size = sizeof o,
                                                .codec = i & 1 ? SAMBA_CODEC_ZSTD : SAMBA_CODEC_RAW,
                                                .lossy_kv = i & 2 ? SAMBA_YES : SAMBA_NO,
                                                .n_threads = 1};
        samba_bytes *b = write_bytes(live, &o);
        c.size = 0;
        CK_OK(samba_snapshot_write_sink(live, &sink, &o, RIG_ERROR));
        ck_assert_uint_eq(c.size, samba_bytes_size(b));
        ck_assert(memcmp(c.data, samba_bytes_data(b), c.size) == 0);
        samba_bytes_free(b);
    }
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

START_TEST(paths_sinks_and_readers)
{
    world w = open_world("ms_samba", 0);
    samba_session *s = session_at(&w, 0, 70);
    samba_snapshot *live = snapshot_of(s), *read = NULL;
    char folder[64] = "/tmp/samba-snapshot-XXXXXX", path[128];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state.samba", folder);
    float *want = go_on(&w, s);
    for (int i = 0; i < 2; i++) { /* the second time over the first */
        CK_OK(samba_snapshot_write_file(live, path, NULL, RIG_ERROR));
        CK_OK(samba_snapshot_verify_file(w.context, path, NULL, RIG_ERROR));
        samba_snapshot_read_options full = {.struct_size = sizeof full,
                                            .mode = SAMBA_SNAPSHOT_FULL};
        CK_OK(samba_snapshot_verify_file(w.context, path, &full,
                                         RIG_ERROR)); /* the default by name */
        CK_OK(samba_snapshot_read_file(w.context, path, NULL, &read, RIG_ERROR));
        same_continuation(&w, read, want);
        samba_snapshot_release(read);
    }
    CK_FAILS(SAMBA_ERROR_IO,
             samba_snapshot_write_file(live, "/tmp/no/such/folder/x", NULL, RIG_ERROR));
    remove(path);
    rmdir(folder);
    free(want);
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

static int32_t count_or_stop(void *user_data, uint64_t done, uint64_t total)
{
    ck_assert_uint_le(done, total);
    return --*(int *)user_data == 0 ? SAMBA_STOP : SAMBA_CONTINUE;
}

/* Above 16 MiB threads take part: the same bytes, and the same content. */
START_TEST(several_threads)
{
    enum {
        SIZE = 16 << 20
    };
    world w = open_world("ms_samba", 0);
    samba_session *s = session_at(&w, 0, 70);
    samba_snapshot *live = NULL, *read = NULL;
    uint8_t *metadata = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        metadata[i] = (uint8_t)(i * i >> 9 & (i >> 16));
    const samba_snapshot_options o = {
        .struct_size = sizeof o, .metadata = metadata, .metadata_size = SIZE};
    CK_OK(samba_session_snapshot(s, &o, &live, RIG_ERROR));
    samba_snapshot_write_options one = {.struct_size = sizeof one, .n_threads = 1}, four = one;
    four.n_threads = 4;
    samba_bytes *a = write_bytes(live, &one), *b = write_bytes(live, &four), *none = NULL;
    ck_assert_uint_eq(samba_bytes_size(a), samba_bytes_size(b));
    ck_assert(memcmp(samba_bytes_data(a), samba_bytes_data(b), samba_bytes_size(a)) == 0);
    const samba_snapshot_read_options with = {.struct_size = sizeof with, .n_threads = 4};
    read = read_bytes(&w, b, &with);
    samba_snapshot_info info = {.struct_size = sizeof info};
    CK_OK(samba_snapshot_get_info(read, &info, RIG_ERROR));
    ck_assert(info.metadata_size == SIZE && memcmp(info.metadata, metadata, SIZE) == 0);
    float *want = go_on(&w, s);
    same_continuation(&w, read, want);
    int left = 3;
    four.progress = count_or_stop;
    four.progress_user_data = &left;
    CK_FAILS(SAMBA_ERROR_CANCELLED, samba_snapshot_write_memory(live, &four, &none, RIG_ERROR));
    free(want);
    free(metadata);
    samba_bytes_free(a);
    samba_bytes_free(b);
    samba_snapshot_release(read);
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("snapshot files");
    TCase *trips = tcase_create("round trips"), *damage = tcase_create("damage");
    tcase_set_timeout(trips, 300);
    tcase_set_timeout(damage, 3600);
    tcase_add_loop_test(trips, written_and_read_it_goes_on_with_the_same_bits, 0, N_MODELS);
    tcase_add_loop_test(trips, nothing_fed_yet, 0, N_MODELS);
    tcase_add_loop_test(trips, another_instruction_set, 0, 2 * N_MODELS);
    tcase_add_loop_test(trips, another_thread_count, 0, N_MODELS);
    tcase_add_test(trips, what_it_tells);
    tcase_add_test(trips, other_models_are_refused_by_name);
    tcase_add_test(trips, with_a_key);
    tcase_add_test(trips, several_threads);
    tcase_add_test(trips, memory_and_sink_get_the_same);
    tcase_add_test(trips, paths_sinks_and_readers);
    tcase_add_loop_test(damage, cut_anywhere, 0, (int)(sizeof cut / sizeof *cut));
    tcase_add_loop_test(damage, flipped_bits, 0, (int)(sizeof flipped / sizeof *flipped));
    tcase_add_loop_test(damage, lies_in_the_directory, 0, (int)(sizeof lies / sizeof *lies));
    tcase_add_loop_test(damage, out_of_order, 0, 2);
    tcase_add_loop_test(damage, values_that_cannot_be, 0, 4);
    tcase_add_test(damage, bombs);
    suite_add_tcase(suite, trips);
    suite_add_tcase(suite, damage);
    return rig_main(argc, argv, suite);
}
