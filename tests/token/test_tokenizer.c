/*
 * Encoding and decoding against vectors made with Hugging Face's tokenizers: every id must agree.
 */
#include "support/suite.h"
#include "vectors.h"

static const char *const names[] = {
    "samba-13m",
    "llama3-nfc",
    "gpt2-prefix",
    "smollm",
    "falcon",
    "o200k-nfkc",
    "nfd",
    "nfkd",
    "llama2-legacy",
    "llama2-added",
    "metaspace-first",
    "metaspace-split",
    "metaspace-never",
    "split-0",
    "split-1",
    "split-2",
    "split-3",
    "split-4",
    "split-5",
    "split-6",
    "split-7",
    "split-8",
    "split-9",
    "split-10",
    "split-11",
    "split-12",
    "split-13",
    "split-14",
};

enum {
    N_NAMES = sizeof names / sizeof *names,
    SAME = 0xffff,
    INPUT = 0xfffe
};

typedef struct vector {
    samba__text text;
    const uint8_t *ids[4]; /* u16 each */
    size_t n_ids[4];
    samba__text decoded[2];
    bool has_decoded[2];
} vector;

static void read_vector(samba__cursor *c, vector *v)
{
    v->text.size = samba__cursor_u16(c);
    v->text.data = (const char *)samba__cursor_take(c, v->text.size);
    for (int i = 0; i < 4; i++) {
        v->n_ids[i] = samba__cursor_u16(c);
        if (i && v->n_ids[i] == SAME) {
            v->n_ids[i] = v->n_ids[i - 1];
            v->ids[i] = v->ids[i - 1];
        } else {
            v->ids[i] = samba__cursor_take(c, 2 * v->n_ids[i]);
        }
    }
    for (int i = 0; i < 2; i++) {
        size_t n = samba__cursor_u16(c);
        v->has_decoded[i] = n != SAME;
        v->decoded[i] = v->text;
        if (n < INPUT)
            v->decoded[i] = (samba__text){(const char *)samba__cursor_take(c, n), n};
    }
    ck_assert(!c->failed);
}

static bool same_ids(const vector *v, int k, const samba__token_list *list)
{
    if (list->n != v->n_ids[k])
        return false;
    for (size_t i = 0; i < list->n; i++)
        if (list->ids[i] != samba__load_u16(v->ids[k] + 2 * i))
            return false;
    return true;
}

static void show(const char *name, const vector *v, int k, const samba__token_list *list)
{
    printf("%s, parse %d add %d: \"%.*s\"\n  want", name, k >> 1, k & 1, (int)v->text.size,
           v->text.data);
    for (size_t i = 0; i < v->n_ids[k]; i++)
        printf(" %d", samba__load_u16(v->ids[k] + 2 * i));
    printf("\n  have");
    for (size_t i = 0; i < list->n; i++)
        printf(" %d", (int)list->ids[i]);
    printf("\n");
}

/* Number of mismatches in one vector. */
static int check_vector(const samba__tokenizer *t, const char *name, const vector *v)
{
    int bad = 0;
    for (int k = 0; k < 4; k++) {
        samba__token_list list = encode(t, v->text.data, v->text.size, k >> 1, k & 1);
        if (!same_ids(v, k, &list)) {
            show(name, v, k, &list);
            bad++;
        }
        if ((k == 0 && v->has_decoded[0]) || (k == 3 && v->has_decoded[1])) {
            const samba__text *want = &v->decoded[k != 0];
            file_bytes have = decode(t, list.ids, list.n);
            if (have.size != want->size || memcmp(have.data, want->data, want->size) != 0) {
                printf("%s decodes \"%.*s\" to \"%.*s\"\n", name, (int)want->size, want->data,
                       (int)have.size, have.data);
                bad++;
            }
            free(have.data);
        }
        list_free(&list);
    }
    return bad;
}

START_TEST(vectors)
{
    const char *name = names[_i];
    char path[128];
    snprintf(path, sizeof path, "%s-tokenizer.json", name);
    samba__tokenizer *t = load_file(path);
    snprintf(path, sizeof path, "%s-vectors.bin", name);
    file_bytes file = read_file(path);
    samba__cursor c = {.data = (const uint8_t *)file.data, .size = file.size, .pos = 4};
    ck_assert(file.size > 8 && memcmp(file.data, "SVEC", 4) == 0);
    uint32_t n = samba__cursor_u32(&c);
    int bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        vector v;
        read_vector(&c, &v);
        bad += check_vector(t, name, &v);
    }
    ck_assert_uint_eq(c.pos, c.size);
    fflush(stdout);
    ck_assert_msg(bad == 0, "%s: %d mismatches in %u texts", name, bad, n);
    printf("%s: %u texts, 4 encodings each, agree\n", name, n);
    free(file.data);
    samba__tokenizer_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/tokenizer");
    TCase *tc = tcase_create("vectors");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, vectors, 0, N_NAMES);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
