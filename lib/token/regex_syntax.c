/*
 * Oniguruma's regex syntax (with its Unicode tables) written as PCRE2's. The differences that are
 * translated:
 *   \s \S        White_Space; PCRE2 adds U+180E
 *   \w \W \b \B  letters, marks, decimal numbers, connectors, other alphabetics; PCRE2 has fewer
 *   \h \v        hexadecimal digit, U+000B; in PCRE2 horizontal and vertical space
 *   \p{Name}     scripts: PCRE2 would take script extensions
 *   (?m)         dot matches newline: (?s) in PCRE2. ^ and $ always work on lines
 *   {,n} \uHHHH \O
 *   [a[bc]]      a union: flattened
 * What else differs is refused: {n,m}+ and {n}?, intersections, negated inner classes, POSIX
 * brackets, \Q \K \G \y, bytes as \xHH, callouts, options in mid-pattern. What PCRE2 lacks, its
 * compiler refuses.
 */
#include "token/regex.h"

#include <string.h>

#define SPACE "\\t-\\r\\x{85}\\p{Z}"
/* With the digits and fractions of Latin-1, as Oniguruma has it. */
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe"                                  \
    "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"                                                     \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define BEFORE "(?<=[" WORD "])"
#define NOT_BEFORE "(?<![" WORD "])"
#define AFTER "(?=[" WORD "])"
#define NOT_AFTER "(?![" WORD "])"

typedef struct translation {
    const samba_allocator *alloc;
    const char *in;
    size_t size, at;
    char *out;
    size_t n, capacity;
    const char *refused; /* what is not understood, or NULL */
    bool out_of_memory;
} translation;

typedef struct replacement {
    const char *from, *to;
} replacement;

static void emit(translation *t, const char *s, size_t n)
{
    size_t need;
    void *p = t->out;
    if (t->out_of_memory || !samba__add_size(t->n, n, &need) ||
        !samba__grow(t->alloc, &p, &t->capacity, need, 1)) {
        t->out_of_memory = true;
        return;
    }
    t->out = p;
    memcpy(t->out + t->n, s, n);
    t->n = need;
}

static void emit_text(translation *t, const char *s)
{
    emit(t, s, strlen(s));
}

/* Copies the next n bytes. */
static void copy(translation *t, size_t n)
{
    emit(t, t->in + t->at, n);
    t->at += n;
}

static char peek(const translation *t, size_t ahead)
{
    return t->at + ahead < t->size ? t->in[t->at + ahead] : 0;
}

static void refuse(translation *t, const char *what)
{
    if (!t->refused)
        t->refused = what;
}

/* Letters of a property name, lower case, without '_', '-' and ' '. */
static void property_name(const char *s, size_t n, char name[40])
{
    size_t k = 0;
    for (size_t i = 0; i < n && k < 39; i++)
        if (s[i] != '_' && s[i] != '-' && s[i] != ' ')
            name[k++] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    name[k] = 0;
}

static void emit_property(translation *t, const char *original, size_t n)
{
    static const replacement names[] = {
        {"letter", "L"},
        {"mark", "M"},
        {"number", "N"},
        {"punctuation", "P"},
        {"punct", "P"},
        {"symbol", "S"},
        {"separator", "Z"},
        {"other", "C"},
        {"uppercaseletter", "Lu"},
        {"lowercaseletter", "Ll"},
        {"titlecaseletter", "Lt"},
        {"modifierletter", "Lm"},
        {"otherletter", "Lo"},
        {"decimalnumber", "Nd"},
        {"digit", "Nd"},
        {"letternumber", "Nl"},
        {"othernumber", "No"},
        {"alpha", "Alphabetic"},
        {"alphabetic", "Alphabetic"},
        {"upper", "Uppercase"},
        {"uppercase", "Uppercase"},
        {"lower", "Lowercase"},
        {"lowercase", "Lowercase"},
        {"any", "Any"},
        {"whitespace", "White_Space"},
        {"space", "White_Space"},
        {"emoji", "Emoji"},
        {"extendedpictographic", "Extended_Pictographic"},
    };
    char name[40];
    property_name(original, n, name);
    if (n <= 2) {
        emit(t, original, n);
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].from, name) == 0) {
            emit_text(t, names[i].to);
            return;
        }
    }
    emit_text(t, "sc:"); /* else it can only be a script */
    emit(t, original, n);
}

