/*
 * Files made to hurt: unknown components are refused by name, broken ones by their place; every cut
 * and many random changes of a file end in an error or a working tokenizer; running out of memory
 * at any allocation is an error without a leak.
 */
#include "support/suite.h"
#include "vectors.h"

/* A tokenizer.json in pieces, so that tests can swap one. */
typedef struct parts {
    const char *added, *normalizer, *pre, *post, *decoder, *options, *vocab, *merges;
} parts;

static const parts plain = {
    .added = "[{\"id\":5,\"content\":\"<s>\",\"special\":true},"
             "{\"id\":6,\"content\":\"ba\",\"lstrip\":true,\"normalized\":true}]",
    .normalizer =
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"b\"}]}",
    .pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"c|d\"},\"behavior\":\"Isolated\","
           "\"invert\":false}",
    .post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_"
            "id\":0}},"
            "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":"
            "{\"id\":\"<s>\",\"ids\":[5],\"tokens\":[\"<s>\"]}}}",
    .decoder =
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"c\"},"
        "\"content\":\"C\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}",
    .options = "\"unk_token\":\"a\",\"dropout\":null",
    .vocab = "{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4}",
    .merges = "[\"a b\",[\"ab\",\"c\"]]",
};

static size_t print(const parts *p, char *json, size_t room)
{
    int n = snprintf(
        json, room,
        "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":%s,"
        "\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,"
        "\"model\":{\"type\":\"BPE\",%s,\"vocab\":%s,\"merges\":%s}}",
        p->added, p->normalizer, p->pre, p->post, p->decoder, p->options, p->vocab, p->merges);
    ck_assert(n > 0 && (size_t)n < room);
    return (size_t)n;
}

static void expect_json(const char *json, size_t size, samba_status status, const char *part)
{
    samba__tokenizer *t = NULL;
    samba_error *error = NULL;
    samba_status have = samba__tokenizer_from_json(samba__alloc_default(), json, size, &t, &error);
    ck_assert_msg(have == status && strstr(samba_error_message(error), part) != NULL,
                  "wanted %d with \"%s\", got %d: %s", status, part, have,
                  samba_error_message(error));
    ck_assert_ptr_null(t);
    samba_error_free(error);
}

static void expect(const parts *p, samba_status status, const char *part)
{
    static char json[1 << 16];
    expect_json(json, print(p, json, sizeof json), status, part);
}

START_TEST(plain_file_works)
{
    char json[4096];
    size_t n = print(&plain, json, sizeof json);
    samba__tokenizer *t = load_json(json, n);
    samba__token_list list = encode(t, "XaBc  ba?<s>", 12, true, true);
    const samba_token want[] = {5, 6, 1, 2, 6, 0, 5}; /* as Hugging Face */
    ck_assert_uint_eq(list.n, 7);
    ck_assert_mem_eq(list.ids, want, sizeof want);
    list_free(&list);
    samba__tokenizer_free(t);
}
END_TEST

#define BAD(field, value, status, message)                                                         \
    do {                                                                                           \
        parts bad_ = plain;                                                                        \
        bad_.field = value;                                                                        \
        expect(&bad_, status, message);                                                            \
    } while (0)

