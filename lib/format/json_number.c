/*
 * One JSON number, correctly rounded (half to even) whatever the locale: the C library's functions
 * depend on it. Integers of 64 bits stay exact. A decimal of at most 2^53 times or by a power of
 * ten of at most 10^22 is one rounded operation on two exact doubles (Clinger's fast path). All
 * others are a division of whole numbers, whose upper bits and whether anything is left below are
 * all that rounding needs to know. Numbers past the largest double are refused, those below the
 * smallest are 0.
 */
#include "format/json_value.h"

#include <math.h>
#include <string.h>

enum {
    MAX_DIGITS = 800,       /* of a number halfway between two doubles: 767 */
    MAX_EXPONENT = 310,     /* of ten, of the number: more is infinite */
    MIN_EXPONENT = -330,    /* and less is 0 */
    EXPONENT_CAP = 1 << 30, /* past any number of digits */
    FAST_DIGITS = 19,       /* fit 64 bits */
    FAST_EXPONENT = 22,     /* 10^22 is a double */
    QUOTIENT_BITS = 66,     /* 53, one to round by, and some */
    LIMBS = 96              /* MAX_DIGITS + 1 digits, or 5^(MAX_DIGITS + 331), and QUOTIENT_BITS */
};

typedef struct decimal {
    bool negative, real;
    const char *digits; /* [n_chars], with a point perhaps, from the first that is not 0 on */
    size_t n_chars, n;  /* n: without the point */
    uint64_t leading;   /* the first FAST_DIGITS of them, as a number */
    int64_t exponent;   /* of ten, for all digits as a whole number */
} decimal;

/* ---------------------------------------------------------------- the text */

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool read_digits(samba__json_reader *r, decimal *d)
{
    if (!is_digit(samba__json_peek(r)))
        return samba__json_refuse(r, SAMBA__JSON_EXPECTED, "a digit");
    for (int c; is_digit(c = samba__json_peek(r)); r->at++) {
        if (!d->n && c == '0')
            continue;
        if (!d->n)
            d->digits = r->text + r->at;
        if (d->n++ < FAST_DIGITS)
            d->leading = 10 * d->leading + (uint64_t)(c - '0');
    }
    return true;
}

static bool read_exponent(samba__json_reader *r, decimal *d)
{
    int64_t e = 0;
    const bool negative = samba__json_peek(r) == '-';
    r->at += negative || samba__json_peek(r) == '+';
    if (!is_digit(samba__json_peek(r)))
        return samba__json_refuse(r, SAMBA__JSON_EXPECTED, "a digit");
    for (; is_digit(samba__json_peek(r)); r->at++)
        e = e < EXPONENT_CAP ? 10 * e + (r->text[r->at] - '0') : e;
    d->exponent += negative ? -e : e;
    return true;
}

static bool read_decimal(samba__json_reader *r, decimal *d)
{
    d->negative = samba__json_peek(r) == '-';
    r->at += d->negative;
    if (samba__json_peek(r) == '0')
        r->at++;
    else if (!read_digits(r, d))
        return false;
    if (samba__json_peek(r) == '.') {
        const size_t from = ++r->at;
        d->real = true;
        if (!read_digits(r, d))
            return false;
        d->exponent = -(int64_t)(r->at - from);
    }
    if (d->n)
        d->n_chars = (size_t)(r->text + r->at - d->digits);
    if (samba__json_peek(r) != 'e' && samba__json_peek(r) != 'E')
        return true;
    d->real = true;
    r->at++;
    return read_exponent(r, d);
}

/* ---------------------------------------------------------------- whole numbers of any size */

typedef struct whole {
    uint32_t limb[LIMBS]; /* [n], lowest first; the last is not 0 */
    size_t n;
} whole;

/* w * factor + add */
static void multiply(whole *w, uint32_t factor, uint32_t add)
{
    uint64_t carry = add;
    for (size_t i = 0; i < w->n; i++) {
        carry += (uint64_t)w->limb[i] * factor;
        w->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && w->n < LIMBS)
        w->limb[w->n++] = (uint32_t)carry;
}

