/*
 * Hostile model files through the public API: every truncation, thousands of random damages (the
 * seed is printed; --seed N repeats one), readers that fail. What must hold is in hostile.h.
 */
#include "damage.h"
#include "hostile.h"
#include "support/micro_model.h"
#include "support/rig.h"
#include "support/slow_build.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With a sanitizer weights are not cut at every byte: how many cuts are made is printed. */
enum {
    DAMAGES = 20000,
    TRUNCATION_STEP = SLOW_BUILD ? 7 : 1, /* in weights; headers are cut at every byte */
    SWEEP_STEP = SLOW_BUILD ? 5 : 1       /* coprime to the changes of one number, 22 */
};

static uint64_t first_seed = 20240607;

/* ---------------------------------------------------------------- whole files */

/* A model in every form. The tensors are those of a folder's model.safetensors. */
typedef struct subject {
    char folder[64], sharded[64]; /* written by us; "" if none */
    bytes config, tokenizer, safetensors, index, gguf;
    size_t safetensors_head, gguf_head; /* bytes before the weights */
} subject;

static subject micro;
/* Golden cases stand for the other families; their GGUF files for the other kinds of sublayers. */
static const char *const families[] = {"phi4flash",        "ms_gla",    "ms_retnet",
                                       "ms_samba_scattn",  "mamba_ssm", "ms_samba_gqa2",
                                       "mamba_hf_bias_ds8"};
enum {
    N_FAMILIES = sizeof families / sizeof *families
};
static subject family[N_FAMILIES];

static bytes read_in(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return bytes_read(path);
}

static void write_in(const bytes *b, const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    bytes_write(b, path);
}

static size_t safetensors_head(const bytes *b)
{
    size_t n = 0;
    for (size_t i = 8; i-- > 0;)
        n = n << 8 | b->data[i];
    return n + 8;
}

/* The weights of a GGUF file of ours are what is left of the file from the first tensor on. */
static size_t gguf_head(const bytes *gguf, const bytes *safetensors)
{
    size_t weights = safetensors->size - safetensors_head(safetensors);
    return gguf->size > weights ? gguf->size - weights : gguf->size;
}

static void make_gguf(subject *s, const char *folder, samba_dtype dtype)
{
    char path[128];
    samba_context *c = rig_context(&(rig_options){.n_threads = 1});
    const samba_convert_options o = {.struct_size = sizeof o, .weight_dtype = dtype};
    snprintf(path, sizeof path, "/tmp/samba-test-%ld.gguf", (long)getpid());
    CK_OK(samba_convert(c, folder, path, &o, NULL, RIG_ERROR));
    s->gguf = bytes_read(path);
    s->gguf_head = gguf_head(&s->gguf, &s->safetensors);
    unlink(path);
    samba_context_free(c);
}

/* Tensors of the file into two shards, one after the other, and an index of them. */
static void make_shards(subject *s)
{
    static const char *const names[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    static micro_tensor tensors[2][64];
    size_t n[2] = {0, 0};
    const char *key;
    json_t *value, *index = json_object(), *map = json_object();
    json_t *head =
        json_loadb((const char *)s->safetensors.data + 8, s->safetensors_head - 8, 0, NULL);
    json_object_foreach(head, key, value)
    {
        size_t shard = (n[0] + n[1]) % 2;
        micro_tensor *t = &tensors[shard][n[shard]++];
        json_t *offsets = json_object_get(value, "data_offsets");
        size_t from = (size_t)json_integer_value(json_array_get(offsets, 0));
        snprintf(t->name, sizeof t->name, "%s", key);
        t->dtype = json_string_value(json_object_get(value, "dtype"));
        t->rank = json_array_size(json_object_get(value, "shape"));
        for (size_t i = 0; i < t->rank; i++)
            t->shape[i] =
                (uint64_t)json_integer_value(json_array_get(json_object_get(value, "shape"), i));
        t->data = s->safetensors.data + s->safetensors_head + from;
        t->bytes = (size_t)json_integer_value(json_array_get(offsets, 1)) - from;
        json_object_set_new(map, key, json_string(names[shard]));
    }
    json_object_set_new(index, "metadata", json_pack("{s:i}", "total_size", 1000));
    json_object_set_new(index, "weight_map", map);
    ck_assert(micro_folder_make(s->sharded));
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", s->sharded, names[i]);
        ck_assert(micro_safetensors_write(path, tensors[i], n[i]));
    }
    char *text = json_dumps(index, JSON_INDENT(1));
    const bytes b = {(unsigned char *)text, strlen(text)};
    s->index = bytes_copy(&b);
    write_in(&s->index, s->sharded, "model.safetensors.index.json");
    write_in(&s->config, s->sharded, "config.json");
    free(text);
    json_decref(index);
    json_decref(head);
}