/* \p{..}, \P{..}, \p{^..}; at the backslash. */
static void translate_property(translation *t)
{
    const char *open = t->in + t->at + 2;
    size_t left = t->size - t->at - 2;
    const char *close = left && *open == '{' ? memchr(open, '}', left) : NULL;
    if (!close) {
        refuse(t, "\\p without braces");
        return;
    }
    copy(t, 3);
    if (peek(t, 0) == '^')
        copy(t, 1);
    emit_property(t, t->in + t->at, (size_t)(close - (t->in + t->at)));
    emit_text(t, "}");
    t->at = (size_t)(close - t->in) + 1;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* \x{H..}, \xHH below 80, \uHHHH; at the backslash. */
static void translate_hex(translation *t)
{
    if (peek(t, 1) == 'u') {
        for (size_t i = 2; i < 6; i++)
            if (!is_hex(peek(t, i)))
                refuse(t, "\\u without four hexadecimal digits");
        t->at += 2;
        if (t->refused)
            return;
        emit_text(t, "\\x{");
        copy(t, 4);
        emit_text(t, "}");
    } else if (peek(t, 2) == '{') {
        size_t n = 3;
        while (is_hex(peek(t, n)))
            n++;
        if (peek(t, n) != '}')
            refuse(t, "\\x{ without }");
        copy(t, n);
        t->at += peek(t, 0) == '}';
        emit_text(t, "}");
    } else if (peek(t, 2) < '0' || peek(t, 2) > '7' || !is_hex(peek(t, 3))) {
        refuse(t, "a byte as \\xHH");
    } else {
        copy(t, 4);
    }
}

/* The replacement for escape letter c in the table, or NULL. */
static const char *find_escape(const replacement *table, size_t n, char c)
{
    for (size_t i = 0; i < n; i++)
        if (*table[i].from == c)
            return table[i].to;
    return NULL;
}

/* An escape; at the backslash. */
static void translate_escape(translation *t, bool in_class)
{
    static const replacement outside[] = {
        {"s", "[" SPACE "]"},
        {"S", "[^" SPACE "]"},
        {"w", "[" WORD "]"},
        {"W", "[^" WORD "]"},
        {"h", "[0-9a-fA-F]"},
        {"H", "[^0-9a-fA-F]"},
        {"v", "\\x0b"},
        {"O", "(?s:.)"},
        {"b", "(?:" BEFORE NOT_AFTER "|" NOT_BEFORE AFTER ")"},
        {"B", "(?:" BEFORE AFTER "|" NOT_BEFORE NOT_AFTER ")"},
    };
    static const replacement inside[] = {
        {"s", SPACE},
        {"w", WORD},
        {"h", "0-9a-fA-F"},
        {"v", "\\x0b"},
    };
    const char c = peek(t, 1);
    const char *to = in_class ? find_escape(inside, sizeof inside / sizeof *inside, c)
                              : find_escape(outside, sizeof outside / sizeof *outside, c);
    if (to) {
        emit_text(t, to);
        t->at += 2;
    } else if (c == 'p' || c == 'P') {
        translate_property(t);
    } else if (c == 'x' || c == 'u') {
        translate_hex(t);
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        if (!strchr(in_class ? "abdDefnrtS" : "adDefnrtAzZRXNkg", c))
            refuse(t, "an escape that means something else here");
        copy(t, 2);
    } else if (c == 0) {
        refuse(t, "a backslash at the end");
    } else {
        copy(t, 2); /* a multibyte character goes on as the next literal bytes */
    }
}

/* A bracket expression; at '['. Inner unions lose their brackets. */
static void translate_class(translation *t)
{
    size_t depth = 1;
    copy(t, peek(t, 1) == '^' ? 2 : 1);
    if (peek(t, 0) == ']')
        refuse(t, "an empty character class");
    while (depth && !t->refused) {
        const char c = peek(t, 0);
        if (t->at >= t->size) {
            refuse(t, "a character class without end");
        } else if (c == '\\') {
            translate_escape(t, true);
        } else if (c == '&' && peek(t, 1) == '&') {
            refuse(t, "an intersection of classes");
        } else if (c == '[') {
            if (strchr("^:]", peek(t, 1)) || (t->n && t->out[t->n - 1] == '-'))
                refuse(t, "a negated or POSIX class inside a class");
            depth++;
            t->at++;
        } else if (c == ']' && --depth) {
            if (peek(t, 1) == '-')
                refuse(t, "a range that begins with a class");
            t->at++;
        } else {
            copy(t, 1);
        }
    }
}

/* An opening parenthesis. */
static void translate_group(translation *t)
{
    if (peek(t, 1) == '*') {
        refuse(t, "(*");
        return;
    }
    if (peek(t, 1) != '?') {
        copy(t, 1);
        return;
    }
    if (peek(t, 2) && strchr(":=!>#<", peek(t, 2))) {
        copy(t, 3);
        return;
    }
    bool first = t->at == 0;
    copy(t, 2);
    while (peek(t, 0) && strchr("im-", peek(t, 0))) {
        if (peek(t, 0) == 'm') {
            emit_text(t, "s");
            t->at++;
        } else {
            copy(t, 1);
        }
    }
    if (peek(t, 0) != ':' && !(peek(t, 0) == ')' && first))
        refuse(t, "this kind of group, or an option in mid-pattern");
    else
        copy(t, 1);
}

/* A brace: an interval, or a literal. */
static void translate_brace(translation *t)
{
    size_t n = 1, digits = 0, commas = 0;
    for (; peek(t, n) == ',' || (peek(t, n) >= '0' && peek(t, n) <= '9'); n++)
        *(peek(t, n) == ',' ? &commas : &digits) += 1;
    if (peek(t, n) != '}' || commas > 1 || digits == 0) {
        copy(t, 1);
        return;
    }
    if (peek(t, n + 1) == '+' || (peek(t, n + 1) == '?' && !commas)) {
        refuse(t, "{n,m}+ or {n}?");
        return;
    }
    if (peek(t, 1) == ',') {
        emit_text(t, "{0");
        t->at++;
        n--;
    }
    copy(t, n + 1);
}

samba_status samba__regex_translate(const samba_allocator *a, samba__text pattern, char **out,
                                    size_t *out_size, samba_error **error)
{
    translation t = {.alloc = a, .in = pattern.data, .size = pattern.size};
    while (t.at < t.size && !t.refused && !t.out_of_memory) {
        switch (t.in[t.at]) {
        case '\\':
            translate_escape(&t, false);
            break;
        case '[':
            translate_class(&t);
            break;
        case '(':
            translate_group(&t);
            break;
        case '{':
            translate_brace(&t);
            break;
        default:
            copy(&t, 1);
        }
    }
    emit(&t, "", 1);
    if (t.refused || t.out_of_memory) {
        samba__free(a, t.out);
        if (t.out_of_memory)
            return samba__fail_oom(error);
        return samba__fail(a, error, SAMBA_ERROR_UNSUPPORTED, "tokenizer regex \"%.*s\": %s",
                           (int)(pattern.size < 200 ? pattern.size : 200), pattern.data, t.refused);
    }
    *out = t.out;
    *out_size = t.n - 1;
    return SAMBA_OK;
}
