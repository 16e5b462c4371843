/*
 * Tokenizers from GGUF arrays: the view of a tokenizer.json makes the same tokenizer, names choose
 * the split, and sentencepiece merging by score agrees with a plain version of itself.
 */
#include "support/suite.h"
#include "vectors.h"

static samba_status from_vocab(const samba__vocab *v, samba__tokenizer **t, samba_error **error)
{
    return samba__tokenizer_from_vocab(samba__alloc_default(), v, t, error);
}

static samba__text text_of(const char *s)
{
    return (samba__text){s, strlen(s)};
}

static bool is(samba__text text, const char *s)
{
    return text.size == strlen(s) && (text.size == 0 || memcmp(text.data, s, text.size) == 0);
}

typedef struct view {
    const char *name, *model, *pre;
    bool exact;
} view;

static const view views[] = {
    {"samba-13m", "gpt2", "qwen2", true},
    {"smollm", "gpt2", "smollm", true},
    {"llama2-legacy", "llama", "default", true},
    {"llama3-nfc", "gpt2", "llama-bpe", false},  /* NFC */
    {"llama2-added", "llama", "default", false}, /* stripping tokens */
    {"metaspace-first", "llama", "default", false},
    {"nfd", "", "", false},
    {"gpt2-prefix", "", "", false},
    {"split-0", "", "", false},
};

/* Every text of the vectors, encoded by both. */
static void check_same(const samba__tokenizer *a, const samba__tokenizer *b, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s-vectors.bin", name);
    file_bytes file = read_file(path);
    /* The texts, and their ids as texts that are odd in every way. */
    for (size_t at = 8; at + 64 < file.size; at += 499) {
        for (int flags = 0; flags < 4; flags++) {
            samba__token_list x = encode(a, file.data + at, 64, flags & 1, flags >> 1);
            samba__token_list y = encode(b, file.data + at, 64, flags & 1, flags >> 1);
            ck_assert_uint_eq(x.n, y.n);
            ck_assert(x.n == 0 || memcmp(x.ids, y.ids, x.n * sizeof *x.ids) == 0);
            file_bytes s = decode(a, x.ids, x.n), u = decode(b, y.ids, y.n);
            ck_assert_uint_eq(s.size, u.size);
            ck_assert_mem_eq(s.data, u.data, s.size);
            free(s.data);
            free(u.data);
            list_free(&x);
            list_free(&y);
        }
    }
    free(file.data);
}

START_TEST(view_makes_the_same_tokenizer)
{
    const view *expected = &views[_i];
    char path[128];
    snprintf(path, sizeof path, "%s-tokenizer.json", expected->name);
    samba__tokenizer *t = load_file(path), *again = NULL;
    samba__vocab v;
    samba__tokenizer_vocab(t, &v);
    ck_assert_msg(is(v.model, expected->model) && is(v.pre, expected->pre), "%s: %.*s %.*s",
                  expected->name, (int)v.model.size, v.model.data, (int)v.pre.size, v.pre.data);
    ck_assert_int_eq(samba__tokenizer_vocab_is_exact(t), expected->exact);
    ck_assert_uint_eq(v.n_tokens, samba__tokenizer_n_tokens(t));
    if (v.model.size) {
        samba_error *error = NULL;
        samba_status status = from_vocab(&v, &again, &error);
        ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
        ck_assert(samba__tokenizer_vocab_is_exact(again));
        if (expected->exact)
            check_same(t, again, expected->name);
        size_t differ = 0;
        for (samba_token i = 0; i < (samba_token)v.n_tokens; i++)
            differ += samba__tokenizer_is_special(t, i) != samba__tokenizer_is_special(again, i);
        ck_assert_uint_eq(differ, 0);
    }
    samba__tokenizer_free(again);
    samba__tokenizer_free(t);
}
END_TEST

START_TEST(guesses_special_tokens)
{
    samba__tokenizer *t = load_file("samba-13m-tokenizer.json");
    samba__vocab v;
    samba__tokenizer_vocab(t, &v);
    ck_assert_int_eq(v.bos, 0);
    ck_assert_int_eq(v.eos, 0);
    ck_assert_int_eq(v.unk, -1);
    ck_assert_int_eq(v.add_bos, 0);
    ck_assert_int_eq(v.types[0], 3);
    ck_assert_int_eq(v.types[100], 1);
    samba__tokenizer_free(t);
    t = load_file("llama2-legacy-tokenizer.json");
    samba__tokenizer_vocab(t, &v);
    ck_assert_int_eq(v.bos, 1);
    ck_assert_int_eq(v.eos, 2);
    ck_assert_int_eq(v.unk, 0);
    ck_assert_int_eq(v.add_bos, 1);
    ck_assert_int_eq(v.add_eos, 0);
    ck_assert_int_eq(v.add_space_prefix, 1);
    ck_assert_int_eq(v.types[0], 2);
    ck_assert_int_eq(v.types[3], 6);
    samba__tokenizer_free(t);
}
END_TEST

