/*
 * Writes micro models. Values are of the size that trained models have (norms near 1, A_log near
 * log n, a step of the scan between 0.01 and 0.1 or so), so that state, window and every tensor
 * matter to the logits; nothing is constant. No code of the library is used, half.h apart.
 */
#include "support/micro_model.h"
#include "base/half.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    D_STATE = 16,
    D_CONV = 4,
    DT_RANK = 2,
    MLP = 256, /* inner sizes are multiples of it */
    N_MERGES = 14,
    MAX_TENSORS = 512
};

typedef struct builder {
    micro_options o;
    uint64_t random;
    size_t n;
    micro_tensor *tensors; /* [MAX_TENSORS]; data owned */
    bool failed;
} builder;

/* How a tensor is filled: uniform in centre +- spread; A_log adds log(1 + column). */
typedef struct fill {
    float centre, spread;
    bool a_log, half;
} fill;

static float uniform(builder *b) /* [-1, 1), splitmix64 */
{
    uint64_t z = b->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1;
}

static void fill_values(builder *b, micro_tensor *t, size_t n, fill f)
{
    bool half = f.half && b->o.bf16;
    void *data = malloc(n * (half ? 2 : 4));
    if (!data) {
        b->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float x = f.centre + f.spread * uniform(b);
        if (f.a_log)
            x += logf((float)(1 + i % D_STATE));
        if (half)
            ((uint16_t *)data)[i] = samba__f32_to_bf16(x);
        else
            ((float *)data)[i] = x;
    }
    t->dtype = half ? "BF16" : "F32";
    t->data = data;
    t->bytes = n * (half ? 2 : 4);
}

/* Adds [rows], [rows][columns] or, for conv weights, [rows][1][columns]. */
static void add(builder *b, const char *prefix, const char *name, size_t rank, uint64_t rows,
                uint64_t columns, fill f)
{
    if (b->failed || b->n == MAX_TENSORS) {
        b->failed = true;
        return;
    }
    micro_tensor *t = &b->tensors[b->n++];
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    t->rank = rank;
    t->shape[0] = rows;
    t->shape[1] = rank == 3 ? 1 : columns;
    t->shape[2] = columns;
    fill_values(b, t, (size_t)(rows * (rank == 1 ? 1 : columns)), f);
}

static void add_vector(builder *b, const char *prefix, const char *name, uint64_t n, float centre,
                       float spread)
{
    add(b, prefix, name, 1, n, 1, (fill){.centre = centre, .spread = spread});
}

/* A projection that keeps the size of what goes through it. */
static void add_matrix(builder *b, const char *prefix, const char *name, uint64_t out, uint64_t in)
{
    add(b, prefix, name, 2, out, in, (fill){.spread = 1.7f / sqrtf((float)in), .half = true});
}

static void add_mamba(builder *b, const char *prefix)
{
    uint64_t d = b->o.d_model, e = 2 * d;
    add(b, prefix, "mixer.A_log", 2, e, D_STATE, (fill){.spread = 0.2f, .a_log = true});
    add_vector(b, prefix, "mixer.D", e, 1, 0.3f);
    add(b, prefix, "mixer.conv1d.weight", 3, e, D_CONV, (fill){.spread = 0.7f, .half = true});
    add_vector(b, prefix, "mixer.conv1d.bias", e, 0, 0.2f);
    add_matrix(b, prefix, "mixer.in_proj.weight", 2 * e, d);
    add_matrix(b, prefix, "mixer.x_proj.weight", DT_RANK + 2 * D_STATE, e);
    add(b, prefix, "mixer.dt_proj.weight", 2, e, DT_RANK, (fill){.spread = 0.7f});
    add_vector(b, prefix, "mixer.dt_proj.bias", e, -3, 1);
    add_matrix(b, prefix, "mixer.out_proj.weight", d, e);
}

static void add_attention(builder *b, const char *prefix)
{
    uint64_t d = b->o.d_model, head = d / b->o.n_heads;
    add_matrix(b, prefix, "mixer.q_proj.weight", d, d);
    add_matrix(b, prefix, "mixer.k_proj.weight", head, d);
    add_matrix(b, prefix, "mixer.v_proj.weight", head, d);
    add_matrix(b, prefix, "mixer.o_proj.weight", d, d);
}