static void make_micro(void)
{
    const micro_options o = {.d_model = 8, .bf16 = true, .tokenizer = true};
    subject *s = &micro;
    ck_assert(micro_folder_make(s->folder));
    ck_assert(micro_model_write(s->folder, &o));
    s->config = read_in(s->folder, "config.json");
    s->tokenizer = read_in(s->folder, "tokenizer.json");
    s->safetensors = read_in(s->folder, "model.safetensors");
    s->safetensors_head = safetensors_head(&s->safetensors);
    make_gguf(s, s->folder, 0);
    make_shards(s);
}

static void make_families(void)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        char folder[512];
        snprintf(folder, sizeof folder, GOLDEN_CASES "/%s", families[i]);
        family[i].config = read_in(folder, "config.json");
        family[i].safetensors = read_in(folder, "model.safetensors");
        family[i].safetensors_head = safetensors_head(&family[i].safetensors);
        make_gguf(&family[i], folder, SAMBA_DTYPE_BF16);
    }
}

static void free_subject(subject *s)
{
    if (s->folder[0])
        micro_folder_remove(s->folder);
    if (s->sharded[0])
        micro_folder_remove(s->sharded);
    free(s->config.data);
    free(s->tokenizer.data);
    free(s->safetensors.data);
    free(s->index.data);
    free(s->gguf.data);
}

static void set_up(void)
{
    make_micro();
    make_families();
}

static void tear_down(void)
{
    const hostile_seen *seen = hostile_look();
    printf("  %zu attempts, %zu loaded; peak %zu bytes, at most %d + %.2f x input; slowest %.0f "
           "ms\n",
           seen->n, seen->loaded, seen->peak, (int)HOSTILE_FLOOR, seen->worst_ratio, seen->slowest);
    free_subject(&micro);
    for (size_t i = 0; i < N_FAMILIES; i++)
        free_subject(&family[i]);
}

/* ---------------------------------------------------------------- inputs */

static uint64_t total_of(const subject *s)
{
    return s->config.size + s->tokenizer.size + s->safetensors.size + s->index.size;
}

static hostile_input from_gguf(const bytes *b, size_t number, const char *what)
{
    return (hostile_input){
        .data = b->data, .size = b->size, .total = b->size, .number = number, .what = what};
}

/* safetensors in memory, with texts */
static hostile_input from_parts(const subject *s, const bytes *safetensors, size_t number,
                                const char *what)
{
    return (hostile_input){.data = safetensors->data,
                           .size = safetensors->size,
                           .config = (const char *)s->config.data,
                           .config_size = s->config.size,
                           .tokenizer = (const char *)s->tokenizer.data,
                           .tokenizer_size = s->tokenizer.size,
                           .total = safetensors->size + s->config.size + s->tokenizer.size,
                           .number = number,
                           .what = what};
}

static hostile_input from_folder(const char *folder, uint64_t total, size_t number,
                                 const char *what)
{
    return (hostile_input){.path = folder, .total = total, .number = number, .what = what};
}

typedef struct failing_reader {
    const bytes *b;
    size_t calls, fail_at; /* 0: never */
    int lasting;
} failing_reader;

static int32_t read_at(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    failing_reader *r = user_data;
    r->calls++;
    if (r->fail_at && (r->calls == r->fail_at || (r->lasting && r->calls > r->fail_at))) {
        memset(buffer, 0xa5, size / 2); /* half of it came, and was wrong */
        return 7;
    }
    ck_assert_msg(offset <= r->b->size && size <= r->b->size - offset,
                  "%zu bytes wanted at %llu of %zu", size, (unsigned long long)offset, r->b->size);
    memcpy(buffer, r->b->data + offset, size);
    return 0;
}

