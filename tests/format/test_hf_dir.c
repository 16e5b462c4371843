/* Hugging Face folders: one file, shards, texts, and indexes that lie or lead elsewhere. */
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INDEX "model.safetensors.index.json"

static char folder[256];

static void setup(void)
{
    temp_folder(folder, "hf-dir");
}

static void teardown(void)
{
    remove_folder(folder);
}

static void put_text(const char *name, const char *text)
{
    write_file(folder, name, text, strlen(text));
}

static void put_shard(const char *name, const char *header, size_t n, uint8_t first)
{
    blob b = safetensors_of(header, n, first);
    write_file(folder, name, b.data, b.size);
    blob_free(&b);
}

static void refused(samba_status status, const char *text)
{
    counting c;
    samba__checkpoint *ck = NULL;
    samba_error *e = NULL;
    counting_init(&c);
    const samba_status got = samba__checkpoint_open_path(&c.a, folder, NULL, &ck, &e);
    ck_assert_msg(got == status && strstr(samba_error_message(e), text), "status %d: %s (want %s)",
                  (int)got, samba_error_message(e), text);
    ck_assert_ptr_null(ck);
    samba_error_free(e);
    ck_assert_uint_eq(c.blocks, 0);
}

static samba__checkpoint *open_folder(const samba__checkpoint_texts *texts)
{
    samba__checkpoint *c = NULL;
    samba_error *e = NULL;
    const samba_status status =
        samba__checkpoint_open_path(samba__alloc_default(), folder, texts, &c, &e);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(e));
    ck_assert_int_eq(c->container, SAMBA__CONTAINER_SAFETENSORS);
    return c;
}

static void expect_text(const char *text, size_t size, const char *want)
{
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, want);
    ck_assert_uint_eq(size, strlen(want));
}

/* ---- one file ---- */

static void put_single(void)
{
    blob b = sample_safetensors();
    write_file(folder, "model.safetensors", b.data, b.size);
    blob_free(&b);
}

START_TEST(reads_texts)
{
    put_single();
    put_text("config.json", "{\"a\":1}");
    samba__checkpoint *c = open_folder(NULL);
    expect_text(c->config_json, c->config_json_size, "{\"a\":1}");
    ck_assert(!c->tokenizer_json && !c->tokenizer_config_json && !c->generation_config_json);
    samba__checkpoint_close(c);
    put_text("tokenizer.json", "T");
    put_text("tokenizer_config.json", "TC");
    put_text("generation_config.json", "G");
    c = open_folder(NULL);
    expect_text(c->tokenizer_json, c->tokenizer_json_size, "T");
    expect_text(c->tokenizer_config_json, c->tokenizer_config_json_size, "TC");
    expect_text(c->generation_config_json, c->generation_config_json_size, "G");
    ck_assert(walk(c));
    samba__checkpoint_close(c);
}
END_TEST

START_TEST(texts_given_take_the_place_of_files)
{
    const samba__checkpoint_texts texts = {"{}xx", 2, "tokens", 6};
    put_single();
    samba__checkpoint *c = open_folder(&texts); /* no config.json needed then */
    expect_text(c->config_json, c->config_json_size, "{}");
    expect_text(c->tokenizer_json, c->tokenizer_json_size, "tokens");
    samba__checkpoint_close(c);
    put_text("config.json", "{\"a\":1}");
    c = open_folder(&texts);
    expect_text(c->config_json, c->config_json_size, "{}");
    samba__checkpoint_close(c);
}
END_TEST

START_TEST(finds_texts_beside_a_file)
{
    char path[512];
    samba__checkpoint *c = NULL;
    put_single();
    put_text("config.json", "{\"a\":1}");
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ck_assert_int_eq(samba__checkpoint_open_path(samba__alloc_default(), path, NULL, &c, NULL),
                     SAMBA_OK);
    expect_text(c->config_json, c->config_json_size, "{\"a\":1}");
    ck_assert_ptr_null(c->tokenizer_json);
    samba__checkpoint_close(c);
}
END_TEST

START_TEST(names_what_is_missing)
{
    refused(SAMBA_ERROR_NOT_FOUND, "has neither model.safetensors nor " INDEX);
    put_text("pytorch_model.bin", "x");
    refused(SAMBA_ERROR_NOT_FOUND, "convert it to model.safetensors");
    put_single();
    refused(SAMBA_ERROR_NOT_FOUND, "has no config.json");
    put_text("model.safetensors", "GGUF, or so it says");
    refused(SAMBA_ERROR_FORMAT, "neither a GGUF nor a safetensors");
}
END_TEST

/* ---- shards ---- */

#define ENTRY(name, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" begin "," end "]}"

static void put_two_shards(void)
{
    put_text("config.json", "{}");
    put_shard("one.safetensors", "{" ENTRY("a", "0", "4") "," ENTRY("b", "4", "8") "}", 8, 10);
    put_shard("two.safetensors", "{" ENTRY("c", "0", "4") "}", 4, 50);
}

static const char good_index[] = "{\"metadata\":{\"total_size\":12},\"weight_map\":{"
                                 "\"c\":\"two.safetensors\",\"a\":\"one.safetensors\","
                                 "\"b\":\"one.safetensors\"}}";

START_TEST(reads_shards)
{
    static const struct {
        const char *name;
        uint8_t first;
    } want[] = {{"a", 10}, {"b", 14}, {"c", 50}};
    uint8_t data[4];
    put_two_shards();
    put_text(INDEX, good_index);
    samba__checkpoint *c = open_folder(NULL);
    ck_assert_uint_eq(c->n_tensors, 3);
    ck_assert_uint_eq(c->n_sources, 2);
    for (size_t i = 0; i < 3; i++) {
        const samba__file_tensor *t = samba__checkpoint_find(c, want[i].name);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(samba__checkpoint_read(c, t, 0, data, 4, NULL), SAMBA_OK);
        ck_assert_uint_eq(data[0], want[i].first);
        ck_assert_uint_eq(data[3], want[i].first + 3u);
    }
    ck_assert(walk(c));
    samba__checkpoint_close(c);
}
END_TEST