START_TEST(unknown_components_are_named)
{
    const samba_status no = SAMBA_ERROR_UNSUPPORTED;
    BAD(normalizer, "{\"type\":\"BertNormalizer\"}", no, "BertNormalizer");
    BAD(normalizer, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}", no, "Precompiled");
    BAD(normalizer, "{\"type\":\"NFC\",\"strict\":true}", no, "strict");
    BAD(normalizer, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}", no, "Nmt");
    BAD(pre, "{\"type\":\"UnicodeScripts\"}", no, "UnicodeScripts");
    BAD(pre, "{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Shuffled\"}", no,
        "Shuffled");
    BAD(pre, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{2}?\"},\"behavior\":\"Isolated\"}", no,
        "{2}?");
    BAD(pre, "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}", no,
        "last");
    BAD(post, "{\"type\":\"Unheard\"}", no, "Unheard");
    BAD(decoder, "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}", no, "WordPiece");
    BAD(decoder,
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}",
        no, "ByteFallback");
    BAD(options, "\"continuing_subword_prefix\":\"##\"", no, "continuing_subword_prefix");
    BAD(options, "\"end_of_word_suffix\":\"</w>\"", no, "end_of_word_suffix");
    BAD(options, "\"dropout\":0.1", no, "dropout");
    BAD(options, "\"temperature\":1", no, "temperature");
    BAD(added, "[{\"id\":5,\"content\":\"x\",\"colour\":1}]", no, "colour");
    const char unigram[] = "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}";
    expect_json(unigram, sizeof unigram - 1, no, "Unigram");
    const char extra[] = "{\"plugins\":[],\"model\":{}}";
    expect_json(extra, sizeof extra - 1, no, "plugins");
}
END_TEST

START_TEST(malformed_files_are_refused)
{
    const samba_status no = SAMBA_ERROR_FORMAT;
    BAD(vocab, "{\"a\":0,\"b\":0}", no, "token id 0");
    BAD(vocab, "{\"a\":-1}", no, "\"a\"");
    BAD(vocab, "{\"a\":99999999999}", no, "\"a\"");
    BAD(vocab, "{\"a\":1.5}", no, "\"a\"");
    BAD(vocab, "[]", no, "vocab");
    BAD(vocab, "{\"a\":0,\"b\":15000000}", SAMBA_ERROR_LIMIT, "15000000");
    BAD(vocab, "{\"a\":0,\"b\":1,\"c\":2,\"abc\":4}", no, "result");
    BAD(vocab, "{\"a\":0,\"c\":2,\"ab\":3,\"abc\":4}", no, "right part");
    BAD(merges, "[\"ab\"]", no, "merge 0");
    BAD(merges, "[[\"a\",\"b\",\"c\"]]", no, "merges");
    BAD(merges, "[7]", no, "merges");
    BAD(merges, "{}", no, "merges");
    BAD(added, "[{\"id\":1,\"content\":\"new\"}]", no, "token id 1");
    BAD(added, "[{\"id\":1,\"content\":\"a\"}]", SAMBA_ERROR_MISMATCH, "\"a\"");
    BAD(added, "[{\"id\":-3,\"content\":\"new\"}]", no, "id");
    BAD(added, "[{\"id\":5,\"content\":\"x\",\"special\":\"yes\"}]", no, "special");
    BAD(post, "{\"type\":\"RobertaProcessing\",\"sep\":[\"a\",0],\"cls\":[\"b\",77]}", no, "77");
    BAD(post, "{\"type\":\"TemplateProcessing\",\"single\":[],\"special_tokens\":{}}", no,
        "single");
    BAD(normalizer, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}", no,
        "pattern");
    BAD(normalizer, "7", SAMBA_ERROR_UNSUPPORTED, "normalizer");
    BAD(decoder, "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", no, "replacement");
}
END_TEST