static samba_status try_reader(failing_reader *r, hostile_input in, int parallel)
{
    const samba_reader reader = {.struct_size = sizeof reader,
                                 .size = r->b->size,
                                 .read_at = read_at,
                                 .user_data = r,
                                 .parallel = parallel ? SAMBA_YES : SAMBA_NO};
    in.reader = &reader;
    in.data = NULL;
    return hostile_try(&in);
}

/* ---------------------------------------------------------------- truncation */

static size_t next_length(size_t length, size_t head)
{
    return length > head + TRUNCATION_STEP ? length - TRUNCATION_STEP : length - 1;
}

/* Weights end where the file ends: no proper prefix is a model. */
static void truncate_bytes(const bytes *whole, size_t head, bool gguf)
{
    size_t n = 0;
    for (size_t length = whole->size - 1; length + 1 > 0; length = next_length(length, head), n++) {
        bytes b = {malloc(length ? length : 1), length};
        memcpy(b.data, whole->data, length);
        hostile_input in = gguf ? from_gguf(&b, length, "GGUF cut at")
                                : from_parts(&micro, &b, length, "safetensors cut at");
        failing_reader r = {.b = &b};
        samba_status status = hostile_try(&in);
        ck_assert_msg(status != SAMBA_OK, "%s %zu loads", in.what, length);
        ck_assert_msg(try_reader(&r, in, length % 2) == status, "%s %zu: another status by reader",
                      in.what, length);
        free(b.data);
        if (!length)
            break;
    }
    printf("%s: %zu prefixes of %zu bytes, from memory and by reader\n",
           gguf ? "GGUF" : "safetensors", n + 1, whole->size);
}

START_TEST(truncated_weights_in_memory)
{
    const subject *s = &micro;
    hostile_input in = from_gguf(&s->gguf, 0, "whole");
    ck_assert_int_eq(hostile_try(&in), SAMBA_OK);
    in = from_parts(s, &s->safetensors, 0, "whole");
    ck_assert_int_eq(hostile_try(&in), SAMBA_OK);
    truncate_bytes(&s->gguf, s->gguf_head, true);
    truncate_bytes(&s->safetensors, s->safetensors_head, false);
}
END_TEST

/* Shortens the file where it lies. Texts may lose blanks at their end and stay whole. */
static void truncate_file(const char *load, const char *folder, const char *name, size_t size,
                          size_t head, bool text)
{
    char path[256];
    size_t n = 0, loaded = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    hostile_input in =
        from_folder(load ? path : folder, total_of(&micro) + micro.gguf.size, size, "file cut at");
    ck_assert_int_eq(hostile_try(&in), SAMBA_OK);
    for (size_t length = size - 1; length + 1 > 0; length = next_length(length, head), n++) {
        ck_assert_int_eq(truncate(path, (off_t)length), 0);
        in.number = length;
        bool good = hostile_try(&in) == SAMBA_OK;
        ck_assert_msg(!good || (text && length + 3 > size), "%s cut at %zu loads", name, length);
        loaded += good;
        if (!length)
            break;
    }
    printf("%s: %zu prefixes of %zu bytes by path, %zu load\n", name, n + 1, size, loaded);
}

START_TEST(truncated_files)
{
    const subject *s = &micro;
    write_in(&s->gguf, s->folder, "model.gguf");
    truncate_file("file", s->folder, "model.gguf", s->gguf.size, s->gguf_head, false);
    truncate_file(NULL, s->folder, "config.json", s->config.size, s->config.size, true);
    write_in(&s->config, s->folder, "config.json");
    truncate_file(NULL, s->folder, "tokenizer.json", s->tokenizer.size, s->tokenizer.size, true);
    write_in(&s->tokenizer, s->folder, "tokenizer.json");
    truncate_file(NULL, s->folder, "model.safetensors", s->safetensors.size, s->safetensors_head,
                  false);
    truncate_file(NULL, s->sharded, "model.safetensors.index.json", s->index.size, s->index.size,
                  true);
}
END_TEST

/* ---------------------------------------------------------------- damage */