static void add_all(builder *b)
{
    uint64_t d = b->o.d_model, inner = (d * 8 / 3 + MLP - 1) / MLP * MLP;
    add(b, "", "backbone.embeddings.weight", 2, b->o.n_vocab, d, (fill){.spread = 1, .half = true});
    for (uint32_t i = 0; i < b->o.n_blocks; i++) {
        char prefix[48];
        snprintf(prefix, sizeof prefix, "backbone.layers.%u.", (unsigned)i);
        add_vector(b, prefix, "mixer_norm.weight", d, 1, 0.2f);
        if (i % 2)
            add_attention(b, prefix);
        else
            add_mamba(b, prefix);
        add_vector(b, prefix, "mlp_norm.weight", d, 1, 0.2f);
        add_matrix(b, prefix, "mlp.gate_proj.weight", inner, d);
        add_matrix(b, prefix, "mlp.up_proj.weight", inner, d);
        add_matrix(b, prefix, "mlp.down_proj.weight", d, inner);
    }
    add_vector(b, "", "backbone.norm_f.weight", d, 1, 0.2f);
    if (!b->o.tied)
        add_matrix(b, "", "lm_head.weight", b->o.n_vocab, d);
}

/* ---------------------------------------------------------------- files */

static FILE *open_in(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "wb");
}

static bool close_file(FILE *f)
{
    bool good = !ferror(f);
    return fclose(f) == 0 && good;
}

/* The header's JSON; returns its length. `f` may be NULL to measure only. */
static size_t put_header(FILE *f, const micro_tensor *tensors, size_t n)
{
    char entry[512];
    size_t length = 2, at = 0;
    if (f)
        fputc('{', f);
    for (size_t i = 0; i < n; i++) {
        const micro_tensor *t = &tensors[i];
        size_t k = (size_t)snprintf(entry, sizeof entry, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                                    i ? "," : "", t->name, t->dtype);
        for (size_t r = 0; r < t->rank; r++)
            k += (size_t)snprintf(entry + k, sizeof entry - k, "%s%" PRIu64, r ? "," : "",
                                  t->shape[r]);
        k += (size_t)snprintf(entry + k, sizeof entry - k, "],\"data_offsets\":[%zu,%zu]}", at,
                              at + t->bytes);
        at += t->bytes;
        length += k;
        if (f)
            fputs(entry, f);
    }
    if (f)
        fputc('}', f);
    return length;
}

bool micro_safetensors_write(const char *path, const micro_tensor *tensors, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    size_t length = put_header(NULL, tensors, n), padded = (length + 7) & ~(size_t)7;
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)padded >> 8 * i & 0xff), f);
    put_header(f, tensors, n);
    for (size_t i = length; i < padded; i++)
        fputc(' ', f);
    for (size_t i = 0; i < n; i++)
        if (tensors[i].bytes)
            fwrite(tensors[i].data, 1, tensors[i].bytes, f);
    return close_file(f);
}

static bool write_config(const char *folder, const micro_options *o)
{
    FILE *f = open_in(folder, "config.json");
    if (!f)
        return false;
    fprintf(f,
            "{\"architectures\": [\"SambaForCausalLM\"], \"model_type\": \"samba\",\n"
            " \"hidden_size\": %u, \"num_hidden_layers\": %u, \"vocab_size\": %u,\n"
            " \"state_size\": %d, \"conv_kernel\": %d, \"expand\": 2, \"time_step_rank\": %d,\n"
            " \"norm_eps\": 1e-05, \"hidden_ratio\": 4, \"hidden_act\": \"swish\",\n"
            " \"use_bias\": false, \"use_conv_bias\": true, \"tie_word_embeddings\": %s,\n"
            " \"bos_token_id\": %d, \"eos_token_id\": %d, \"pad_token_id\": 0,\n"
            " \"max_position_embeddings\": 4096, \"torch_dtype\": \"%s\",\n",
            (unsigned)o->d_model, (unsigned)o->n_blocks, (unsigned)o->n_vocab, (int)D_STATE,
            (int)D_CONV, (int)DT_RANK, o->tied ? "true" : "false", o->tokenizer ? MICRO_BOS : 1,
            o->tokenizer ? MICRO_EOS : 2, o->bf16 ? "bfloat16" : "float32");
    fprintf(f, " \"attn\": {\"layers\": [");
    for (uint32_t i = 1; i < o->n_blocks; i += 2)
        fprintf(f, "%s%u", i > 1 ? ", " : "", (unsigned)i);
    fprintf(f, "], \"num_heads\": %u, \"num_kv_heads\": 1, \"qkv_bias\": false, ",
            (unsigned)o->n_heads);
    if (o->window == UINT32_MAX)
        fprintf(f, "\"window_size\": null, ");
    else
        fprintf(f, "\"window_size\": %u, ", (unsigned)o->window);
    fprintf(f, "\"rope_theta\": 10000.0}}\n");
    return close_file(f);
}

