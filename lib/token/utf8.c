/*
 * UTF-8 decoding and the incremental writer. The held bytes are always a proper prefix of one valid
 * character, so flushing them shows exactly what was cut off.
 */
#include "token/utf8.h"
#include "token/tokenizer.h"

#include <string.h>

/*
 * Bytes of the character that `lead` begins (0: none can begin), and the range its second byte must
 * lie in; the later ones are 80..BF. This is table 3-7 of the Unicode standard.
 */
static size_t lead_info(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    if (lead < 0xe0)
        return 2;
    if (lead < 0xf0) {
        if (lead == 0xe0)
            *low = 0xa0;
        if (lead == 0xed)
            *high = 0x9f;
        return 3;
    }
    if (lead == 0xf0)
        *low = 0x90;
    if (lead == 0xf4)
        *high = 0x8f;
    return 4;
}

/* How many of the bytes agree with a character that begins at s[0]; *need is its length or 0. */
static size_t matching_bytes(const unsigned char *s, size_t size, size_t *need)
{
    unsigned char low, high;
    *need = size ? lead_info(s[0], &low, &high) : 0;
    if (*need == 0)
        return 0;
    size_t n = 1;
    while (n < *need && n < size) {
        if (s[n] < (n == 1 ? low : 0x80) || s[n] > (n == 1 ? high : 0xbf))
            break;
        n++;
    }
    return n;
}

size_t samba__utf8_decode(const char *bytes, size_t size, uint32_t *cp)
{
    const unsigned char *s = (const unsigned char *)bytes;
    size_t need;
    if (size && s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    if (matching_bytes(s, size, &need) != need || need == 0)
        return 0;
    uint32_t v = s[0] & (0xffu >> (need + 1));
    for (size_t i = 1; i < need; i++)
        v = v << 6 | (s[i] & 0x3fu);
    *cp = v;
    return need;
}

size_t samba__utf8_encode(uint32_t cp, char *out)
{
    unsigned char *o = (unsigned char *)out;
    if (cp < 0x80) {
        o[0] = (unsigned char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; cp >>= 6)
        o[i] = (unsigned char)(0x80 | (cp & 0x3f));
    o[0] = (unsigned char)(cp | (0xf00u >> n & 0xff));
    return n;
}

size_t samba__utf8_valid_run(const char *bytes, size_t size)
{
    size_t i = 0, n;
    uint32_t cp;
    while (i < size && (n = samba__utf8_decode(bytes + i, size - i, &cp)) != 0)
        i += n;
    return i;
}

size_t samba__utf8_invalid_run(const char *bytes, size_t size)
{
    size_t i = 0;
    uint32_t cp;
    while (i < size && samba__utf8_decode(bytes + i, size - i, &cp) == 0)
        i++;
    return i;
}

/* Bytes at the end that begin a character which is not complete yet. */
static size_t incomplete_tail(const unsigned char *s, size_t size)
{
    for (size_t k = 1; k <= 3 && k <= size; k++) {
        size_t need, n = matching_bytes(s + size - k, k, &need);
        if (need && n == k && n < need)
            return k;
        if (need) /* a complete or broken character starts here: nothing before it can be open */
            return 0;
    }
    return 0;
}

size_t samba__utf8_push(samba__utf8_hold *hold, const char *bytes, size_t size, char *out)
{
    size_t total = hold->n + size;
    memcpy(out, hold->bytes, hold->n);
    if (size)
        memcpy(out + hold->n, bytes, size);
    size_t tail = incomplete_tail((const unsigned char *)out, total);
    memcpy(hold->bytes, out + total - tail, tail);
    hold->n = (uint32_t)tail;
    return total - tail;
}

size_t samba__utf8_flush(samba__utf8_hold *hold, char *out)
{
    size_t n = hold->n;
    memcpy(out, hold->bytes, n);
    hold->n = 0;
    return n;
}
