/*
 * The merge loop against the definition, carried out naively: on ids, and on words of a tokenizer
 * whose vocabulary and merges are random (which also shows that cutting words is right).
 */
#include "support/suite.h"
#include "token/impl.h"
#include "vectors.h"

enum {
    N_BASE = 6,
    MAX_IDS = 64
};

typedef struct rule {
    samba_token left, right, id;
} rule;

/* Find the first rule that applies anywhere, apply it at its leftmost place; again. */
static size_t naive_merge(const rule *rules, size_t n_rules, samba_token *ids, size_t n)
{
    for (;;) {
        size_t r = 0, at = n;
        for (; r < n_rules && at == n; r++)
            for (size_t i = 0; i + 1 < n && at == n; i++)
                if (ids[i] == rules[r].left && ids[i + 1] == rules[r].right)
                    at = i;
        if (at == n)
            return n;
        ids[at] = rules[r - 1].id;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

START_TEST(merges_as_defined)
{
    const samba_allocator *a = samba__alloc_default();
    uint64_t seed = 1;
    for (int round = 0; round < 400; round++) {
        rule rules[40];
        samba__merges merges;
        size_t n_rules = 1 + next_random(&seed) % 40;
        bool seen[MAX_IDS][MAX_IDS] = {{false}};
        ck_assert(samba__merges_init(&merges, a, n_rules));
        for (size_t i = 0; i < n_rules; i++) {
            uint32_t known = N_BASE + (uint32_t)i;
            samba_token left, right;
            do {
                left = (samba_token)(next_random(&seed) % known);
                right = (samba_token)(next_random(&seed) % known);
            } while (seen[left][right]);
            seen[left][right] = true;
            rules[i] = (rule){left, right, (samba_token)known};
            ck_assert(samba__merges_put(&merges, left, right, (uint32_t)i, (samba_token)known));
        }
        for (int word = 0; word < 20; word++) {
            samba_token have[300], want[300];
            size_t n = 1 + next_random(&seed) % (word % 2 ? 30 : 299);
            samba__symbols symbols = {0};
            for (size_t i = 0; i < n; i++)
                have[i] = want[i] = (samba_token)(next_random(&seed) % N_BASE);
            size_t n_want = naive_merge(rules, n_rules, want, n);
            symbols.ids = have;
            symbols.n = n;
            ck_assert(samba__bpe_merge(&merges, NULL, a, &symbols));
            ck_assert_uint_eq(symbols.n, n_want);
            ck_assert_mem_eq(have, want, n_want * sizeof *want);
            samba__free(a, symbols.scratch);
        }
        samba__merges_free(&merges, a);
    }
}
END_TEST

/* A tokenizer.json with letters a..f, \xc3\xa9 and random merges; tokens' texts in `texts`. */
static size_t random_json(uint64_t *seed, char texts[MAX_IDS][64], rule *rules, size_t *n_rules,
                          char *json, size_t room)
{
    size_t n = 0, at = 0;
    for (; n < N_BASE; n++)
        snprintf(texts[n], 64, "%c", (char)('a' + n));
    snprintf(texts[n++], 64, "\xc3\xa9");
    for (*n_rules = 0; n < 40;) {
        samba_token left = (samba_token)(next_random(seed) % n);
        samba_token right = (samba_token)(next_random(seed) % n);
        bool there = strlen(texts[left]) + strlen(texts[right]) > 30;
        snprintf(texts[n], 64, "%.31s%.31s", texts[left], texts[right]);
        for (size_t i = 0; i < n; i++)
            there = there || strcmp(texts[i], texts[n]) == 0;
        if (!there) {
            rules[(*n_rules)++] = (rule){left, right, (samba_token)n};
            n++;
        }
    }
    at += (size_t)snprintf(json + at, room - at, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(json + at, room - at, "%s\"%s\":%zu", i ? "," : "", texts[i], i);
    at += (size_t)snprintf(json + at, room - at, "},\"merges\":[");
    for (size_t i = 0; i < *n_rules; i++)
        at += (size_t)snprintf(json + at, room - at, "%s\"%s %s\"", i ? "," : "",
                               texts[rules[i].left], texts[rules[i].right]);
    at += (size_t)snprintf(json + at, room - at, "]}}");
    return at;
}

START_TEST(words_as_defined)
{
    static const char *const letters[] = {"a", "b", "c", "d", "e", "f", "\xc3\xa9"};
    uint64_t seed = 2;
    for (int round = 0; round < 150; round++) {
        char texts[MAX_IDS][64], json[16384], word[512];
        rule rules[MAX_IDS];
        size_t n_rules;
        size_t size = random_json(&seed, texts, rules, &n_rules, json, sizeof json);
        samba__tokenizer *t = load_json(json, size);
        ck_assert(t->splits_words);
        for (int k = 0; k < 20; k++) {
            samba_token want[200];
            size_t n = 1 + next_random(&seed) % 199, at = 0;
            for (size_t i = 0; i < n; i++) {
                want[i] = (samba_token)(next_random(&seed) % 7);
                at += (size_t)snprintf(word + at, sizeof word - at, "%s", letters[want[i]]);
            }
            size_t n_want = naive_merge(rules, n_rules, want, n);
            samba__token_list have = encode(t, word, at, false, false);
            ck_assert_uint_eq(have.n, n_want);
            ck_assert_mem_eq(have.ids, want, n_want * sizeof *want);
            list_free(&have);
        }
        samba__tokenizer_free(t);
    }
}
END_TEST

/* A pair listed twice has the later rank, as in a map filled in order. */
START_TEST(later_entry_replaces)
{
    const char json[] = "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4},"
                        "\"merges\":[\"a b\",\"b c\",\"a b\"]}}";
    samba__tokenizer *t = load_json(json, sizeof json - 1);
    samba__token_list have = encode(t, "abc", 3, false, false);
    ck_assert_uint_eq(have.n, 2);
    ck_assert_int_eq(have.ids[0], 0);
    ck_assert_int_eq(have.ids[1], 4);
    list_free(&have);
    samba__tokenizer_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/bpe");
    TCase *tc = tcase_create("bpe");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, merges_as_defined);
    tcase_add_test(tc, words_as_defined);
    tcase_add_test(tc, later_entry_replaces);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
