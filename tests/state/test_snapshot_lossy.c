/*
 * Snapshot files with lossy keys and values: what changes and by how much, that nothing else does,
 * and that such a file is never taken for another. The codec itself is tested in test_chunk.c,
 * damage and failures together with the other files.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "state/snapshot_world.h"
#include "support/micro_model.h"

#include <math.h>
#include <stdio.h>

static const samba_snapshot_write_options exact = {.struct_size = sizeof exact},
                                          lossy = {.struct_size = sizeof lossy,
                                                   .lossy_kv = SAMBA_YES};

static samba_bytes *write_bytes(const samba_session *s, const samba_snapshot_write_options *o)
{
    samba_snapshot *snapshot = NULL;
    samba_bytes *b = NULL;
    CK_OK(samba_session_snapshot(s, NULL, &snapshot, RIG_ERROR));
    CK_OK(samba_snapshot_write_memory(snapshot, o, &b, RIG_ERROR));
    samba_snapshot_release(snapshot);
    return b;
}

static samba_snapshot *read_bytes(const world *w, const samba_bytes *b)
{
    samba_snapshot *s = NULL;
    CK_OK(samba_snapshot_read_memory(w->context, samba_bytes_data(b), samba_bytes_size(b), NULL, &s,
                                     RIG_ERROR));
    return s;
}

static bool same_bytes(const samba_bytes *a, const samba_bytes *b)
{
    return samba_bytes_size(a) == samba_bytes_size(b) &&
           memcmp(samba_bytes_data(a), samba_bytes_data(b), samba_bytes_size(a)) == 0;
}

static samba_snapshot_info info_of(const samba_snapshot *s)
{
    samba_snapshot_info info = {.struct_size = sizeof info};
    CK_OK(samba_snapshot_get_info(s, &info, RIG_ERROR));
    return info;
}

/* Only keys and values differ; returns how many sections do. */
static size_t sections_that_differ(const samba_snapshot *a, const samba_snapshot *b)
{
    const uint64_t n = info_of(a).n_sections;
    size_t n_differ = 0;
    ck_assert_uint_eq(info_of(b).n_sections, n);
    for (uint64_t i = 0; i < n; i++) {
        samba_snapshot_section_info p = {.struct_size = sizeof p}, q = p;
        CK_OK(samba_snapshot_get_section(a, i, &p, RIG_ERROR));
        CK_OK(samba_snapshot_get_section(b, i, &q, RIG_ERROR));
        ck_assert_uint_eq(p.raw_bytes, q.raw_bytes);
        const bool same = memcmp(p.data, q.data, p.raw_bytes) == 0;
        ck_assert_str_eq(q.stored_type, q.kind == SAMBA_SECTION_KV ? "q8_0" : q.type);
        ck_assert(same || p.kind == SAMBA_SECTION_KV);
        n_differ += !same;
    }
    return n_differ;
}

static const struct {
    samba_dtype kv;
    samba_codec codec;
    uint32_t head; /* width; 0: the committed model's 32 */
} kinds[] = {{SAMBA_DTYPE_F32, SAMBA_CODEC_RAW, 0},  {SAMBA_DTYPE_F32, SAMBA_CODEC_ZSTD, 64},
             {SAMBA_DTYPE_F16, SAMBA_CODEC_ZSTD, 0}, {SAMBA_DTYPE_F16, SAMBA_CODEC_RAW, 64},
             {SAMBA_DTYPE_BF16, SAMBA_CODEC_RAW, 0}, {SAMBA_DTYPE_BF16, SAMBA_CODEC_ZSTD, 64}};

/* Two heads of a width and one of keys and values; full attention, so that pages are many. */
static world open_micro(uint32_t head)
{
    const micro_options micro = {.d_model = 2 * head, .window = UINT32_MAX};
    char folder[64];
    world w = {0};
    ck_assert(micro_folder_make(folder) && micro_model_write(folder, &micro));
    for (uint32_t i = 0; i < WIDE_TOKENS; i++)
        w.wide[i] = (samba_token)((i * i * 7 + i) % 31);
    open_model(&w, folder, (rig_options){.n_threads = 2});
    micro_folder_remove(folder);
    return w;
}

/* What the state reads and gives is what it was but for the drift; the logits that it was saved
 * with are the same. Largest difference of later logits over the largest logit, measured: 0.1 to
 * 0.32 %. */