START_TEST(sizes_are_limited)
{
    static char list[1 << 15], token[4096];
    size_t n = 0;
    n += (size_t)snprintf(list + n, sizeof list - n, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (int i = 0; i < 40; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s{\"type\":\"Digits\"}", i ? "," : "");
    snprintf(list + n, sizeof list - n, "]}");
    BAD(pre, list, SAMBA_ERROR_LIMIT, "steps");
    n = (size_t)snprintf(token, sizeof token, "[{\"id\":5,\"content\":\"");
    memset(token + n, 'z', 1100);
    snprintf(token + n + 1100, sizeof token - n - 1100, "\",\"normalized\":false}]");
    BAD(added, token, SAMBA_ERROR_LIMIT, "bytes");
}
END_TEST

/* Steps that multiply: sixteen-fold, thirty times over. */
START_TEST(growth_is_limited)
{
    static char list[1 << 15], json[1 << 16];
    const char *const kinds[][2] = {
        {"{\"type\":\"Sequence\",\"normalizers\":[",
         "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"}"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[",
         "{\"type\":\"ByteLevel\",\"use_regex\":false,\"add_prefix_space\":false}"},
        {"{\"type\":\"Sequence\",\"decoders\":[",
         "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"}"},
    };
    for (int k = 0; k < 3; k++) {
        parts p = plain;
        size_t n = (size_t)snprintf(list, sizeof list, "%s", kinds[k][0]);
        for (int i = 0; i < 30; i++)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? "," : "", kinds[k][1]);
        snprintf(list + n, sizeof list - n, "]}");
        p.added = "[]";
        p.post = "null";
        *(k == 0 ? &p.normalizer : k == 1 ? &p.pre : &p.decoder) = list;
        if (k == 2) {
            expect(&p, SAMBA_ERROR_LIMIT, "as long");
            continue;
        }
        samba__tokenizer *t = load_json(json, print(&p, json, sizeof json));
        samba__token_list out = {0};
        samba_error *error = NULL;
        ck_assert_int_eq(samba__tokenizer_encode(t,
                                                 "\xc3\xa9"
                                                 "a",
                                                 3, (samba__encode_flags){0}, &out, &error),
                         SAMBA_ERROR_LIMIT);
        ck_assert_uint_eq(out.n, 0);
        samba_error_free(error);
        list_free(&out);
        samba__tokenizer_free(t);
    }
}
END_TEST

/* Loads, and if that works encodes and decodes. */
static void try_file(const char *json, size_t size)
{
    samba__tokenizer *t = NULL;
    samba__token_list list = {0};
    const char text[] = "aabbcc abc \xff <s> d\xcc\x81 x";
    samba_error *error = NULL;
    if (samba__tokenizer_from_json(samba__alloc_default(), json, size, &t, &error) == SAMBA_OK) {
        if (samba__tokenizer_encode(t, text, sizeof text, (samba__encode_flags){true, true}, &list,
                                    &error) == SAMBA_OK) {
            file_bytes out = decode(t, list.ids, list.n);
            free(out.data);
        }
        list_free(&list);
        samba__tokenizer_free(t);
    }
    samba_error_free(error);
}

START_TEST(every_prefix_is_refused)
{
    char json[4096];
    size_t n = print(&plain, json, sizeof json);
    for (size_t size = 0; size < n; size++) {
        samba__tokenizer *t = NULL;
        char *exact = malloc(size + 1); /* so that sanitizers see a read past the end */
        memcpy(exact, json, size);
        ck_assert_int_ne(samba__tokenizer_from_json(samba__alloc_default(), exact, size, &t, NULL),
                         SAMBA_OK);
        ck_assert_ptr_null(t);
        free(exact);
    }
}
END_TEST

START_TEST(random_changes_are_survived)
{
    static const char spice[] = "\"{}[]:,0179\\-eE.tfnab<> \x80\xff";
    char json[4096], changed[4096];
    uint64_t seed = 7;
    size_t n = print(&plain, json, sizeof json);
    for (int round = 0; round < 6000; round++) {
        memcpy(changed, json, n);
        for (uint32_t k = 1 + next_random(&seed) % 3; k; k--)
            changed[next_random(&seed) % n] = spice[next_random(&seed) % (sizeof spice - 1)];
        try_file(changed, n);
    }
}
END_TEST

/* ---- memory ---- */

typedef struct counter {
    size_t calls, live, fail_at;
    bool lasting;
} counter;

