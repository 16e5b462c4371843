/*
 * One JSON string: UTF-8 is checked, escapes are resolved. Nothing is shorter in the text than what
 * it stands for, so the text's length bounds the result's.
 */
#include "format/json_value.h"

#include <string.h>

/* Bytes of the UTF-8 character at `s`, 0 if it is none. */
static size_t utf8_size(const unsigned char *s, size_t room)
{
    const size_t n = s[0] < 0x80                   ? 1
                     : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                     : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                     : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                   : 0;
    if (n > room)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0; /* too long a form, a surrogate, past the last character */
    return n;
}

/* From behind the opening quote to the closing one, where it stays. */
static bool scan(samba__json_reader *r, bool *escaped)
{
    const unsigned char *s = (const unsigned char *)r->text;
    *escaped = false;
    while (r->at < r->size && s[r->at] != '"') {
        const unsigned char c = s[r->at];
        if (c < 0x20)
            return samba__json_refuse(r, SAMBA__JSON_BYTE, "a string holds the control character");
        if (c == '\\') {
            *escaped = true;
            r->at += r->size - r->at > 1 && (s[r->at + 1] == '"' || s[r->at + 1] == '\\') ? 2 : 1;
        } else if (c < 0x80) {
            r->at++;
        } else {
            const size_t n = utf8_size(s + r->at, r->size - r->at);
            if (!n)
                return samba__json_refuse(r, SAMBA__JSON_BYTE, "unable to decode byte");
            r->at += n;
        }
    }
    return r->at < r->size ||
           samba__json_refuse(r, SAMBA__JSON_EXPECTED, "a string's closing '\"'");
}

/* Four hexadecimal digits. */
static bool read_hex(samba__json_reader *r, uint32_t *code)
{
    *code = 0;
    for (size_t i = 0; i < 4; i++) {
        const int c = samba__json_peek(r);
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return samba__json_refuse(r, SAMBA__JSON_EXPECTED, "a hexadecimal digit");
        *code = *code << 4 | (uint32_t)digit;
        r->at++;
    }
    return true;
}

static size_t put_utf8(uint32_t code, char *to)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(code | (n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u));
    return n;
}

/* The XXXX of \uXXXX; two halves of a surrogate pair are one character. */
static bool read_unicode(samba__json_reader *r, char *to, size_t *n)
{
    static const char low_half[] = "\\u and the second half of a surrogate pair";
    uint32_t code, low;
    const size_t begin = r->at;
    if (!read_hex(r, &code))
        return false;
    if (code >= 0xdc00 && code < 0xe000) {
        r->at = begin;
        return samba__json_refuse(r, SAMBA__JSON_WRONG,
                                  "the second half of a surrogate pair has no first");
    }
    if (code >= 0xd800 && code < 0xdc00) {
        const size_t second = r->at;
        if (r->size - second < 2 || memcmp(r->text + second, "\\u", 2) != 0)
            return samba__json_refuse(r, SAMBA__JSON_EXPECTED, low_half);
        r->at += 2;
        if (!read_hex(r, &low))
            return false;
        if (low < 0xdc00 || low >= 0xe000) {
            r->at = second;
            return samba__json_refuse(r, SAMBA__JSON_EXPECTED, low_half);
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *n += put_utf8(code, to + *n);
    return true;
}

/* From behind the backslash. */
static bool read_escape(samba__json_reader *r, char *to, size_t *n)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const int c = samba__json_peek(r);
    const char *at = c > 0 ? strchr(names, c) : NULL;
    if (c == 'u') {
        r->at++;
        return read_unicode(r, to, n);
    }
    if (!at)
        return samba__json_refuse(r, SAMBA__JSON_EXPECTED, "an escape, one of \"\\/bfnrtu");
    r->at++;
    to[(*n)++] = meanings[at - names];
    return true;
}

/* Up to `end`, the closing quote; so no escape reads past it. */
static bool resolve(samba__json_reader *r, size_t end, char *to, size_t *n)
{
    while (r->at < end) {
        const char *from = r->text + r->at, *escape = memchr(from, '\\', end - r->at);
        const size_t plain = escape ? (size_t)(escape - from) : end - r->at;
        memcpy(to + *n, from, plain);
        *n += plain;
        r->at += plain;
        if (!escape)
            break;
        r->at++;
        if (!read_escape(r, to, n))
            return false;
    }
    return true;
}

bool samba__json_read_string(samba__json_reader *r, samba__json *out)
{
    const size_t begin = ++r->at;
    bool escaped;
    if (!scan(r, &escaped))
        return false;
    const size_t end = r->at;
    size_t n = 0;
    char *to = samba__arena_alloc(r->arena, end - begin + 1, 1);
    if (!to)
        return samba__json_refuse(r, SAMBA__JSON_NO_MEMORY, NULL);
    r->at = begin;
    if (!escaped)
        memcpy(to, r->text + begin, n = end - begin);
    else if (!resolve(r, end, to, &n))
        return false;
    r->at = end + 1;
    *out = (samba__json){.kind = SAMBA__JSON_STRING, .n = (uint32_t)n, .as.text = to};
    return true;
}
