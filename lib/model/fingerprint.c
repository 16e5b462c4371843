/*
 * The fingerprint; see fingerprint.h. What is hashed is spelled out here byte by byte and must
 * never change: snapshot files of every version name models by it.
 */
#include "model/fingerprint.h"
#include "base/bytes.h"
#include "base/half.h"
#include "model/roles.h"

#include <stdlib.h>
#include <string.h>

/* Bytes to be hashed; growing, and remembering when memory ran out. */
typedef struct text {
    const samba_allocator *alloc;
    void *data;
    size_t size, capacity;
    bool failed;
} text;

static void put(text *t, const void *data, size_t size)
{
    size_t need;
    if (t->failed || !samba__add_size(t->size, size, &need) ||
        !samba__grow(t->alloc, &t->data, &t->capacity, need, 1)) {
        t->failed = true;
        return;
    }
    if (size)
        memcpy((char *)t->data + t->size, data, size);
    t->size = need;
}

static void put_u32(text *t, uint32_t v)
{
    uint8_t b[4];
    samba__store_u32(b, v);
    put(t, b, sizeof b);
}

static void put_u64(text *t, uint64_t v)
{
    uint8_t b[8];
    samba__store_u64(b, v);
    put(t, b, sizeof b);
}

static void put_string(text *t, const char *s, size_t size)
{
    put_u64(t, size);
    put(t, s, size);
}

samba_status samba__fingerprint_begin(samba__fingerprint *f, const samba__plan *plan,
                                      samba_error **error)
{
    *f = (samba__fingerprint){.alloc = plan->alloc, .capacity = plan->n_weights};
    f->tensors = samba__alloc_array(plan->alloc, plan->n_weights, sizeof *f->tensors);
    return f->tensors ? SAMBA_OK : samba__fail_oom(error);
}

void samba__fingerprint_add(samba__fingerprint *f, const samba__weight *weight, samba_dtype dtype,
                            const void *data, size_t size)
{
    SAMBA__INVARIANT(f->n < f->capacity);
    samba__tensor_hash *h = &f->tensors[f->n++];
    h->weight = weight;
    h->dtype = dtype;
    samba__hash128(data, size, h->digest);
}

void samba__fingerprint_add_stream(samba__fingerprint *f, const samba__weight *weight,
                                   samba_dtype dtype, const samba__hash_stream *stream)
{
    SAMBA__INVARIANT(f->n < f->capacity);
    samba__tensor_hash *h = &f->tensors[f->n++];
    h->weight = weight;
    h->dtype = dtype;
    samba__hash_end(stream, h->digest);
}

void samba__fingerprint_free(samba__fingerprint *f)
{
    if (f->alloc)
        samba__free(f->alloc, f->tensors);
    *f = (samba__fingerprint){0};
}

static int by_name(const void *a, const void *b)
{
    const samba__tensor_hash *x = a, *y = b;
    return strcmp(x->weight->name, y->weight->name);
}

static void put_tensors(text *t, const samba__fingerprint *f)
{
    put_u64(t, f->n);
    for (size_t i = 0; i < f->n; i++) {
        const samba__tensor_hash *h = &f->tensors[i];
        put_string(t, h->weight->name, strlen(h->weight->name));
        put_u32(t, (uint32_t)h->dtype);
        put_u64(t, h->weight->vector ? 0 : h->weight->rows);
        put_u64(t, h->weight->cols);
        put(t, h->digest, sizeof h->digest);
    }
}

static void put_sublayer(text *t, const samba__plan_sublayer *s)
{
    put_u32(t, (uint32_t)s->desc.kind);
    put_u32(t, (uint32_t)s->desc.norm);
    put_u32(t, s->block);
    put_u32(t, (uint32_t)s->slab_slot);
    put_u32(t, (uint32_t)s->page_slot);
    for (size_t i = 0; i < samba__n_fields; i++) {
        uint32_t bits;
        memcpy(&bits, (const char *)&s->desc + samba__fields[i].offset, sizeof bits);
        put_string(t, samba__fields[i].name, strlen(samba__fields[i].name));
        put_u32(t, bits);
    }
}