static void *counting_alloc(void *user_data, size_t size, size_t align)
{
    counter *c = user_data;
    c->calls++;
    if (c->fail_at && (c->lasting ? c->calls >= c->fail_at : c->calls == c->fail_at))
        return NULL;
    c->live++;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void counting_free(void *user_data, void *ptr, size_t size, size_t align)
{
    counter *c = user_data;
    (void)size;
    (void)align;
    c->live--;
    free(ptr);
}

static samba_status load_and_encode(const samba_allocator *a, const char *json, size_t n,
                                    const samba__vocab *vocab)
{
    static const char text[] =
        "XaBc  ba?<s> \xff e\xcc\x81\xcc\xa7 abcabcabcabcabcabcabcabcabcabcabcabcabc";
    samba__tokenizer *t = NULL;
    samba__token_list list = {0};
    samba_error *error = NULL;
    samba_status status = vocab ? samba__tokenizer_from_vocab(a, vocab, &t, &error)
                                : samba__tokenizer_from_json(a, json, n, &t, &error);
    if (status == SAMBA_OK)
        status = samba__tokenizer_encode(t, text, sizeof text - 1,
                                         (samba__encode_flags){true, true}, &list, &error);
    ck_assert(status == SAMBA_OK || list.n == 0);
    ck_assert((status == SAMBA_OK) == (error == NULL));
    samba__free(a, list.ids);
    samba__tokenizer_free(t);
    samba_error_free(error);
    return status;
}

static void fail_every_allocation(const char *json, size_t n, const samba__vocab *vocab)
{
    counter c = {0};
    const samba_allocator a = {sizeof a, counting_alloc, counting_free, &c};
    ck_assert_int_eq(load_and_encode(&a, json, n, vocab), SAMBA_OK);
    ck_assert_uint_eq(c.live, 0);
    size_t total = c.calls, failures = 0;
    for (size_t at = 1; at <= total; at++) {
        for (int lasting = 0; lasting < 2; lasting++) {
            c = (counter){.fail_at = at, .lasting = lasting};
            samba_status status = load_and_encode(&a, json, n, vocab);
            ck_assert_uint_eq(c.live, 0);
            ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_OUT_OF_MEMORY);
            failures += status != SAMBA_OK;
        }
    }
    /* Only the regex compiler (JIT) may do without some. */
    ck_assert_uint_ge(failures, 2 * total - 40);
    printf("%zu allocations failed one by one\n", total);
}

START_TEST(memory_may_run_out)
{
    char json[4096];
    size_t n = print(&plain, json, sizeof json);
    fail_every_allocation(json, n, NULL);
    parts p = plain;
    p.normalizer = "null";
    p.options = "\"fuse_unk\":true,\"unk_token\":\"c\",\"byte_fallback\":true";
    p.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Metaspace\",\"replacement\":"
            "\"\xe2\x96\x81\"},"
            "{\"type\":\"ByteLevel\"}]}";
    p.decoder = "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}";
    n = print(&p, json, sizeof json);
    fail_every_allocation(json, n, NULL);
    samba__tokenizer *t = load_file("llama2-legacy-tokenizer.json");
    samba__vocab v;
    samba__tokenizer_vocab(t, &v);
    v.n_tokens = 300;
    v.n_merges = 0; /* by score */
    fail_every_allocation(NULL, 0, &v);
    samba__tokenizer_free(t);
}
END_TEST

/* ---- promises about any input ---- */

START_TEST(any_bytes_come_back)
{
    static const char *const names[] = {"samba-13m", "smollm", "split-2", "split-13",
                                        "llama2-legacy"};
    uint64_t seed = 8;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s-tokenizer.json", names[i]);
        samba__tokenizer *t = load_file(path);
        for (int round = 0; round < 1500; round++) {
            char text[64];
            size_t n = next_random(&seed) % sizeof text;
            for (size_t k = 0; k < n; k++) {
                uint32_t r = next_random(&seed);
                text[k] =
                    (char)(round % 3 == 0   ? r
                           : round % 3 == 1 ? (r & 1 ? 0x80 | r >> 1 : ' ' + (r >> 1) % 90)
                                            : (uint8_t) " aeth\n\xe4\xb8\x96\xcc"[(r >> 1) % 10]);
            }
            /* Special tokens aside, which may not be in the text by chance. */
            samba__token_list list = encode(t, text, n, false, false);
            file_bytes back = decode(t, list.ids, list.n);
            /* A metaspace in the text is a space afterwards; it does not occur here. */
            ck_assert_msg(back.size == n && memcmp(back.data, text, n) == 0, "%s round %d",
                          names[i], round);
            free(back.data);
            list_free(&list);
        }
        samba__tokenizer_free(t);
    }
}
END_TEST