START_TEST(refuses_lying_indexes)
{
    put_two_shards();
    put_text(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\",\"z\":\"one.safetensors\"}}");
    refused(SAMBA_ERROR_MISMATCH, "puts tensor z in one.safetensors, which does not have it");
    put_text(INDEX, "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}");
    refused(SAMBA_ERROR_MISMATCH, "tensor a in two.safetensors, but it is in one.safetensors");
    put_text(INDEX, "{\"weight_map\":{\"a\":\"three.safetensors\"}}");
    refused(SAMBA_ERROR_IO, "three.safetensors");
    put_shard("two.safetensors", "{" ENTRY("a", "0", "4") "}", 4, 50);
    put_text(INDEX, "{\"weight_map\":{\"b\":\"one.safetensors\",\"a\":\"two.safetensors\"}}");
    refused(SAMBA_ERROR_FORMAT, "tensor a is there twice");
}
END_TEST

START_TEST(refuses_malformed_indexes)
{
    static const char *const texts[][2] = {
        {"", "line 1"},
        {"{}", "weight_map is no object"},
        {"[]", "weight_map is no object"},
        {"{\"weight_map\":[]}", "weight_map is no object"},
        {"{\"weight_map\":{}}", "weight_map is no object"},
        {"{\"weight_map\":{\"a\":1}}", "for tensor a"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", "duplicate"},
    };
    put_two_shards();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_text(INDEX, texts[i][0]);
        refused(SAMBA_ERROR_FORMAT, texts[i][1]);
    }
}
END_TEST

START_TEST(never_leaves_the_folder)
{
    static const char *const names[] = {
        "../one.safetensors",
        "/etc/passwd",
        "sub/one.safetensors",
        "..",
        ".",
        "",
        "C:one.safetensors",
        "..\\\\one",
        "one.safetensors\\u0000",
        "a..b",
        "one.safetensors/",
        "./one.safetensors",
    };
    char index[256];
    put_two_shards();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(index, sizeof index, "{\"weight_map\":{\"a\":\"%s\"}}", names[i]);
        put_text(INDEX, index);
        refused(SAMBA_ERROR_FORMAT, "no plain file name");
    }
}
END_TEST

START_TEST(bounds_the_number_of_shards)
{
    blob b = {0};
    char entry[64];
    put_two_shards();
    blob_put(&b, "{\"weight_map\":{", 15);
    for (int i = 0; i < 300; i++) {
        snprintf(entry, sizeof entry, "%s\"t%d\":\"shard%d\"", i ? "," : "", i, i);
        blob_put(&b, entry, strlen(entry));
    }
    blob_put(&b, "}}", 2);
    write_file(folder, INDEX, b.data, b.size);
    refused(SAMBA_ERROR_LIMIT, "256 shards");
    blob_free(&b);
}
END_TEST

START_TEST(survives_failing_allocations)
{
    size_t failures = 0;
    put_two_shards();
    put_text(INDEX, good_index);
    put_text("tokenizer.json", "{}");
    for (size_t n = 0;; n++) {
        counting c;
        samba__checkpoint *ck = NULL;
        samba_error *e = NULL;
        counting_init(&c);
        c.fail_at = n;
        const samba_status status = samba__checkpoint_open_path(&c.a, folder, NULL, &ck, &e);
        samba__checkpoint_close(ck);
        samba_error_free(e);
        ck_assert_uint_eq(c.blocks, 0);
        if (status == SAMBA_OK)
            break;
        ck_assert_int_eq(status, SAMBA_ERROR_OUT_OF_MEMORY);
        failures++;
    }
    ck_assert_uint_gt(failures, 20);
}
END_TEST

/* ---- the golden folders ---- */

START_TEST(opens_every_golden_folder)
{
    static const char cases[] = TEST_ROOT "/tests/golden/cases";
    DIR *d = opendir(cases);
    size_t n = 0;
    ck_assert_ptr_nonnull(d);
    for (const struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        char path[1024];
        samba__checkpoint *c = NULL;
        samba_error *e = NULL;
        struct stat st;
        snprintf(path, sizeof path, "%s/%s/config.json", cases, entry->d_name);
        if (entry->d_name[0] == '.' || stat(path, &st) != 0)
            continue;
        *strrchr(path, '/') = 0;
        const samba_status status =
            samba__checkpoint_open_path(samba__alloc_default(), path, NULL, &c, &e);
        ck_assert_msg(status == SAMBA_OK, "%s: %s", path, samba_error_message(e));
        ck_assert(c->config_json && c->n_tensors > 10 && walk(c));
        samba__checkpoint_close(c);
        n++;
    }
    closedir(d);
    ck_assert_uint_ge(n, 30);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/hf_dir");
    TCase *t = tcase_create("hf_dir");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, reads_texts);
    tcase_add_test(t, texts_given_take_the_place_of_files);
    tcase_add_test(t, finds_texts_beside_a_file);
    tcase_add_test(t, names_what_is_missing);
    tcase_add_test(t, reads_shards);
    tcase_add_test(t, refuses_lying_indexes);
    tcase_add_test(t, refuses_malformed_indexes);
    tcase_add_test(t, never_leaves_the_folder);
    tcase_add_test(t, bounds_the_number_of_shards);
    tcase_add_test(t, survives_failing_allocations);
    tcase_add_test(t, opens_every_golden_folder);
    suite_add_tcase(s, t);
    return run_suite(s);
}