/* GPT-2's printable stand-in for a byte, as JSON text. */
static void byte_text(unsigned byte, char text[16])
{
    unsigned code = byte, shift = 0;
    bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    if (!printable) {
        for (unsigned i = 0; i < byte; i++)
            shift += !((i >= 33 && i <= 126) || (i >= 161 && i != 173));
        code = 256 + shift;
    }
    if (code == '"' || code == '\\')
        snprintf(text, 16, "\\%c", (int)code);
    else if (code < 128)
        snprintf(text, 16, "%c", (int)code);
    else
        snprintf(text, 16, "\\u%04x", code);
}

static const char *const merges[N_MERGES][2] = {
    {"h", "e"},
    {"t", "he"},
    {"i", "n"},
    {"\\u0120", "t"},
    {"\\u0120t", "he"},
    {"e", "r"},
    {"\\u0120", "a"},
    {"o", "n"},
    {"in", "g"},
    {"\\u0120", "s"},
    {"\\u00c3", "\\u00a9"},
    {"a", "n"},
    {"\\u0120a", "n"},
    {"\\u0120an", "d"},
};

static bool write_tokenizer(const char *folder)
{
    static const char *const specials[] = {"<|bos|>", "<|eos|>"};
    char text[16];
    FILE *f = open_in(folder, "tokenizer.json");
    if (!f)
        return false;
    fprintf(f,
            "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [");
    for (int i = 0; i < 2; i++)
        fprintf(f,
                "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, "
                "\"rstrip\": false, \"normalized\": false, \"special\": true}",
                i ? ", " : "", MICRO_BOS + i, specials[i]);
    fprintf(f, "],\n\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
               "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},\n"
               "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
               "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n"
               "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
               "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
               "\"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false,\n"
               "\"vocab\": {");
    for (unsigned i = 0; i < 256; i++) {
        byte_text(i, text);
        fprintf(f, "%s\"%s\": %u", i ? ", " : "", text, i);
    }
    for (int i = 0; i < N_MERGES; i++)
        fprintf(f, ", \"%s%s\": %d", merges[i][0], merges[i][1], 256 + i);
    fprintf(f, "},\n\"merges\": [");
    for (int i = 0; i < N_MERGES; i++)
        fprintf(f, "%s\"%s %s\"", i ? ", " : "", merges[i][0], merges[i][1]);
    fprintf(f, "]}}\n");
    return close_file(f);
}

static void set_defaults(micro_options *o)
{
    o->seed = o->seed ? o->seed : 1;
    o->d_model = o->d_model ? o->d_model : 16;
    o->n_blocks = o->n_blocks ? o->n_blocks : 2;
    o->n_vocab = o->n_vocab ? o->n_vocab : o->tokenizer ? MICRO_TOKENIZER_VOCAB : 32;
    o->window = o->window ? o->window : 8;
    o->n_heads = o->n_heads ? o->n_heads : 2;
}

bool micro_model_write(const char *folder, const micro_options *options)
{
    char path[1024];
    builder b = {.o = options ? *options : (micro_options){0}};
    set_defaults(&b.o);
    b.random = b.o.seed;
    b.tensors = calloc(MAX_TENSORS, sizeof *b.tensors);
    if (!b.tensors)
        return false;
    add_all(&b);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    bool good = !b.failed && micro_safetensors_write(path, b.tensors, b.n) &&
                write_config(folder, &b.o) && (!b.o.tokenizer || write_tokenizer(folder));
    for (size_t i = 0; i < b.n; i++)
        free((void *)(uintptr_t)b.tensors[i].data);
    free(b.tensors);
    return good;
}

bool micro_folder_make(char folder[64])
{
    snprintf(folder, 64, "/tmp/samba-test-XXXXXX");
    return mkdtemp(folder) != NULL;
}

void micro_folder_remove(const char *folder)
{
    char path[1024];
    DIR *d = opendir(folder);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            unlink(path);
        }
    closedir(d);
    rmdir(folder);
}