START_TEST(names_are_known)
{
    static const char *const names[] = {"gpt-2",     "gpt2",   "olmo",      "mpt",       "phi-2",
                                        "llama-bpe", "llama3", "dbrx",      "smaug-bpe", "qwen2",
                                        "stablelm2", "smollm", "starcoder", "falcon",    "default"};
    samba__tokenizer *json = load_file("samba-13m-tokenizer.json"), *t = NULL;
    samba__vocab v;
    samba_error *error = NULL;
    samba__tokenizer_vocab(json, &v);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char text[] = "don't I'LL $$12345+ a\n\n  b. \xff\xe4\xb8\x96";
        v.pre = text_of(names[i]);
        ck_assert_msg(from_vocab(&v, &t, NULL) == SAMBA_OK, "%s", names[i]);
        samba__token_list list = encode(t, text, sizeof text - 1, false, false);
        file_bytes back = decode(t, list.ids, list.n);
        ck_assert_uint_eq(back.size, sizeof text - 1);
        ck_assert_mem_eq(back.data, text, back.size);
        free(back.data);
        list_free(&list);
        samba__tokenizer_free(t);
    }
    v.pre = text_of("no-such-split");
    ck_assert_int_eq(from_vocab(&v, &t, &error), SAMBA_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(samba_error_message(error), "no-such-split"));
    samba_error_free(error);
    samba__tokenizer_free(json);
}
END_TEST

/* With 256 bytes and runs of up to five ones as vocabulary, digits show how they are grouped. */
typedef struct cut {
    const char *pre, *text;
    size_t n_tokens;
} cut;

START_TEST(splits_where_the_name_says)
{
    static const cut cuts[] = {{"gpt-2", "11111", 1},  {"llama-bpe", "11111", 2},
                               {"qwen2", "11111", 5},  {"smollm", "11111", 5},
                               {"falcon", "11111", 2}, {"default", "11111", 2}};
    static samba__text tokens[260];
    static char chars[256][4];
    static const samba__text merges[] = {{"1 1", 3}, {"11 11", 5}, {"1111 1", 6}, {"11 1", 4}};
    for (unsigned b = 0; b < 256; b++) {
        unsigned cp = b <= 0x20                ? 0x100 + b
                      : b >= 0x7f && b <= 0xa0 ? 0x121 + b - 0x7f
                      : b == 0xad              ? 0x143
                                               : b;
        int n = cp < 0x80 ? snprintf(chars[b], 4, "%c", (char)cp)
                          : snprintf(chars[b], 4, "%c%c", (char)(0xc0 | cp >> 6),
                                     (char)(0x80 | (cp & 0x3f)));
        tokens[b] = (samba__text){chars[b], (size_t)n};
    }
    tokens[256] = text_of("11");
    tokens[257] = text_of("111");
    tokens[258] = text_of("1111");
    tokens[259] = text_of("11111");
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        samba__vocab v = {.model = {"gpt2", 4},
                          .pre = text_of(cuts[i].pre),
                          .tokens = tokens,
                          .n_tokens = 260,
                          .merges = merges,
                          .n_merges = 4,
                          .bos = -1,
                          .eos = -1,
                          .unk = -1,
                          .add_bos = -1,
                          .add_eos = -1,
                          .add_space_prefix = -1};
        samba__tokenizer *t = NULL;
        ck_assert_int_eq(from_vocab(&v, &t, NULL), SAMBA_OK);
        samba__token_list list = encode(t, cuts[i].text, strlen(cuts[i].text), false, true);
        ck_assert_msg(list.n == cuts[i].n_tokens, "%s: %zu", cuts[i].pre, list.n);
        list_free(&list);
        samba__tokenizer_free(t);
    }
}
END_TEST

/* ---- sentencepiece ---- */

enum {
    N_SPECIAL = 3,
    FIRST_CHAR = N_SPECIAL + 256,
    N_CHARS = 6,
    MAX_TOKENS = FIRST_CHAR + 60
};