static void multiply_by_5(whole *w, unsigned power)
{
    for (; power >= 13; power -= 13)
        multiply(w, 1220703125, 0);
    for (; power; power--)
        multiply(w, 5, 0);
}

static unsigned top_bit(uint32_t limb)
{
    unsigned n = 0;
    for (; limb; limb >>= 1)
        n++;
    return n;
}

static unsigned bits(const whole *w)
{
    return w->n ? (unsigned)(w->n - 1) * 32 + top_bit(w->limb[w->n - 1]) : 0;
}

static void shift_left(whole *w, unsigned by)
{
    const unsigned limbs = by / 32, rest = by % 32;
    if (!w->n || w->n + limbs >= LIMBS)
        return;
    w->limb[w->n] = 0;
    for (size_t i = w->n + 1; i-- > 0;) {
        const uint64_t pair = (uint64_t)w->limb[i] << 32 | (i ? w->limb[i - 1] : 0);
        w->limb[i + limbs] = (uint32_t)(pair << rest >> 32);
    }
    memset(w->limb, 0, limbs * sizeof *w->limb);
    w->n += limbs + 1;
    w->n -= w->limb[w->n - 1] == 0;
}

/* part [d->n + 1] -= q * d; whether it came out negative (then 2^(32 (d->n + 1)) too large). */
static bool subtract(uint32_t *part, const whole *d, uint32_t q)
{
    uint64_t carry = 0, borrow = 0;
    for (size_t i = 0; i <= d->n; i++) {
        carry += i < d->n ? (uint64_t)q * d->limb[i] : 0;
        const uint64_t difference = (uint64_t)part[i] - (uint32_t)carry - borrow;
        part[i] = (uint32_t)difference;
        borrow = difference >> 63;
        carry >>= 32;
    }
    return borrow != 0;
}

