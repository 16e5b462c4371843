/*
 * UTF-8: decoding against the definition, and the incremental writer's promises.
 */
#include "support/suite.h"
#include "token/utf8.h"
#include "vectors.h"

/* The definition, from the other side: s is a character if it is the encoding of some value. */
static size_t reference_decode(const char *s, size_t size, uint32_t *cp)
{
    const unsigned char *b = (const unsigned char *)s;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = size == 0 ? 0 : b[0] < 0x80 ? 1 : b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (n == 0 || n > size || b[0] > 0xf7 || (b[0] & 0xc0) == 0x80)
        return 0;
    uint32_t v = n == 1 ? b[0] : b[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (b[i] & 0x3f);
    }
    *cp = v;
    return v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? 0 : n;
}

/* Check notes every assertion, so loops of millions count instead. */
static bool agrees(const unsigned char b[4], size_t size)
{
    uint32_t have = 0, want = 0;
    size_t n = samba__utf8_decode((const char *)b, size, &have);
    return n == reference_decode((const char *)b, size, &want) && (n == 0 || have == want);
}

START_TEST(decodes_by_definition)
{
    static const unsigned char edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90,
                                          0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xff};
    size_t bad = 0;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (size_t i = 0; i < 4 * 144; i++)
                bad += !agrees((unsigned char[]){(unsigned char)a, (unsigned char)b,
                                                 edges[i / 4 / 12], edges[i / 4 % 12]},
                               1 + i % 4);
    ck_assert_uint_eq(bad, 0);
}
END_TEST

START_TEST(encodes_every_character)
{
    size_t bad = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char s[4];
        uint32_t back;
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        size_t n = samba__utf8_encode(cp, s);
        bad += samba__utf8_decode(s, n, &back) != n || back != cp;
    }
    ck_assert_uint_eq(bad, 0);
}
END_TEST

/* Bytes that are often, but not always, UTF-8. */
static size_t random_bytes(uint64_t *seed, char *out, size_t max)
{
    size_t n = 0;
    while (n + 4 <= max) {
        uint32_t r = next_random(seed);
        if (r % 5 == 0)
            out[n++] = (char)(r >> 8);
        else if (r % 5 == 1)
            out[n++] = (char)(0x80 + (r >> 8) % 0x78);
        else
            n += samba__utf8_encode((r >> 3) % 3 == 0   ? 0x10000 + (r >> 8) % 0x1000
                                    : (r >> 3) % 3 == 1 ? 0x4e00 + (r >> 8) % 0x1000
                                                        : (r >> 8) % 0x7ff,
                                    out + n);
    }
    return n;
}

START_TEST(push_keeps_every_byte_in_order)
{
    uint64_t seed = 5;
    for (int round = 0; round < 3000; round++) {
        char in[64], out[128];
        samba__utf8_hold hold = {0};
        size_t n = random_bytes(&seed, in, sizeof in), have = 0;
        for (size_t at = 0; at < n;) {
            size_t step = 1 + next_random(&seed) % 6;
            step = step < n - at ? step : n - at;
            size_t put = samba__utf8_push(&hold, in + at, step, out + have);
            ck_assert_uint_le(hold.n, 3);
            at += step;
            have += put;
            ck_assert_uint_eq(have + hold.n, at);
        }
        have += samba__utf8_flush(&hold, out + have);
        ck_assert_uint_eq(hold.n, 0);
        ck_assert_uint_eq(have, n);
        ck_assert_mem_eq(in, out, n);
    }
}
END_TEST

START_TEST(push_gives_whole_characters_at_once)
{
    const char text[] = "a\xc3\xa9\xe4\xb8\x96\xf0\x9f\x98\x80z\xf4\x8f\xbf\xbf";
    const size_t size = sizeof text - 1;
    for (size_t cut = 0; cut <= size; cut++) {
        char out[32];
        samba__utf8_hold hold = {0};
        size_t n = samba__utf8_push(&hold, text, cut, out);
        ck_assert_uint_eq(n, samba__utf8_valid_run(text, cut));
        n += samba__utf8_push(&hold, text + cut, size - cut, out + n);
        ck_assert_uint_eq(n, size);
        ck_assert_mem_eq(out, text, size);
    }
}
END_TEST

START_TEST(push_does_not_hold_what_cannot_become_a_character)
{
    static const char *const broken[] = {"\x80",     "\xff",        "\xc0",     "\xc1",
                                         "\xf5",     "\xe0\x80",    "\xed\xa0", "\xf0\x80",
                                         "\xf4\x90", "\xe4\xb8\x41"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char out[8];
        samba__utf8_hold hold = {0};
        size_t n = strlen(broken[i]);
        ck_assert_uint_eq(samba__utf8_push(&hold, broken[i], n, out), n);
        ck_assert_uint_eq(hold.n, 0);
    }
}
END_TEST

START_TEST(runs_partition_any_bytes)
{
    uint64_t seed = 9;
    for (int round = 0; round < 2000; round++) {
        char in[48];
        uint32_t cp;
        size_t n = random_bytes(&seed, in, sizeof in);
        for (size_t at = 0; at < n;) {
            size_t good = samba__utf8_valid_run(in + at, n - at);
            at += good;
            size_t bad = samba__utf8_invalid_run(in + at, n - at);
            ck_assert(at == n || bad > 0);
            for (size_t i = 0; i < bad; i++)
                ck_assert_uint_eq(reference_decode(in + at + i, n - at - i, &cp), 0);
            at += bad;
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/utf8");
    TCase *tc = tcase_create("utf8");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, decodes_by_definition);
    tcase_add_test(tc, encodes_every_character);
    tcase_add_test(tc, push_keeps_every_byte_in_order);
    tcase_add_test(tc, push_gives_whole_characters_at_once);
    tcase_add_test(tc, push_does_not_hold_what_cannot_become_a_character);
    tcase_add_test(tc, runs_partition_any_bytes);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