typedef struct spm {
    char texts[MAX_TOKENS][48];
    samba__text tokens[MAX_TOKENS];
    float scores[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    size_t n;
} spm;

static void spm_add(spm *m, const char *text, float score, int32_t type)
{
    snprintf(m->texts[m->n], sizeof m->texts[0], "%s", text);
    m->tokens[m->n] = text_of(m->texts[m->n]);
    m->scores[m->n] = score;
    m->types[m->n++] = type;
}

static void spm_random(spm *m, uint64_t *seed)
{
    static const char *const chars[N_CHARS] = {"a", "b", "c", "\xc3\xa9", "\xe2\x96\x81", "<"};
    m->n = 0;
    spm_add(m, "<unk>", 0, 2);
    spm_add(m, "<s>", 0, 3);
    spm_add(m, "</s>", 0, 3);
    for (int b = 0; b < 256; b++) {
        char s[8];
        snprintf(s, sizeof s, "<0x%02X>", b);
        spm_add(m, s, 0, 6);
    }
    for (int i = 0; i < N_CHARS; i++)
        spm_add(m, chars[i], -1000, 1);
    while (m->n < MAX_TOKENS) {
        char s[96];
        size_t a = FIRST_CHAR + next_random(seed) % (m->n - FIRST_CHAR);
        size_t b = FIRST_CHAR + next_random(seed) % (m->n - FIRST_CHAR);
        bool there = false;
        snprintf(s, sizeof s, "%s%s", m->texts[a], m->texts[b]);
        for (size_t i = 0; i < m->n; i++)
            there = there || strcmp(m->texts[i], s) == 0;
        if (!there && strlen(s) < 24) /* few different scores: ties matter */
            spm_add(m, s, -(float)(next_random(seed) % 12), 1);
    }
}

static int spm_find(const spm *m, const char *s, size_t n)
{
    for (size_t i = FIRST_CHAR; i < m->n; i++)
        if (m->tokens[i].size == n && memcmp(m->texts[i], s, n) == 0)
            return (int)i;
    return -1;
}

/* Joins neighbours whose union has the best score, the leftmost of equals; begins[n] is the end. */
static size_t spm_naive(const spm *m, const char *s, size_t *begins, size_t n)
{
    for (;;) {
        size_t best = n;
        float score = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int id = spm_find(m, s + begins[i], begins[i + 2] - begins[i]);
            if (id >= 0 && (best == n || m->scores[id] > score)) {
                best = i;
                score = m->scores[id];
            }
        }
        if (best == n)
            return n;
        memmove(begins + best + 1, begins + best + 2, (n - best - 1) * sizeof *begins);
        n--;
    }
}

static samba__vocab spm_vocab(const spm *m)
{
    return (samba__vocab){.model = {"llama", 5},
                          .pre = {"default", 7},
                          .tokens = m->tokens,
                          .scores = m->scores,
                          .types = m->types,
                          .n_tokens = m->n,
                          .bos = 1,
                          .eos = 2,
                          .unk = 0,
                          .add_bos = -1,
                          .add_eos = -1,
                          .add_space_prefix = -1};
}

static void spm_check(const spm *m, const samba__tokenizer *t, uint64_t *seed)
{
    static const char *const parts[] = {"a", "b",   "c", "\xc3\xa9", " ", "<", "\xe4\xb8\x96",
                                        "d", "\xff"};
    static const char *const escaped[] = {
        "a", "b", "c", "\xc3\xa9", "\xe2\x96\x81", "<", "\xe4\xb8\x96", "d", "\xff"};
    char text[256], shown[600];
    size_t begins[130], n = 0, at = 0, end = 3, k = next_random(seed) % 80;
    samba_token want[600] = {1};
    size_t n_want = 1;
    memcpy(shown, "\xe2\x96\x81", 4);
    begins[n++] = 0;
    for (size_t i = 0; i < k; i++) {
        uint32_t c = next_random(seed) % (next_random(seed) % 4 ? 6 : 9);
        c = i == 0 && c == 8 ? 0 : c; /* a text that begins with raw bytes has no prefix */
        at += (size_t)snprintf(text + at, sizeof text - at, "%s", parts[c]);
        begins[n++] = end;
        end += (size_t)snprintf(shown + end, sizeof shown - end, "%s", escaped[c]);
    }
    begins[n] = end;
    n = k ? spm_naive(m, shown, begins, n) : 0;
    for (size_t i = 0; i < n; i++) {
        int id = spm_find(m, shown + begins[i], begins[i + 1] - begins[i]);
        for (size_t b = begins[i]; id < 0 && b < begins[i + 1]; b++)
            want[n_want++] = N_SPECIAL + (unsigned char)shown[b];
        if (id >= 0)
            want[n_want++] = id;
    }
    samba__token_list have = encode(t, text, at, false, true);
    ck_assert_msg(have.n == n_want && memcmp(have.ids, want, n_want * sizeof *want) == 0, "%.*s",
                  (int)at, text);
    file_bytes back = decode(t, have.ids + 1, have.n - 1);
    ck_assert_uint_eq(back.size, at);
    ck_assert_mem_eq(back.data, text, at);
    free(back.data);
    list_free(&have);
}