/* Merging and whole words never give a special token that was not asked for. */
START_TEST(text_cannot_forge_special_tokens)
{
    for (int ignore_merges = 0; ignore_merges < 2; ignore_merges++) {
        char json[4096];
        parts p = plain;
        p.added = "[{\"id\":4,\"content\":\"abc\",\"special\":true}]";
        p.normalizer = p.pre = p.post = p.decoder = "null";
        p.options = ignore_merges ? "\"ignore_merges\":true" : "\"ignore_merges\":false";
        samba__tokenizer *t = load_json(json, print(&p, json, sizeof json));
        samba__token_list off = encode(t, "abc", 3, false, false);
        samba__token_list on = encode(t, "abc", 3, true, false);
        ck_assert_uint_eq(off.n, 2);
        ck_assert_int_eq(off.ids[0], 3);
        ck_assert_int_eq(off.ids[1], 2);
        ck_assert_uint_eq(on.n, 1);
        ck_assert_int_eq(on.ids[0], 4);
        list_free(&off);
        list_free(&on);
        samba__tokenizer_free(t);
    }
}
END_TEST

START_TEST(unknown_token_that_is_missing_is_an_error_when_needed)
{
    char json[4096];
    parts p = plain;
    p.options = "\"unk_token\":\"<nowhere>\"";
    samba__tokenizer *t = load_json(json, print(&p, json, sizeof json));
    samba__token_list list = encode(t, "abc", 3, false, false);
    samba_error *error = NULL;
    size_t before = list.n;
    ck_assert_int_eq(
        samba__tokenizer_encode(t, "ab?", 3, (samba__encode_flags){false, true}, &list, &error),
        SAMBA_ERROR_FORMAT);
    ck_assert_uint_eq(list.n, before);
    samba_error_free(error);
    list_free(&list);
    samba__tokenizer_free(t);
}
END_TEST

START_TEST(look_ups)
{
    samba__tokenizer *t = load_file("samba-13m-tokenizer.json");
    samba__text piece;
    ck_assert_uint_eq(samba__tokenizer_n_tokens(t), 8192);
    ck_assert_int_eq(samba__tokenizer_find(t, "<|endoftext|>", 13), 0);
    ck_assert_int_eq(samba__tokenizer_find(t, "nope nope", 9), -1);
    ck_assert(samba__tokenizer_is_special(t, 0));
    ck_assert(!samba__tokenizer_is_special(t, 3));
    ck_assert(!samba__tokenizer_is_special(t, -1));
    ck_assert(!samba__tokenizer_is_special(t, 8192));
    ck_assert(!samba__tokenizer_piece(t, -1, false, &piece));
    ck_assert(!samba__tokenizer_piece(t, 8192, true, &piece));
    samba__tokenizer_free(t);
    samba__tokenizer_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/hostile");
    TCase *tc = tcase_create("hostile");
    tcase_set_timeout(tc, 240);
    tcase_add_test(tc, plain_file_works);
    tcase_add_test(tc, unknown_components_are_named);
    tcase_add_test(tc, malformed_files_are_refused);
    tcase_add_test(tc, sizes_are_limited);
    tcase_add_test(tc, growth_is_limited);
    tcase_add_test(tc, every_prefix_is_refused);
    tcase_add_test(tc, random_changes_are_survived);
    tcase_add_test(tc, memory_may_run_out);
    tcase_add_test(tc, any_bytes_come_back);
    tcase_add_test(tc, text_cannot_forge_special_tokens);
    tcase_add_test(tc, unknown_token_that_is_missing_is_an_error_when_needed);
    tcase_add_test(tc, look_ups);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