/* How often on end; 1 to 3. */
static void damage(uint64_t *seed, bytes *b, void (*how)(uint64_t *, bytes *), size_t head)
{
    for (uint64_t k = damage_random(seed) % 3 + 1; k; k--) {
        if (damage_random(seed) % 4)
            how(seed, b);
        else
            damage_bytes(seed, b, head);
    }
}

static void try_config(uint64_t *seed, size_t i)
{
    subject s = i % 3 ? family[i / 3 % N_FAMILIES] : micro;
    s.config = bytes_copy(&s.config);
    damage(seed, &s.config, damage_json, s.config.size);
    hostile_input in = from_parts(&s, &s.safetensors, i, "damaged config.json");
    if (i % 9 == 0) {
        write_in(&s.config, micro.folder, "config.json");
        in = from_folder(micro.folder, total_of(&s), i, "damaged config.json of a folder");
    }
    hostile_try(&in);
    free(s.config.data);
}

static void try_safetensors(uint64_t *seed, size_t i)
{
    const subject *s = i % 8 ? &micro : &family[i / 8 % N_FAMILIES];
    bytes b = bytes_copy(&s->safetensors);
    damage(seed, &b, damage_safetensors, s->safetensors_head);
    hostile_input in = from_parts(s, &b, i, "damaged safetensors");
    hostile_try(&in);
    free(b.data);
}

static void try_tokenizer(uint64_t *seed, size_t i)
{
    subject s = micro;
    s.tokenizer = bytes_copy(&s.tokenizer);
    /* half of the damage goes where the settings are: before the vocabulary */
    damage(seed, &s.tokenizer, damage_json, i % 2 ? 1000 : s.tokenizer.size);
    hostile_input in = from_parts(&s, &s.safetensors, i, "damaged tokenizer.json");
    in.holes = 1;
    hostile_try(&in);
    free(s.tokenizer.data);
}

static void try_index(uint64_t *seed, size_t i)
{
    bytes b = bytes_copy(&micro.index);
    damage(seed, &b, damage_json, b.size);
    write_in(&b, micro.sharded, "model.safetensors.index.json");
    hostile_input in = from_folder(micro.sharded, total_of(&micro), i, "damaged index");
    hostile_try(&in);
    free(b.data);
}

static void try_gguf(uint64_t *seed, size_t i)
{
    const subject *s = i % 3 ? &family[i / 3 % N_FAMILIES] : &micro;
    bytes b = bytes_copy(&s->gguf);
    damage(seed, &b, damage_gguf, s->gguf_head);
    hostile_input in = from_gguf(&b, i, "damaged GGUF");
    hostile_try(&in);
    free(b.data);
}

static const struct {
    const char *name;
    size_t n;
    void (*attempt)(uint64_t *seed, size_t i);
} damages[] = {
    {"config.json", 4500, try_config},
    {"safetensors", 4000, try_safetensors},
    {"tokenizer.json", 3000, try_tokenizer},
    {"index", 1500, try_index},
    {"GGUF", 7000, try_gguf},
};
enum {
    N_DAMAGES = sizeof damages / sizeof *damages
};

/* Every attempt has a seed of its own: attempt i of kind k has first_seed + k * DAMAGES + i. */
START_TEST(random_damage)
{
    double start = rig_now();
    size_t n = damages[_i].n, before = hostile_look()->loaded;
    uint64_t base = first_seed + (uint64_t)_i * DAMAGES;
    printf("%s: %zu damages, seeds from %llu\n", damages[_i].name, n, (unsigned long long)base);
    for (size_t i = 0; i < n; i++) {
        uint64_t seed = base + i;
        damages[_i].attempt(&seed, i);
    }
    size_t loaded = hostile_look()->loaded - before;
    ck_assert_uint_gt(loaded, n / 200); /* damage slight enough to reach what lies behind */
    ck_assert_uint_lt(loaded, n - n / 10);
    printf("  %.1f s\n", (rig_now() - start) / 1e3);
}
END_TEST

/* ---------------------------------------------------------------- one value after the other */

