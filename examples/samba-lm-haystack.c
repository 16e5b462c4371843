/*
 * Prompts of the pass-key test: an introduction, much text, one sentence with the key somewhere in
 * it, more text, a question. The wording is that of passkey_prompts.json of the samba-13m model,
 * which knows this template from its training.
 */
#include "samba-lm.h"

#include <stdlib.h>
#include <string.h>

static const char intro[] =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I "
    "will quiz you about the important information there.\n";
static const char filler[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";
const char *const lm_haystack_question = "What is the pass key? The pass key is ";

uint64_t lm_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void append_text(lm_buffer *b, const char *text)
{
    lm_append(b, text, strlen(text));
}

static void append_key(lm_buffer *b, uint32_t key)
{
    char sentence[96];
    snprintf(sentence, sizeof sentence,
             "The pass key is %05u. Remember it. %05u is the pass key.\n", key, key);
    append_text(b, sentence);
}

static void append_filler(lm_buffer *b, uint64_t lines)
{
    for (uint64_t i = 0; i < lines; i++)
        lm_append(b, filler, sizeof filler - 1);
}

/* About `size` bytes of the book from a random line on (it starts over at its end), whole lines. */
static void take_lines(const lm_buffer *book, size_t size, uint64_t *random, lm_buffer *text)
{
    size_t at = (size_t)(lm_random(random) % book->size);
    const char *line = memchr(book->data + at, '\n', book->size - at);
    at = line ? (size_t)(line - book->data) + 1 : 0;
    while (text->size < size) {
        at = at == book->size ? 0 : at;
        size_t n = book->size - at < size - text->size ? book->size - at : size - text->size;
        lm_append(text, book->data + at, n);
        at += n;
    }
    while (text->size && text->data[text->size - 1] != '\n')
        text->size--;
}

static void append_book(const lm_haystack *h, size_t size, double depth, uint32_t key,
                        uint64_t *random, lm_buffer *prompt)
{
    lm_buffer text = {0};
    take_lines(h->book, size, random, &text);
    size_t cut = (size_t)(depth * (double)text.size);
    while (cut > 0 && cut < text.size && text.data[cut - 1] != '\n')
        cut++;
    lm_append(prompt, text.data, cut);
    append_key(prompt, key);
    if (cut < text.size)
        lm_append(prompt, text.data + cut, text.size - cut);
    free(text.data);
}

void lm_haystack_build(const lm_haystack *h, uint64_t tokens, double depth, uint32_t key,
                       uint64_t *random, lm_buffer *prompt)
{
    double room = (double)tokens > h->frame ? (double)tokens - h->frame : 0;
    uint64_t units = (uint64_t)(room / h->per_unit), before = (uint64_t)(depth * (double)units);
    prompt->size = 0;
    append_text(prompt, intro);
    if (h->book) {
        append_book(h, (size_t)units, depth, key, random, prompt);
    } else {
        append_filler(prompt, before);
        append_key(prompt, key);
        append_filler(prompt, units - before);
    }
    append_text(prompt, lm_haystack_question);
}

static samba_status count(const samba_model *model, const lm_buffer *text, double *tokens,
                          samba_error **error)
{
    size_t n;
    samba_status status = samba_tokenize(model, text->data, text->size, NULL, NULL, 0, &n, error);
    if (status == SAMBA_OK)
        *tokens = (double)n;
    return status;
}

samba_status lm_haystack_measure(lm_haystack *h, const samba_model *model, samba_error **error)
{
    enum {
        LINES = 64,
        SAMPLE = 1 << 18
    };
    lm_buffer text = {0};
    double with_filler = 0;
    append_text(&text, intro);
    append_key(&text, 12345);
    append_text(&text, lm_haystack_question);
    samba_status status = count(model, &text, &h->frame, error);
    text.size = 0;
    append_text(&text, intro);
    append_filler(&text, LINES);
    append_key(&text, 12345);
    append_text(&text, lm_haystack_question);
    if (status == SAMBA_OK && !h->book) {
        status = count(model, &text, &with_filler, error);
        h->per_unit = (with_filler - h->frame) / LINES;
    } else if (status == SAMBA_OK) {
        text.size = 0;
        lm_append(&text, h->book->data, h->book->size < SAMPLE ? h->book->size : SAMPLE);
        status = count(model, &text, &with_filler, error);
        h->per_unit = with_filler / (double)text.size;
    }
    free(text.data);
    return status;
}
