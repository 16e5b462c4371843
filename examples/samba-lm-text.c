/* Reading input, tokenizing it, and writing JSON. */
#include "samba-lm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void *lm_alloc(void *old, size_t n, size_t size)
{
    void *p = size && n > SIZE_MAX / size ? NULL : realloc(old, n && size ? n * size : 1);
    if (!p) {
        lm_complain("out of memory");
        exit(LM_FAILED);
    }
    return p;
}

void lm_append(lm_buffer *b, const char *data, size_t size)
{
    if (size > b->capacity - b->size) {
        size_t wanted = b->size + size;
        b->capacity = wanted > SIZE_MAX / 2 ? wanted : 2 * wanted;
        b->data = lm_alloc(b->data, b->capacity, 1);
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

int lm_read_input(const char *text, const char *path, lm_buffer *input)
{
    char piece[65536];
    if (text && path)
        return lm_complain("text is given twice, as an argument and as a file"), LM_USAGE;
    if (text) {
        lm_append(input, text, strlen(text));
        return LM_OK;
    }
    FILE *in = path && strcmp(path, "-") != 0 ? fopen(path, "rb") : stdin;
    if (!in)
        return lm_complain("cannot open: %s (%s)", strerror(errno), path);
    for (size_t n; (n = fread(piece, 1, sizeof piece, in)) > 0;)
        lm_append(input, piece, n);
    int failed = ferror(in), cause = errno;
    if (in != stdin)
        fclose(in);
    return failed ? lm_complain("cannot read: %s (%s)", strerror(cause), path ? path : "stdin")
                  : LM_OK;
}

int lm_tokenize_text(const samba_model *model, const lm_buffer *text,
                     const samba_tokenize_options *options, lm_ids *ids, samba_error **error)
{
    const char *data = text->data ? text->data : "";
    size_t capacity = text->size + 16; /* hardly ever more tokens than bytes */
    ids->ids = lm_alloc(NULL, capacity, sizeof *ids->ids);
    samba_status status =
        samba_tokenize(model, data, text->size, options, ids->ids, capacity, &ids->n, error);
    if (status != SAMBA_ERROR_LIMIT)
        return status;
    if (error) {
        samba_error_free(*error);
        *error = NULL;
    }
    status = samba_tokenize(model, data, text->size, options, NULL, 0, &capacity, error);
    if (status != SAMBA_OK)
        return status;
    ids->ids = lm_alloc(ids->ids, capacity, sizeof *ids->ids);
    return samba_tokenize(model, data, text->size, options, ids->ids, capacity, &ids->n, error);
}

/* Length of the UTF-8 character at s (shortest form, no surrogates), or 0. */
static size_t utf8_length(const unsigned char *s, size_t size)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n == 0 || n > size || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

void lm_json_string(FILE *out, const char *text, size_t size)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('"', out);
    for (size_t i = 0; i < size;) {
        size_t n = utf8_length(s + i, size - i);
        if (n == 0)
            fputs("\\ufffd", out);
        else if (n > 1)
            fwrite(s + i, 1, n, out);
        else if (s[i] == '"' || s[i] == '\\')
            fprintf(out, "\\%c", s[i]);
        else if (s[i] == '\n')
            fputs("\\n", out);
        else if (s[i] < 32 || s[i] == 127)
            fprintf(out, "\\u%04x", s[i]);
        else
            fputc(s[i], out);
        i += n ? n : 1;
    }
    fputc('"', out);
}

void lm_json_number(FILE *out, double number)
{
    if (isfinite(number))
        fprintf(out, "%.9g", number);
    else
        fputs("null", out);
}

void lm_json_ids(FILE *out, const samba_token *ids, size_t n)
{
    fputc('[', out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%d", i ? ", " : "", ids[i]);
    fputc(']', out);
}
