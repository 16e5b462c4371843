/*
 * Files that earlier versions wrote open in this one and go on as they did then: tests/state/golden
 * holds, for several models, codecs and types of keys and values, NAME.samba and NAME.logits (f32
 * [N_MORE][n_vocab]: what followed on the reference kernels). They stay for ever; a new format
 * version adds files, made with --make FOLDER, and changes none. golden/wide is a model of theirs:
 * the micro model of {.d_model = 32, .n_heads = 1, .window = 24, .bf16 = true}.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "state/snapshot_world.h"

#include <stdio.h>

typedef struct golden {
    const char *name, *model;
    samba_dtype kv;
    samba_codec codec;
    int32_t lossy;
    size_t n; /* tokens fed */
} golden;

static const golden goldens[] = {
    {"samba-f16-zstd", "ms_samba", SAMBA_DTYPE_F16, SAMBA_CODEC_ZSTD, 0, 40},
    {"samba-bf16-raw", "ms_samba", SAMBA_DTYPE_BF16, SAMBA_CODEC_RAW, 0, 40},
    {"samba-empty", "ms_samba", SAMBA_DTYPE_F16, SAMBA_CODEC_ZSTD, 0, 0},
    {"scattn-f32-zstd", "ms_samba_scattn", SAMBA_DTYPE_F32, SAMBA_CODEC_ZSTD, 0, 40},
    {"gla-f32-zstd", "ms_gla", SAMBA_DTYPE_F32, SAMBA_CODEC_ZSTD, 0, 40},
    {"retnet-f16-raw", "ms_retnet", SAMBA_DTYPE_F16, SAMBA_CODEC_RAW, 0, 40},
    {"phi4flash-f16-zstd", "phi4flash", SAMBA_DTYPE_F16, SAMBA_CODEC_ZSTD, 0, 40},
    {"mamba-zstd", "mamba_hf", SAMBA_DTYPE_F16, SAMBA_CODEC_ZSTD, 0, 40},
    {"wide-q8_0-zstd", WIDE, SAMBA_DTYPE_Q8_0, SAMBA_CODEC_ZSTD, 0, 40},
    {"wide-q8_0-raw", WIDE, SAMBA_DTYPE_Q8_0, SAMBA_CODEC_RAW, 0, 40},
    {"wide-f16-lossy-zstd", WIDE, SAMBA_DTYPE_F16, SAMBA_CODEC_ZSTD, SAMBA_YES, 40},
    {"wide-f32-lossy-raw", WIDE, SAMBA_DTYPE_F32, SAMBA_CODEC_RAW, SAMBA_YES, 40},
};
enum {
    N_GOLDENS = sizeof goldens / sizeof *goldens
};

static void path_of(const char *folder, const golden *g, const char *ending, char path[512])
{
    snprintf(path, 512, "%s/%s.%s", folder, g->name, ending);
}

static const char *folder; /* of --make */

START_TEST(make)
{
    const golden *g = &goldens[_i];
    const samba_snapshot_write_options o = {
        .struct_size = sizeof o, .codec = g->codec, .lossy_kv = g->lossy};
    world w = open_world(g->model, SAMBA_CPU_REFERENCE);
    samba_session *s = session_at(&w, g->kv, g->n);
    samba_snapshot *snapshot = NULL;
    char path[512];
    CK_OK(samba_session_snapshot(s, NULL, &snapshot, RIG_ERROR));
    path_of(folder, g, "samba", path);
    CK_OK(samba_snapshot_write_file(snapshot, path, &o, RIG_ERROR));
    samba_snapshot_release(snapshot);
    CK_OK(samba_snapshot_read_file(w.context, path, NULL, &snapshot, RIG_ERROR));
    CK_OK(samba_session_restore(s, snapshot, RIG_ERROR)); /* a lossy file goes on from itself */
    if (!g->n)
        rig_eval(s, tokens_of(&w), 1, 0);
    float *logits = go_on(&w, s);
    path_of(folder, g, "logits", path);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(logits, sizeof *logits, N_MORE * w.n_vocab, f), N_MORE * w.n_vocab);
    ck_assert_int_eq(fclose(f), 0);
    free(logits);
    samba_snapshot_release(snapshot);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