/* part [d->n + 1] += d; whether it is no longer negative. */
static bool add_back(uint32_t *part, const whole *d)
{
    uint64_t carry = 0;
    for (size_t i = 0; i <= d->n; i++) {
        carry += (uint64_t)part[i] + (i < d->n ? d->limb[i] : 0);
        part[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return carry != 0;
}

/*
 * Long division by a d whose highest bit is set: a digit guessed from the highest limbs is at most
 * 2 too large. w becomes the quotient; returns whether there is a remainder.
 */
static bool divide(whole *w, const whole *d)
{
    whole q = {.n = 0};
    if (w->n < d->n) {
        w->n = 0;
        return true;
    }
    uint32_t part[LIMBS + 2] = {0}; /* the dividend, with a 0 above */
    memcpy(part, w->limb, w->n * sizeof *part);
    q.n = w->n - d->n + 1;
    for (size_t i = q.n; i-- > 0;) {
        uint32_t *here = part + i;
        const uint64_t top = (uint64_t)here[d->n] << 32 | here[d->n - 1];
        const uint64_t guess = top / d->limb[d->n - 1];
        q.limb[i] = guess < UINT32_MAX ? (uint32_t)guess : UINT32_MAX;
        for (bool negative = subtract(here, d, q.limb[i]); negative; q.limb[i]--)
            negative = !add_back(here, d);
    }
    while (q.n && q.limb[q.n - 1] == 0)
        q.n--;
    bool rest = false;
    for (size_t i = 0; i < d->n; i++)
        rest |= part[i] != 0;
    *w = q;
    return rest;
}

/* ---------------------------------------------------------------- rounding */

/* The highest 64 bits, the first of them set; `more` if others are. */
static uint64_t upper_bits(const whole *w, bool *more)
{
    uint64_t top = 0;
    unsigned room = 64;
    for (size_t i = w->n; i-- > 0;) {
        const unsigned here = i + 1 == w->n ? top_bit(w->limb[i]) : 32;
        const unsigned take = here < room ? here : room;
        const uint64_t limb = w->limb[i];
        top = top << take | limb >> (here - take);
        *more |= (limb & (((uint64_t)1 << (here - take)) - 1)) != 0;
        room -= take;
    }
    return top << room;
}

/* w * 2^exponent, and something below it if `more`. */
static double round_to_double(const whole *w, int exponent, bool more)
{
    const uint64_t top = upper_bits(w, &more);
    const int high = exponent + (int)bits(w) - 1; /* 2^high <= the number */
    const int keep = high >= -1022 ? 53 : 53 - (-1022 - high);
    if (high > 1023)
        return INFINITY;
    if (keep < 0)
        return 0;
    const unsigned drop = 64 - (unsigned)keep;
    const uint64_t half = (uint64_t)1 << (drop - 1);
    const uint64_t below = top & (half + (half - 1));
    uint64_t result = keep ? top >> drop : 0;
    if (below > half || (below == half && (more || (result & 1))))
        result++;
    /* The first bit of a normal number's 53 adds one to the exponent field below it. */
    const uint64_t field = high >= -1022 ? (uint64_t)(high + 1022) << 52 : 0;
    const uint64_t bits_of = field + result;
    double number;
    memcpy(&number, &bits_of, sizeof number);
    return number;
}

/* The digits as a whole number: MAX_DIGITS at most, and a 1 for more that are not all 0. Returns
 * how many have no place in it. */
static size_t take_digits(const decimal *d, whole *w)
{
    size_t taken = 0;
    bool more = false;
    for (size_t i = 0; i < d->n_chars; i++) {
        const char c = d->digits[i];
        if (c == '.')
            continue;
        if (taken < MAX_DIGITS) {
            multiply(w, 10, (uint32_t)(c - '0'));
            taken++;
        } else {
            more |= c != '0';
        }
    }
    if (!more)
        return d->n - taken;
    multiply(w, 10, 1);
    return d->n - taken - 1;
}

static double divide_exactly(const decimal *d)
{
    whole w = {.n = 0}, by = {.n = 1, .limb = {1}};
    const int e = (int)(d->exponent + (int64_t)take_digits(d, &w));
    if (e >= 0) {
        multiply_by_5(&w, (unsigned)e);
        return round_to_double(&w, e, false);
    }
    multiply_by_5(&by, (unsigned)-e);
    const unsigned up = 32 - top_bit(by.limb[by.n - 1]);
    const unsigned wanted = bits(&by) + QUOTIENT_BITS, have = bits(&w);
    const unsigned more = wanted > have ? wanted - have : 0;
    shift_left(&by, up);
    shift_left(&w, up + more);
    const bool rest = divide(&w, &by);
    return round_to_double(&w, e - (int)more, rest);
}

static double to_double(const decimal *d)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const int64_t size = d->exponent + (int64_t)d->n; /* below 10^size */
    if (!d->n || size < MIN_EXPONENT)
        return 0;
    if (size > MAX_EXPONENT)
        return INFINITY;
    if (d->n <= FAST_DIGITS && d->leading <= (uint64_t)1 << 53) {
        if (d->exponent >= 0 && d->exponent <= FAST_EXPONENT)
            return (double)d->leading * tens[d->exponent];
        if (d->exponent < 0 && d->exponent >= -FAST_EXPONENT)
            return (double)d->leading / tens[-d->exponent];
    }
    return divide_exactly(d);
}

static bool to_integer(const decimal *d, int64_t *out)
{
    const uint64_t limit = (uint64_t)INT64_MAX + d->negative;
    if (d->real || d->n > FAST_DIGITS || d->leading > limit)
        return false;
    *out = d->negative ? (int64_t)(0 - d->leading) : (int64_t)d->leading;
    return true;
}

bool samba__json_read_number(samba__json_reader *r, samba__json *out)
{
    decimal d = {.n = 0};
    const size_t begin = r->at;
    if (!read_decimal(r, &d))
        return false;
    *out = (samba__json){.kind = SAMBA__JSON_INT};
    if (to_integer(&d, &out->as.integer))
        return true;
    const double x = to_double(&d);
    *out = (samba__json){.kind = SAMBA__JSON_REAL, .as.real = d.negative ? -x : x};
    if (isfinite(x))
        return true;
    r->at = begin;
    return samba__json_refuse(r, SAMBA__JSON_WRONG, "a number past the largest double");
}