static void put_plan(text *t, const samba__plan *p)
{
    put_u32(t, p->n_vocab);
    put_u32(t, p->d_model);
    put_u32(t, p->n_blocks);
    put_u32(t, p->n_sublayers);
    put_u32(t, (uint32_t)p->final_norm_kind);
    put_u32(t, samba__f32_bits(p->final_norm_eps));
    put_u32(t, p->head ? 1 : 0);
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        put_sublayer(t, &p->sublayers[i]);
}

/* ---- tokenizer ---- */

static void put_gguf_strings(text *t, const samba__gguf_value *v)
{
    put_u64(t, samba__gguf_array_size(v));
    for (size_t i = 0; i < samba__gguf_array_size(v); i++) {
        samba__string s = {"", 0};
        samba__gguf_array_string(v, i, &s);
        put_string(t, s.data, s.size);
    }
}

static void put_gguf_numbers(text *t, const samba__gguf_value *v)
{
    put_u64(t, samba__gguf_array_size(v));
    for (size_t i = 0; i < samba__gguf_array_size(v); i++) {
        double number = 0;
        int64_t integer;
        if (samba__gguf_array_i64(v, i, &integer))
            number = (double)integer;
        else
            samba__gguf_array_f64(v, i, &number);
        put_u32(t, samba__f32_bits((float)number));
    }
}

/* Files of other tools have the arrays only; ours, and folders, the text of tokenizer.json. */
static void put_tokenizer(text *t, const samba__checkpoint *k)
{
    samba__string s = {"", 0};
    if (k->container != SAMBA__CONTAINER_GGUF) {
        put_string(t, k->tokenizer_json, k->tokenizer_json ? k->tokenizer_json_size : 0);
        return;
    }
    const bool json =
        samba__gguf_get_string(samba__gguf_find(k->gguf, "tokenizer.huggingface.json"), &s);
    const samba__gguf_value *tokens = samba__gguf_find(k->gguf, "tokenizer.ggml.tokens");
    put_string(t, s.data, s.size);
    if (json || !tokens)
        return;
    s = (samba__string){"", 0};
    samba__gguf_get_string(samba__gguf_find(k->gguf, "tokenizer.ggml.model"), &s);
    put_string(t, s.data, s.size);
    s = (samba__string){"", 0};
    samba__gguf_get_string(samba__gguf_find(k->gguf, "tokenizer.ggml.pre"), &s);
    put_string(t, s.data, s.size);
    put_gguf_strings(t, tokens);
    put_gguf_strings(t, samba__gguf_find(k->gguf, "tokenizer.ggml.merges"));
    put_gguf_numbers(t, samba__gguf_find(k->gguf, "tokenizer.ggml.token_type"));
    put_gguf_numbers(t, samba__gguf_find(k->gguf, "tokenizer.ggml.scores"));
}

/* The text of one part, as it stands in the whole. */
static void digest_part(const text *t, size_t begin, size_t end, uint8_t out[SAMBA__HASH_BYTES])
{
    samba__hash128((const char *)t->data + begin, end - begin, out);
}

samba_status samba__fingerprint_end(samba__fingerprint *f, const samba__plan *plan,
                                    const samba__checkpoint *checkpoint, samba__model_id *id,
                                    samba_error **error)
{
    text t = {.alloc = f->alloc};
    if (f->n != plan->n_weights)
        return samba__fail(f->alloc, error, SAMBA_ERROR_INTERNAL,
                           "%zu weights were hashed, the plan has %zu", f->n, plan->n_weights);
    qsort(f->tensors, f->n, sizeof *f->tensors, by_name);
    put_string(&t, "samba model 1", 13);
    const size_t weights = t.size;
    put_tensors(&t, f);
    const size_t architecture = t.size;
    put_plan(&t, plan);
    const size_t tokenizer = t.size;
    put_tokenizer(&t, checkpoint);
    if (!t.failed) {
        digest_part(&t, 0, t.size, id->all);
        digest_part(&t, weights, architecture, id->weights);
        digest_part(&t, architecture, tokenizer, id->architecture);
        digest_part(&t, tokenizer, t.size, id->tokenizer);
    }
    samba__free(f->alloc, t.data);
    return t.failed ? samba__fail_oom(error) : SAMBA_OK;
}