START_TEST(earlier_files_go_on)
{
    const golden *g = &goldens[_i];
    world w = open_world(g->model, 0);
    samba_snapshot *snapshot = NULL;
    samba_session *s = NULL;
    char path[512];
    size_t size = 0;
    path_of(SNAPSHOT_GOLDEN, g, "samba", path);
    CK_OK(samba_snapshot_read_file(w.context, path, NULL, &snapshot, RIG_ERROR));
    CK_OK(samba_session_create_from(w.model, snapshot, NULL, &s, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(s), g->n);
    samba_snapshot_info info = {.struct_size = sizeof info};
    CK_OK(samba_snapshot_get_info(snapshot, &info, RIG_ERROR));
    ck_assert_int_eq(info.kv_dtype, g->kv);
    ck_assert_int_eq(info.lossy, g->lossy == SAMBA_YES);
    if (!g->n)
        rig_eval(s, tokens_of(&w), 1, 0);
    float *got = go_on(&w, s);
    path_of(SNAPSHOT_GOLDEN, g, "logits", path);
    char *want = rig_file(path, &size);
    ck_assert_uint_eq(size, N_MORE * w.n_vocab * sizeof(float));
    ck_assert_double_lt(golden_error(got, (const float *)(const void *)want, N_MORE * w.n_vocab),
                        other_tier_error(g->model));
    free(want);
    free(got);
    samba_session_free(s);
    samba_snapshot_release(snapshot);
    close_world(&w);
}
END_TEST

/* Numbers in 8 bits mean the same as when the file was written: scale times number, whatever
 * instruction set reads them. */
START_TEST(scale_times_number)
{
    world w = open_world(WIDE, 0);
    samba_snapshot *snapshot = NULL;
    samba_snapshot_section_info e = {.struct_size = sizeof e};
    size_t size = 0, n_kv = 0;
    char *file = rig_file(SNAPSHOT_GOLDEN "/wide-f32-lossy-raw.samba", &size);
    CK_OK(samba_snapshot_read_memory(w.context, file, size, NULL, &snapshot, RIG_ERROR));
    const uint8_t *d = (const uint8_t *)file;
    const uint8_t *entry = d + samba__load_u64(d + size - 80);
    for (uint64_t i = 0; i < samba__load_u32(d + 76); i++, entry += 96) {
        CK_OK(samba_snapshot_get_section(snapshot, i, &e, RIG_ERROR));
        if (e.kind != SAMBA_SECTION_KV)
            continue;
        const uint8_t *block = d + samba__load_u64(entry + 56);
        const float *got = (const float *)e.data;
        for (uint64_t k = 0; k < e.raw_bytes / 4; k++)
            ck_assert(got[k] == samba__f16_to_f32(samba__load_u16(block + k / 32 * 34)) *
                                    (float)(int8_t)block[k / 32 * 34 + 2 + k % 32]);
        ck_assert_uint_eq(samba__load_u64(entry + 72), e.raw_bytes / 128 * 34);
        n_kv++;
    }
    ck_assert_uint_gt(n_kv, 0);
    free(file);
    samba_snapshot_release(snapshot);
    close_world(&w);
}
END_TEST

int main(int argc, char **argv)
{
    folder = argc == 3 && strcmp(argv[1], "--make") == 0 ? argv[2] : NULL;
    Suite *suite = suite_create("golden snapshot files");
    TCase *tc = tcase_create("golden");
    tcase_set_timeout(tc, 60);
    if (folder)
        tcase_add_loop_test(tc, make, 0, N_GOLDENS);
    else
        tcase_add_loop_test(tc, earlier_files_go_on, 0, N_GOLDENS);
    if (!folder)
        tcase_add_test(tc, scale_times_number);
    suite_add_tcase(suite, tc);
    return rig_main(folder ? 1 : argc, argv, suite);
}
