/*
 * Progress of writing and reading snapshot files: it never goes back, and its last call says that
 * all is done, whatever part of the file is read.
 */
#include "state/snapshot_world.h"

typedef struct seen {
    uint64_t done, total, calls;
} seen;

static int32_t note(void *user_data, uint64_t done, uint64_t total)
{
    seen *last = user_data;
    ck_assert(done >= last->done && done <= total && (!last->total || last->total == total));
    *last = (seen){done, total, last->calls + 1};
    return SAMBA_CONTINUE;
}

static void read_and_check(const world *w, const samba_bytes *b, samba_snapshot_mode mode)
{
    seen last = {0};
    samba_snapshot *read = NULL;
    const samba_snapshot_read_options o = {
        .struct_size = sizeof o, .mode = mode, .progress = note, .progress_user_data = &last};
    CK_OK(samba_snapshot_read_memory(w->context, samba_bytes_data(b), samba_bytes_size(b), &o,
                                     &read, RIG_ERROR));
    ck_assert(last.calls > 0 && last.done == last.total);
    ck_assert_uint_eq(last.total, samba_bytes_size(b));
    samba_snapshot_release(read);
}

START_TEST(it_reaches_the_total)
{
    static const samba_codec codecs[] = {SAMBA_CODEC_RAW, SAMBA_CODEC_ZSTD};
    seen last = {0};
    samba_session *s = NULL;
    samba_snapshot *live = NULL;
    samba_bytes *b = NULL;
    const samba_snapshot_write_options o = {.struct_size = sizeof o,
                                            .codec = codecs[_i],
                                            .progress = note,
                                            .progress_user_data = &last};
    world w = open_world("ms_samba", 0);
    CK_OK(samba_session_create(w.model, NULL, &s, RIG_ERROR));
    CK_OK(samba_session_eval(s, token_at(&w, 0), prompt_length(&w), NULL, RIG_ERROR));
    CK_OK(samba_session_snapshot(s, NULL, &live, RIG_ERROR));
    CK_OK(samba_snapshot_write_memory(live, &o, &b, RIG_ERROR));
    ck_assert(last.calls > 0 && last.done == last.total);
    read_and_check(&w, b, SAMBA_SNAPSHOT_FULL);
    read_and_check(&w, b, SAMBA_SNAPSHOT_HEADER);
    samba_bytes_free(b);
    samba_snapshot_release(live);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("progress of snapshot files");
    TCase *c = tcase_create("progress");
    tcase_add_loop_test(c, it_reaches_the_total, 0, 2);
    suite_add_tcase(suite, c);
    return rig_main(argc, argv, suite);
}