START_TEST(merges_by_score)
{
    uint64_t seed = 3;
    for (int round = 0; round < 60; round++) {
        static spm m;
        samba__tokenizer *t = NULL;
        samba_error *error = NULL;
        spm_random(&m, &seed);
        samba__vocab v = spm_vocab(&m);
        samba_status status = from_vocab(&v, &t, &error);
        ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
        for (int i = 0; i < 40; i++)
            spm_check(&m, t, &seed);
        samba__tokenizer_free(t);
    }
}
END_TEST

/* "<s>" could be joined from "<", "s", ">" if control tokens took part in merging. */
START_TEST(text_cannot_forge_control_tokens)
{
    static spm m;
    uint64_t seed = 4;
    samba__tokenizer *t = NULL;
    spm_random(&m, &seed);
    m.n -= 3;
    spm_add(&m, "<s", -1, 1);
    spm_add(&m, "s", -900, 1);
    spm_add(&m, ">", -900, 1);
    samba__vocab v = spm_vocab(&m);
    ck_assert_int_eq(from_vocab(&v, &t, NULL), SAMBA_OK);
    samba__token_list off = encode(t, "<s></s>", 7, false, false);
    samba__token_list on = encode(t, "<s></s>", 7, true, false);
    for (size_t i = 0; i < off.n; i++)
        ck_assert(!samba__tokenizer_is_special(t, off.ids[i]));
    ck_assert_uint_eq(on.n, 2);
    ck_assert_int_eq(on.ids[0], 1);
    ck_assert_int_eq(on.ids[1], 2);
    list_free(&off);
    list_free(&on);
    samba__tokenizer_free(t);
}
END_TEST

static void expect(const samba__vocab *v, samba_status status, const char *part)
{
    samba__tokenizer *t = NULL;
    samba_error *error = NULL;
    ck_assert_msg(from_vocab(v, &t, &error) == status, "%s", part);
    ck_assert_msg(strstr(samba_error_message(error), part) != NULL, "%s",
                  samba_error_message(error));
    ck_assert_ptr_null(t);
    samba_error_free(error);
}

START_TEST(refuses_bad_arrays)
{
    static spm m;
    uint64_t seed = 6;
    spm_random(&m, &seed);
    const samba__vocab good = spm_vocab(&m);
    samba__vocab v = good;
    v.model = text_of("bert");
    expect(&v, SAMBA_ERROR_UNSUPPORTED, "bert");
    v = good;
    v.bos = (samba_token)m.n;
    expect(&v, SAMBA_ERROR_FORMAT, "bos_token_id");
    v = good;
    v.eos = -1;
    v.add_eos = 1;
    expect(&v, SAMBA_ERROR_FORMAT, "added");
    v = good;
    v.scores = NULL;
    expect(&v, SAMBA_ERROR_FORMAT, "scores");
    v = good;
    v.model = text_of("gpt2");
    expect(&v, SAMBA_ERROR_FORMAT, "merges");
    v = good;
    v.n_tokens = 0;
    expect(&v, SAMBA_ERROR_LIMIT, "token ids");
    m.scores[FIRST_CHAR] = 0.0f / 0.0f * 1.0f;
    expect(&good, SAMBA_ERROR_FORMAT, "no number");
    m.scores[FIRST_CHAR] = 0;
    m.types[FIRST_CHAR] = 9;
    expect(&good, SAMBA_ERROR_FORMAT, "type 9");
    m.types[FIRST_CHAR] = 1;
    m.tokens[FIRST_CHAR + 1] = m.tokens[FIRST_CHAR];
    expect(&good, SAMBA_ERROR_FORMAT, "has id");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/vocab");
    TCase *tc = tcase_create("vocab");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, view_makes_the_same_tokenizer, 0, sizeof views / sizeof *views);
    tcase_add_test(tc, guesses_special_tokens);
    tcase_add_test(tc, names_are_known);
    tcase_add_test(tc, splits_where_the_name_says);
    tcase_add_test(tc, merges_by_score);
    tcase_add_test(tc, text_cannot_forge_control_tokens);
    tcase_add_test(tc, refuses_bad_arrays);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
