/*
 * Compiling and searching. Patterns that are not on the list of known ones are compiled with a
 * callout before every item; the callout adds up the items tried and the bytes scanned, and ends
 * the search when the budget is spent. PCRE2's own match limit does not do: under JIT it does not
 * count the steps of single-character repeats, and it starts anew at every position.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "token/regex.h"
#include "token/patterns.h"

#include <pcre2.h>
#include <string.h>

struct samba__regex {
    const samba_allocator *alloc;
    pcre2_general_context *general;
    pcre2_code *code;
};

struct samba__searcher {
    const samba_allocator *alloc;
    pcre2_general_context *general;
    pcre2_match_context *context;
    pcre2_match_data *data;
    uint64_t budget;
    size_t last; /* position at the last callout */
};

enum {
    PATTERN_MAX = 16384,
    HEAP_MAX_KIB = 65536, /* backtracking memory of one search without JIT */
    BUDGET_BASE = 1 << 24,
    BUDGET_PER_BYTE = 512,
};

static void *hook_alloc(PCRE2_SIZE size, void *user_data)
{
    const samba_allocator *a = user_data;
    return samba__alloc(a, size);
}

static void hook_free(void *ptr, void *user_data)
{
    const samba_allocator *a = user_data;
    samba__free(a, ptr);
}

static pcre2_general_context *general_create(const samba_allocator *a)
{
    return pcre2_general_context_create(hook_alloc, hook_free, (void *)(uintptr_t)a);
}

static samba_status compile(samba__regex *r, samba__text source, const char *pattern, size_t size,
                            samba_error **error)
{
    pcre2_compile_context *context = pcre2_compile_context_create(r->general);
    if (!context)
        return samba__fail_oom(error);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_bsr(context, PCRE2_BSR_UNICODE);
    pcre2_set_parens_nest_limit(context, 64);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    if (!samba__pattern_is_linear(source))
        options |= PCRE2_AUTO_CALLOUT;
    int code = 0;
    PCRE2_SIZE offset = 0;
    r->code = pcre2_compile((PCRE2_SPTR)pattern, size, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (r->code)
        return SAMBA_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return samba__fail_oom(error);
    PCRE2_UCHAR message[160] = {0};
    pcre2_get_error_message(code, message, sizeof message);
    return samba__fail(r->alloc, error, SAMBA_ERROR_UNSUPPORTED, "tokenizer regex \"%.*s\": %s",
                       (int)(source.size < 200 ? source.size : 200), source.data,
                       (const char *)message);
}

samba_status samba__regex_create(const samba_allocator *a, samba__text pattern,
                                 samba__regex **regex, samba_error **error)
{
    char *translated = NULL;
    size_t size = 0;
    if (pattern.size > PATTERN_MAX)
        return samba__fail(a, error, SAMBA_ERROR_LIMIT,
                           "a tokenizer regex has %zu bytes, at most %d are allowed", pattern.size,
                           PATTERN_MAX);
    SAMBA__TRY(samba__regex_translate(a, pattern, &translated, &size, error));
    samba_status status;
    samba__regex *r = samba__calloc(a, 1, sizeof *r);
    if (!r || (r->alloc = a, r->general = general_create(a)) == NULL) {
        status = samba__fail_oom(error);
        goto fail;
    }
    SAMBA__TRY_GOTO(compile(r, pattern, translated, size, error));
    /* Without JIT (hardened hosts, other machines) the same code runs interpreted. */
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
    samba__free(a, translated);
    *regex = r;
    return SAMBA_OK;
fail:
    samba__free(a, translated);
    samba__regex_free(r);
    return status;
}

void samba__regex_free(samba__regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    /* PCRE2 keeps a freed piece of executable memory for the next pattern: of a library that is
     * unloaded with us for ever. */
    pcre2_jit_free_unused_memory(NULL);
    pcre2_general_context_free(regex->general);
    samba__free(regex->alloc, regex);
}

/* Charges one item, and the bytes passed over since the last one. */
static int on_callout(pcre2_callout_block *block, void *user_data)
{
    samba__searcher *s = user_data;
    size_t at = block->current_position;
    uint64_t cost = 1 + (at > s->last ? at - s->last : s->last - at);
    s->last = at;
    if (cost > s->budget) {
        s->budget = 0;
        return PCRE2_ERROR_CALLOUT;
    }
    s->budget -= cost;
    return 0;
}

samba__searcher *samba__searcher_create(const samba_allocator *a, size_t text_size)
{
    samba__searcher *s = samba__calloc(a, 1, sizeof *s);
    if (!s)
        return NULL;
    s->alloc = a;
    s->general = general_create(a);
    s->context = s->general ? pcre2_match_context_create(s->general) : NULL;
    s->data = s->general ? pcre2_match_data_create(1, s->general) : NULL;
    if (!s->context || !s->data) {
        samba__searcher_free(s);
        return NULL;
    }
    s->budget = text_size > (UINT64_MAX - BUDGET_BASE) / BUDGET_PER_BYTE
                    ? UINT64_MAX
                    : (uint64_t)text_size * BUDGET_PER_BYTE + BUDGET_BASE;
    pcre2_set_callout(s->context, on_callout, s);
    pcre2_set_heap_limit(s->context, HEAP_MAX_KIB);
    return s;
}

void samba__searcher_free(samba__searcher *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    pcre2_general_context_free(s->general);
    samba__free(s->alloc, s);
}

static samba_status search_failed(samba__searcher *s, int code, samba_error **error)
{
    switch (code) {
    case PCRE2_ERROR_NOMEMORY:
        return samba__fail_oom(error);
    case PCRE2_ERROR_CALLOUT:
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_JIT_STACKLIMIT:
    case PCRE2_ERROR_RECURSELOOP:
        return samba__fail(s->alloc, error, SAMBA_ERROR_LIMIT,
                           "the tokenizer's regex takes too many steps on this text");
    default:
        return samba__fail(s->alloc, error, SAMBA_ERROR_INTERNAL, "regex search failed (%d)", code);
    }
}

samba_status samba__regex_find(const samba__regex *regex, samba__searcher *s, samba__text text,
                               size_t start, samba__match *match, samba_error **error)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text.data;
    s->last = start;
    int code = pcre2_match(regex->code, subject, text.size, start, PCRE2_NO_UTF_CHECK, s->data,
                           s->context);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT)
        code = pcre2_match(regex->code, subject, text.size, start,
                           PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->data, s->context);
    if (code == PCRE2_ERROR_NOMATCH) {
        *match = (samba__match){0};
        return SAMBA_OK;
    }
    if (code < 0)
        return search_failed(s, code, error);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->data);
    if (ends[0] > ends[1] || ends[0] < start) /* only through \K, which is refused */
        return search_failed(s, 0, error);
    *match = (samba__match){ends[0], ends[1], true};
    return SAMBA_OK;
}
