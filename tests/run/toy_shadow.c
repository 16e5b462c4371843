/* The toy's model in plain form, one token at a time; see toy_backend.h. */
#include "toy_backend.h"
#include "toy_hash.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

uint64_t toy_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state, 1);
}

samba_token toy_token(uint64_t *state)
{
    return (samba_token)(toy_random(state) % TOY_VOCAB);
}

void toy_logits(uint64_t h, float logits[TOY_VOCAB])
{
    for (uint32_t v = 0; v < TOY_VOCAB; v++)
        logits[v] = (float)(mix(h, v) >> 40) * (8.0f / 16777216.0f);
}

void toy_hidden(uint64_t h, float hidden[TOY_D_MODEL])
{
    for (uint32_t i = 0; i < TOY_D_MODEL; i++)
        hidden[i] = (float)(mix(h, 1000 + i) >> 40);
}

void toy_shadow_init(toy_shadow *s, bool full)
{
    *s = (toy_shadow){.full = full};
}

void toy_shadow_free(toy_shadow *s)
{
    free(s->tokens);
    for (int i = 0; i < 3; i++)
        free(s->values[i]);
    *s = (toy_shadow){.full = s->full};
}

static void shadow_room(toy_shadow *s, size_t n)
{
    if (n <= s->capacity)
        return;
    s->capacity = 2 * n + 16;
    s->tokens = realloc(s->tokens, s->capacity * sizeof *s->tokens);
    for (int i = 0; i < 3; i++)
        s->values[i] = realloc(s->values[i], s->capacity * sizeof(uint64_t));
}

void toy_shadow_copy(toy_shadow *to, const toy_shadow *from)
{
    toy_shadow_free(to);
    shadow_room(to, from->n);
    if (from->n)
        memcpy(to->tokens, from->tokens, from->n * sizeof *to->tokens);
    for (int i = 0; from->n && i < 3; i++)
        memcpy(to->values[i], from->values[i], from->n * sizeof(uint64_t));
    to->full = from->full;
    to->n = from->n;
    to->last = from->last;
    memcpy(to->slabs, from->slabs, sizeof to->slabs);
    memcpy(to->taps, from->taps, sizeof to->taps);
}

static uint64_t look_back(const uint64_t *values, size_t at, size_t window, uint64_t h)
{
    size_t first = window && at + 1 > window ? at + 1 - window : 0;
    for (size_t j = first; j <= at; j++)
        h = mix(h, values[j]);
    return h;
}

/* The sublayers, in order: slab, page A | slab, page B | page full or plain | cross or plain, plain
 */
void toy_shadow_feed(toy_shadow *s, samba_token token)
{
    uint64_t h = embed_of(token);
    size_t at = s->n;
    shadow_room(s, s->n + 1);
    s->tokens[s->n++] = token;
    h = mix(h, s->slabs[0] = slab_next(s->slabs[0], h));
    s->values[0][at] = stored(h, 1);
    h = s->taps[0] = look_back(s->values[0], at, TOY_WINDOW_A, h);
    h = mix(h, s->slabs[1] = slab_next(s->slabs[1], h));
    s->values[1][at] = stored(h, 3);
    h = s->taps[1] = look_back(s->values[1], at, TOY_WINDOW_B, h);
    s->values[2][at] = stored(h, 4);
    h = s->taps[2] = s->full ? look_back(s->values[2], at, 0, h) : mix(h, 4);
    h = s->full ? look_back(s->values[2], at, 0, h) : mix(h, 5);
    s->last = s->taps[3] = mix(h, 6);
}

void toy_shadow_cut(toy_shadow *s, size_t n)
{
    toy_shadow whole = *s;
    toy_shadow_init(s, whole.full);
    toy_shadow_feed_all(s, whole.tokens, n);
    toy_shadow_free(&whole);
}

void toy_shadow_feed_all(toy_shadow *s, const samba_token *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        toy_shadow_feed(s, tokens[i]);
}

void toy_check_session(const samba_session *session, const toy_shadow *s, bool has_logits)
{
    const samba_token *tokens = NULL;
    const float *logits = NULL;
    float expected[TOY_VOCAB];
    uint64_t first = 0;
    size_t n = 0;
    ck_assert_uint_eq(samba_session_position(session), s->n);
    ck_assert_int_eq(samba_session_tokens(session, &tokens, &first, &n, NULL), SAMBA_OK);
    ck_assert_uint_eq(first + n, s->n);
    if (n)
        ck_assert_mem_eq(tokens, s->tokens + first, n * sizeof *tokens);
    if (!has_logits) {
        ck_assert_uint_eq(samba_session_n_rows(session), 0);
        return;
    }
    ck_assert_int_eq(samba_session_logits(session, SAMBA_ROW_LAST, &logits, NULL, NULL), SAMBA_OK);
    toy_logits(s->last, expected);
    ck_assert_mem_eq(logits, expected, sizeof expected);
}
