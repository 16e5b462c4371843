/*
 * Nothing of one session shows in another's snapshot: all memory that the library is given, fresh
 * or used before, is filled with one byte, and freed memory too. Sessions come and go, and what
 * they leave behind is what others get. A snapshot's file is the same whatever that byte is, and
 * the one of a session that had nobody before it.
 */
#include "state/snapshot_world.h"

static void *filled_alloc(void *user_data, size_t size, size_t align)
{
    void *p = aligned_alloc(align < 16 ? 16 : align, (size + 63) / 64 * 64);
    if (p)
        memset(p, *(int *)user_data, size);
    return p;
}

static void filled_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)align;
    memset(ptr, *(int *)user_data, size);
    free(ptr);
}

static const struct {
    const char *model;
    samba_dtype kv;
} kinds[] = {{"ms_samba", SAMBA_DTYPE_F16},  {"ms_mamba_swa_mlp", SAMBA_DTYPE_BF16},
             {"ms_gla", SAMBA_DTYPE_F32},    {"phi4flash", SAMBA_DTYPE_F16},
             {"mamba_hf", SAMBA_DTYPE_F16},  {"ms_samba_scattn", SAMBA_DTYPE_F32},
             {"ms_retnet", SAMBA_DTYPE_F16}, {WIDE, SAMBA_DTYPE_Q8_0}};
enum {
    N_KINDS = sizeof kinds / sizeof *kinds
};

/* Sessions that fill what can be recycled, and go: fed, cloned, rewound, parted. */
static void others(const world *w, samba_dtype kv)
{
    samba_session *list[4];
    for (size_t i = 0; i < 4; i += 2) {
        list[i] = session_at(w, kv, 90 + 40 * i);
        CK_OK(samba_session_clone(list[i], &list[i + 1], RIG_ERROR));
        rig_eval(list[i + 1], token_at(w, 11 * i), 3, 0);
        CK_OK(samba_session_rewind(list[i], 60, NULL, NULL, RIG_ERROR));
    }
    for (size_t i = 0; i < 4; i++)
        samba_session_free(list[i]);
}

/* The file of a session of `n` tokens; caller frees. */
static uint8_t *file_of(const world *w, samba_dtype kv, size_t n, size_t *size)
{
    const samba_snapshot_write_options raw = {.struct_size = sizeof raw, .codec = SAMBA_CODEC_RAW};
    samba_session *s = session_at(w, kv, n);
    samba_snapshot *snapshot = NULL, *read = NULL;
    samba_bytes *first = NULL, *b = NULL;
    CK_OK(samba_session_snapshot(s, NULL, &snapshot, RIG_ERROR));
    CK_OK(samba_snapshot_write_memory(snapshot, NULL, &first, RIG_ERROR));
    CK_OK(samba_snapshot_read_memory(w->context, samba_bytes_data(first), samba_bytes_size(first),
                                     NULL, &read, RIG_ERROR));
    CK_OK(samba_session_restore(s, read, RIG_ERROR)); /* through fresh pages and slabs again */
    samba_snapshot_release(snapshot);
    CK_OK(samba_session_snapshot(s, NULL, &snapshot, RIG_ERROR));
    CK_OK(samba_snapshot_write_memory(snapshot, &raw, &b, RIG_ERROR));
    *size = samba_bytes_size(b);
    uint8_t *file = malloc(*size);
    memcpy(file, samba_bytes_data(b), *size);
    samba_bytes_free(first);
    samba_bytes_free(b);
    samba_snapshot_release(snapshot);
    samba_snapshot_release(read);
    samba_session_free(s);
    return file;
}

START_TEST(whoever_was_there_before)
{
    static const int bytes[] = {0xff, 0x00, 0x3c};
    static const size_t lengths[] = {1, 3, 20, 64, 65, 150};
    const samba_dtype kv = kinds[_i].kv;
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        uint8_t *want = NULL;
        size_t n_want = 0;
        for (size_t i = 0; i < 2 * sizeof bytes / sizeof *bytes; i++) {
            int byte = bytes[i / 2];
            const samba_allocator hooks = {sizeof hooks, filled_alloc, filled_free, &byte};
            world w = open_world_with(kinds[_i].model,
                                      (rig_options){.n_threads = 1, .allocator = &hooks});
            size_t n = 0;
            if (i % 2)
                others(&w, kv);
            uint8_t *got = file_of(&w, kv, lengths[k], &n);
            ck_assert(!want || (n == n_want && memcmp(got, want, n) == 0));
            free(want);
            want = got;
            n_want = n;
            close_world(&w);
        }
        free(want);
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("leaks between sessions");
    TCase *tc = tcase_create("leaks");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, whoever_was_there_before, 0, N_KINDS);
    suite_add_tcase(suite, tc);
    return rig_main(argc, argv, suite);
}