static void sweep_gguf(const subject *s, const char *name)
{
    size_t n = 0, before = hostile_look()->loaded;
    for (;; n += SWEEP_STEP) {
        bytes b = bytes_copy(&s->gguf);
        bool more = damage_gguf_each(n, &b);
        hostile_input in = from_gguf(&b, n, name);
        if (more)
            hostile_try(&in);
        free(b.data);
        if (!more)
            break;
    }
    ck_assert_uint_gt(hostile_look()->loaded, before);
    printf("GGUF of %s: %zu changes of one number, each %d-th tried, %zu load\n", name, n,
           (int)SWEEP_STEP, hostile_look()->loaded - before);
}

static void sweep_config(const subject *s, const char *name)
{
    size_t n = 0, before = hostile_look()->loaded;
    for (;; n++) {
        subject t = *s;
        t.config = bytes_copy(&s->config);
        bool more = damage_json_each(n, &t.config);
        hostile_input in = from_parts(&t, &t.safetensors, n, name);
        if (more)
            hostile_try(&in);
        free(t.config.data);
        if (!more)
            break;
    }
    ck_assert_uint_gt(hostile_look()->loaded, before);
    printf("config.json of %s: %zu changes of one value, %zu load\n", name, n,
           hostile_look()->loaded - before);
}

/* _i: which family; the last is the micro model. */
START_TEST(every_value_in_turn)
{
    const subject *s = _i < N_FAMILIES ? &family[_i] : &micro;
    const char *name = _i < N_FAMILIES ? families[_i] : "the micro model";
    sweep_gguf(s, name);
    sweep_config(s, name);
}
END_TEST

/* ---------------------------------------------------------------- readers */

/* The n-th read fails, once or for good, for every n: always an error, IO by name. */
static void fail_reads(const hostile_input *in, const bytes *b)
{
    failing_reader r = {.b = b};
    ck_assert_int_eq(try_reader(&r, *in, 0), SAMBA_OK);
    size_t n_calls = r.calls;
    ck_assert_uint_gt(n_calls, 5);
    for (size_t n = 1; n <= n_calls; n++)
        for (int mode = 0; mode < 4; mode++) {
            r = (failing_reader){.b = b, .fail_at = n, .lasting = mode % 2};
            samba_status status = try_reader(&r, *in, mode / 2);
            ck_assert_msg(status == SAMBA_ERROR_IO, "%s: read %zu of %zu fails: %s", in->what, n,
                          n_calls, samba_status_string(status));
        }
    printf("%s: %zu reads\n", in->what, n_calls);
}

START_TEST(failing_readers)
{
    hostile_input in = from_gguf(&micro.gguf, 0, "reader of GGUF");
    fail_reads(&in, &micro.gguf);
    in = from_parts(&micro, &micro.safetensors, 0, "reader of safetensors");
    fail_reads(&in, &micro.safetensors);
    in = from_gguf(&family[0].gguf, 0, "reader of phi4flash");
    fail_reads(&in, &family[0].gguf);
}
END_TEST

static int32_t read_nothing(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    (void)user_data;
    (void)offset;
    memset(buffer, 0, size);
    return 0;
}

/* Readers that claim sizes out of this world. */
START_TEST(lying_readers)
{
    static const uint64_t sizes[] = {0,          1,          7,         8,          23,
                                     1ull << 32, 1ull << 62, INT64_MAX, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const samba_reader r = {.struct_size = sizeof r, .size = sizes[i], .read_at = read_nothing};
        const hostile_input in = {
            .reader = &r, .total = 1000, .number = i, .what = "reader of nothing"};
        ck_assert_int_ne(hostile_try(&in), SAMBA_OK);
    }
}
END_TEST

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--seed") == 0)
            first_seed = strtoull(argv[i + 1], NULL, 10);
    Suite *suite = suite_create("hostile");
    TCase *c = tcase_create("hostile");
    tcase_set_timeout(c, 900);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, truncated_weights_in_memory);
    tcase_add_test(c, truncated_files);
    tcase_add_loop_test(c, random_damage, 0, N_DAMAGES);
    tcase_add_loop_test(c, every_value_in_turn, 0, N_FAMILIES + 1);
    tcase_add_test(c, failing_readers);
    tcase_add_test(c, lying_readers);
    suite_add_tcase(suite, c);
    return rig_main(argc, argv, suite);
}