START_TEST(drift)
{
    world w = kinds[_i].head ? open_micro(kinds[_i].head) : open_world(WIDE, 0);
    samba_session *s = session_at(&w, kinds[_i].kv, 150), *t = NULL;
    samba_snapshot_write_options o = lossy, plain = exact;
    o.codec = plain.codec = kinds[_i].codec;
    samba_bytes *whole = write_bytes(s, &plain), *b = write_bytes(s, &o);
    samba_snapshot *a = read_bytes(&w, whole), *read = read_bytes(&w, b);
    ck_assert(info_of(read).lossy && !info_of(a).lossy);
    ck_assert_int_eq(info_of(read).kv_dtype, kinds[_i].kv);
    ck_assert_uint_lt(samba_bytes_size(b), samba_bytes_size(whole));
    ck_assert_uint_gt(sections_that_differ(a, read), 0);
    CK_OK(samba_session_create_from(w.model, read, NULL, &t, RIG_ERROR));
    float *want = go_on(&w, s), *got = go_on(&w, t);
    ck_assert(memcmp(got, want, w.n_vocab * sizeof *got) == 0);
    const double error = golden_error(got, want, N_MORE * w.n_vocab);
    printf("%s, heads of %u: drift %.5f\n", samba_dtype_name(kinds[_i].kv),
           kinds[_i].head ? kinds[_i].head : 32, error);
    ck_assert(error > 0 && error < 0.006);
    free(want);
    free(got);
    samba_snapshot_release(a);
    samba_snapshot_release(read);
    samba_bytes_free(whole);
    samba_bytes_free(b);
    samba_session_free(t);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

/* Of the session that the file restores. */
static samba_bytes *written_again(const world *w, const samba_bytes *file,
                                  const samba_snapshot_write_options *o)
{
    samba_snapshot *read = read_bytes(w, file);
    samba_session *s = NULL;
    CK_OK(samba_session_create_from(w->model, read, NULL, &s, RIG_ERROR));
    samba_bytes *b = write_bytes(s, o);
    samba_session_free(s);
    samba_snapshot_release(read);
    return b;
}

/* What was restored from such a file is kept exactly by an exact one, and changes at most once more
 * by another lossy one: not at all as f32. */
START_TEST(written_once_more)
{
    world w = kinds[_i].head ? open_micro(kinds[_i].head) : open_world(WIDE, 0);
    samba_session *s = session_at(&w, kinds[_i].kv, 150), *t = NULL;
    samba_snapshot_write_options o = lossy;
    o.codec = kinds[_i].codec;
    samba_bytes *first = write_bytes(s, &o), *kept = written_again(&w, first, &exact);
    samba_bytes *kept_again = written_again(&w, kept, &exact);
    samba_bytes *second = written_again(&w, first, &o), *third = written_again(&w, second, &o);
    ck_assert(same_bytes(kept, kept_again));
    ck_assert(same_bytes(second, third));
    ck_assert(kinds[_i].kv != SAMBA_DTYPE_F32 || same_bytes(first, second));
    samba_snapshot *read = read_bytes(&w, first), *exactly = read_bytes(&w, kept);
    CK_OK(samba_session_create_from(w.model, exactly, NULL, &t, RIG_ERROR));
    CK_OK(samba_session_restore(s, read, RIG_ERROR));
    float *want = go_on(&w, s), *got = go_on(&w, t);
    ck_assert(memcmp(got, want, N_MORE * w.n_vocab * sizeof *got) == 0);
    free(want);
    free(got);
    samba_snapshot_release(read);
    samba_snapshot_release(exactly);
    samba_bytes_free(first);
    samba_bytes_free(second);
    samba_bytes_free(third);
    samba_bytes_free(kept);
    samba_bytes_free(kept_again);
    samba_session_free(t);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

/* Its keys and values are of their own type, in which alone it is restored; so with q8_0. */
START_TEST(other_types_are_refused_by_name)
{
    static const samba_dtype types[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                        SAMBA_DTYPE_Q8_0};
    world w = open_world(WIDE, 0);
    char text[64];
    for (int i = 0; i < 16; i++) {
        const samba_dtype from = types[i / 4], to = types[i % 4];
        samba_session *s = session_at(&w, from, 40), *t = session_at(&w, to, 10), *none = NULL;
        samba_bytes *b = write_bytes(s, &lossy);
        samba_snapshot *read = read_bytes(&w, b);
        const samba_session_options o = {.struct_size = sizeof o, .kv_dtype = to};
        ck_assert_int_eq(info_of(read).lossy, from != SAMBA_DTYPE_Q8_0);
        if (from == to) {
            CK_OK(samba_session_restore(t, read, RIG_ERROR));
        } else {
            const samba_token next = 1;
            samba_session *untouched = session_at(&w, to, 10);
            snprintf(text, sizeof text, "as %s, the session as %s", samba_dtype_name(from),
                     samba_dtype_name(to));
            CK_FAILS(SAMBA_ERROR_MISMATCH, samba_session_restore(t, read, RIG_ERROR));
            ck_assert_msg(strstr(rig_message(), text) != NULL, "%s", rig_message());
            CK_FAILS(SAMBA_ERROR_MISMATCH,
                     samba_session_create_from(w.model, read, &o, &none, RIG_ERROR));
            ck_assert_msg(strstr(rig_message(), text) != NULL, "%s", rig_message());
            rig_eval(t, &next, 1, 0);
            rig_eval(untouched, &next, 1, 0);
            ck_assert(
                memcmp(rig_logits(t, 0), rig_logits(untouched, 0), w.n_vocab * sizeof(float)) == 0);
            samba_session_free(untouched);
        }
        samba_snapshot_release(read);
        samba_bytes_free(b);
        samba_session_free(t);
        samba_session_free(s);
    }
    close_world(&w);
}
END_TEST

/* Rows of heads that are no multiple of 32, keys and values that are Q8_0 already, and a state
 * without any: asking for lossy ones changes no byte. */
START_TEST(where_it_does_not_apply)
{
    static const struct {
        const char *model;
        samba_dtype kv;
        size_t n;
    } cases[] = {{"ms_samba", SAMBA_DTYPE_F16, 40},
                 {"phi4flash", SAMBA_DTYPE_F32, 40},
                 {"mamba_hf", SAMBA_DTYPE_F16, 40},
                 {WIDE, SAMBA_DTYPE_Q8_0, 40},
                 {WIDE, SAMBA_DTYPE_F16, 0}};
    world w = open_world(cases[_i].model, 0);
    samba_session *s = session_at(&w, cases[_i].kv, cases[_i].n);
    samba_bytes *a = write_bytes(s, &exact), *b = write_bytes(s, &lossy);
    ck_assert(same_bytes(a, b));
    samba_bytes_free(a);
    samba_bytes_free(b);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

/* Without the required feature that names them, by which older readers would have refused the
 * file, lossy sections are an error. */
START_TEST(the_feature_must_be_named)
{
    world w = open_world(WIDE, 0);
    samba_session *s = session_at(&w, SAMBA_DTYPE_F16, 40);
    samba_bytes *b = write_bytes(s, &lossy);
    const size_t size = samba_bytes_size(b);
    uint8_t *d = malloc(size);
    samba_snapshot *none = NULL;
    samba__hash64_stream h;
    memcpy(d, samba_bytes_data(b), size);
    ck_assert_uint_eq(samba__load_u64(d + 16), 1);
    for (uint64_t required = 0; required < 4; required += 2) { /* absent; and one not known */
        samba__store_u64(d + 16, required ? required | 1 : 0);
        samba__hash64_begin(&h);
        samba__hash64_update(&h, d, 248);
        samba__hash64_update(&h, d + 256, samba__load_u32(d + 32) - 256);
        samba__store_u64(d + 248, samba__hash64_end(&h));
        samba__hash128(d, size - 16, d + size - 16);
        CK_FAILS(required ? SAMBA_ERROR_UNSUPPORTED : SAMBA_ERROR_FORMAT,
                 samba_snapshot_read_memory(w.context, d, size, NULL, &none, RIG_ERROR));
        ck_assert_ptr_nonnull(strstr(rig_message(), required ? "feature" : "in another type"));
    }
    free(d);
    samba_bytes_free(b);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

int main(int argc, char **argv)
{
    const int n_kinds = (int)(sizeof kinds / sizeof *kinds);
    Suite *suite = suite_create("lossy snapshot files");
    TCase *tc = tcase_create("lossy");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, drift, 0, n_kinds);
    tcase_add_loop_test(tc, written_once_more, 0, n_kinds);
    tcase_add_test(tc, other_types_are_refused_by_name);
    tcase_add_loop_test(tc, where_it_does_not_apply, 0, 5);
    tcase_add_test(tc, the_feature_must_be_named);
    suite_add_tcase(suite, tc);
    return rig_main(argc, argv, suite);
}
