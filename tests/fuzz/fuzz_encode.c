/*
 * Any bytes as text, for fixed tokenizers: the first byte chooses one and the flags. Byte-level and
 * sentencepiece tokenizers must give every text back; without parse_special no special token
 * appears; the incremental UTF-8 writer gives the same bytes.
 */
#include "fuzz/fuzz.h"
#include "token/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_KINDS = 6,
    MAX_TOKENS = 400
};

typedef struct arrays {
    char texts[MAX_TOKENS][24];
    samba__text tokens[MAX_TOKENS];
    float scores[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    samba__text merges[64];
    size_t n, n_merges;
} arrays;

static void add(arrays *v, const char *text, float score, int32_t type)
{
    snprintf(v->texts[v->n], sizeof v->texts[0], "%s", text);
    v->tokens[v->n] = (samba__text){v->texts[v->n], strlen(v->texts[v->n])};
    v->scores[v->n] = score;
    v->types[v->n++] = type;
}

static void add_bytes(arrays *v, bool byte_level)
{
    for (unsigned b = 0; b < 256; b++) {
        const unsigned cp = b <= 0x20                ? 0x100 + b
                            : b >= 0x7f && b <= 0xa0 ? 0x121 + b - 0x7f
                            : b == 0xad              ? 0x143
                                                     : b;
        const char two[3] = {(char)(0xc0 | cp >> 6), (char)(0x80 | (cp & 0x3f)), 0};
        const char one[2] = {(char)cp, 0};
        char fallback[8];
        snprintf(fallback, sizeof fallback, "<0x%02X>", b);
        add(v, !byte_level ? fallback : cp < 0x80 ? one : two, 0, byte_level ? 1 : 6);
    }
}

static samba__tokenizer *create(const char *pre)
{
    static const char *const merges[] = {"e t",  "a a", "aa aa", "Ġ t", "Ġt h", "1 1",
                                         "11 1", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "Ã ©",  "' s"};
    static const char *const words[] = {"a",    "e", "t",  " ",  "th",   "the", "▁", "▁▁", "▁t",
                                        "▁the", "é", "世", "aa", "aaaa", "ea",  "<", "<s"};
    static arrays v;
    samba__tokenizer *t = NULL;
    v.n = v.n_merges = 0;
    add(&v, "<unk>", 0, 2);
    add(&v, "<s>", 0, 3);
    add(&v, "<|mask|>", 0, 4);
    add_bytes(&v, pre != NULL);
    for (size_t i = 0; pre && i < sizeof merges / sizeof *merges; i++) {
        char joined[24] = "";
        const char *space = strchr(merges[i], ' ');
        snprintf(joined, sizeof joined, "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
        add(&v, joined, 0, 1);
        v.merges[v.n_merges++] = (samba__text){merges[i], strlen(merges[i])};
    }
    for (size_t i = 0; !pre && i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i], " ") != 0)
            add(&v, words[i], -(float)(i % 5), 1);
    const samba__vocab vocab = {
        .model = pre ? (samba__text){"gpt2", 4} : (samba__text){"llama", 5},
        .pre = {pre, pre ? strlen(pre) : 0},
        .tokens = v.tokens,
        .scores = v.scores,
        .types = v.types,
        .n_tokens = v.n,
        .merges = v.merges,
        .n_merges = v.n_merges,
        .bos = 1,
        .eos = -1,
        .unk = 0,
        .add_bos = -1,
        .add_eos = -1,
        .add_space_prefix = -1,
    };
    if (samba__tokenizer_from_vocab(samba__alloc_default(), &vocab, &t, NULL) != SAMBA_OK)
        __builtin_trap();
    return t;
}

/* "▁" comes back as a space from sentencepiece, and a user token in the text as itself. */
static bool is_lossless(const char *text, size_t size, int kind)
{
    return kind < N_KINDS - 1 || !memmem(text, size, "\xe2\x96\x81", 3);
}

static void check_bytes(const samba__tokenizer *t, const samba__token_list *list, const char *text,
                        size_t size, bool exact)
{
    samba__utf8_hold hold = {0};
    char *all = malloc(size + 64 * list->n + 16), *pushed = malloc(size + 64 * list->n + 16);
    size_t n = 0, n_pushed = 0;
    for (size_t i = 0; i < list->n; i++) {
        samba__text piece;
        if (!samba__tokenizer_piece(t, list->ids[i], i == 0, &piece) || piece.size > 63)
            __builtin_trap();
        if (piece.size)
            memcpy(all + n, piece.data, piece.size);
        n += piece.size;
        n_pushed += samba__utf8_push(&hold, piece.data, piece.size, pushed + n_pushed);
        if (hold.n > 3)
            __builtin_trap();
    }
    n_pushed += samba__utf8_flush(&hold, pushed + n_pushed);
    if (n != n_pushed || memcmp(all, pushed, n) != 0)
        __builtin_trap();
    if (exact && (n != size || memcmp(all, text, n) != 0))
        __builtin_trap();
    free(all);
    free(pushed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const pres[N_KINDS] = {"gpt-2",  "llama-bpe", "qwen2",
                                              "smollm", "default",   NULL};
    static samba__tokenizer *tokenizers[N_KINDS]; /* live as long as the process */
    if (size == 0)
        return 0;
    const int kind = data[0] % N_KINDS;
    const bool parse = data[0] & 0x80;
    if (!tokenizers[kind])
        tokenizers[kind] = create(pres[kind]);
    const samba__tokenizer *t = tokenizers[kind];
    const char *text = (const char *)data + 1;
    samba__token_list list = {0};
    if (samba__tokenizer_encode(t, text, size - 1, (samba__encode_flags){parse, false}, &list,
                                NULL) != SAMBA_OK)
        __builtin_trap();
    for (size_t i = 0; i < list.n; i++)
        if (!parse && samba__tokenizer_is_special(t, list.ids[i]))
            __builtin_trap();
    /* With special tokens in it a sentencepiece text gets spaces behind them. */
    bool has_tokens =
        memmem(text, size - 1, "<|mask|>", 8) || (parse && memchr(text, '<', size - 1));
    check_bytes(t, &list, text, size - 1,
                is_lossless(text, size - 1, kind) && (kind < N_KINDS - 1 || !has_tokens));
    samba__free(samba__alloc_default(), list.ids);
    return 0;
}
