/*
 * Split patterns by name. The texts are those that the tokenizer.json files of the models carry
 * (single digits come as a step of their own in some). The first row that fits names a tokenizer
 * when it is written to GGUF, so the plainest name of each kind comes first.
 */
#include "token/patterns.h"

#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CL100K(digits)                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CL100K("\\p{N}{1,3}")
#define QWEN2 CL100K("\\p{N}")

const char samba__pattern_gpt2[] = GPT2;

static const samba__pre pres[] = {
    {"gpt-2", {GPT2}, false, false},
    {"gpt2", {GPT2}, false, false},
    {"olmo", {GPT2}, false, false},
    {"mpt", {GPT2}, false, false},
    {"jais", {GPT2}, false, false},
    {"phi-2", {GPT2}, false, false},
    {"trillion", {GPT2}, false, false},
    {"roberta-bpe", {GPT2}, false, false},
    {"llama-bpe", {LLAMA3}, true, true},
    {"llama3", {LLAMA3}, true, true},
    {"llama-v3", {LLAMA3}, true, true},
    {"dbrx", {LLAMA3}, false, false},
    {"smaug-bpe", {LLAMA3}, false, false},
    {"qwen2", {QWEN2}, false, false},
    {"stablelm2", {QWEN2}, false, false},
    {"smollm", {"\\p{N}", GPT2}, false, false},
    {"starcoder", {"\\p{N}", GPT2}, false, false},
    {"refact", {"\\p{N}", GPT2}, false, false},
    {"command-r", {"\\p{N}", GPT2}, false, false},
    {"codeshell", {"\\p{N}", GPT2}, false, false},
    {"exaone", {"\\p{N}", GPT2}, false, false},
    {"minerva-7b", {"\\p{N}", GPT2}, false, false},
    {"falcon", {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false},
    /* What files without the key were made for. */
    {"default", {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
};

enum {
    N_PRES = sizeof pres / sizeof *pres
};

static bool equal(samba__text a, const char *b)
{
    return a.size == strlen(b) && memcmp(a.data, b, a.size) == 0;
}

const samba__pre *samba__pre_find(samba__text name)
{
    for (size_t i = 0; i < N_PRES; i++)
        if (name.data && equal(name, pres[i].name))
            return &pres[i];
    return NULL;
}

static bool same_regexes(const samba__pre *pre, const samba__text *regexes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i == SAMBA__PRE_REGEXES || !pre->regexes[i] || !equal(regexes[i], pre->regexes[i]))
            return false;
    return n == SAMBA__PRE_REGEXES || !pre->regexes[n];
}

const char *samba__pre_name(const samba__text *regexes, size_t n, bool ignore_merges)
{
    for (size_t i = 0; i < N_PRES; i++)
        if (pres[i].ignore_merges == ignore_merges && same_regexes(&pres[i], regexes, n))
            return pres[i].name;
    return NULL;
}

bool samba__pattern_is_linear(samba__text pattern)
{
    for (size_t i = 0; i < N_PRES; i++)
        for (size_t k = 0; k < SAMBA__PRE_REGEXES && pres[i].regexes[k]; k++)
            if (equal(pattern, pres[i].regexes[k]))
                return true;
    return false;
}
