/* Reader of the golden cases. Trusts its files: they are ours. */
#include "golden_case.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *read_whole(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    ck_assert_int_gt(n, 0);
    rewind(f);
    void *data = malloc((size_t)n);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(fread(data, 1, (size_t)n, f), (size_t)n);
    fclose(f);
    *size = (size_t)n;
    return data;
}

static void read_values(golden_tensor *t, const char *dtype, const uint8_t *from)
{
    t->data = malloc(t->n * sizeof *t->data);
    ck_assert_ptr_nonnull(t->data);
    for (uint64_t i = 0; i < t->n; i++) {
        if (strcmp(dtype, "F32") == 0) {
            memcpy(&t->data[i], from + 4 * i, 4);
        } else if (strcmp(dtype, "I64") == 0) {
            int64_t v;
            memcpy(&v, from + 8 * i, 8);
            t->data[i] = (float)v;
        } else {
            int32_t v;
            ck_assert_str_eq(dtype, "I32");
            memcpy(&v, from + 4 * i, 4);
            t->data[i] = (float)v;
        }
    }
}

size_t golden_read_safetensors(const char *path, golden_tensor **tensors)
{
    size_t size, n = 0;
    uint8_t *file = read_whole(path, &size);
    uint64_t head;
    memcpy(&head, file, 8);
    json_t *root = json_loadb((const char *)file + 8, head, 0, NULL), *value;
    ck_assert_ptr_nonnull(root);
    golden_tensor *list = calloc(json_object_size(root), sizeof *list);
    const char *name;
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        golden_tensor *t = &list[n++];
        json_t *shape = json_object_get(value, "shape");
        snprintf(t->name, sizeof t->name, "%s", name);
        t->n_dims = (uint32_t)json_array_size(shape);
        t->n = 1;
        for (uint32_t i = 0; i < 4; i++) {
            t->shape[i] =
                i < t->n_dims ? (uint64_t)json_integer_value(json_array_get(shape, i)) : 1;
            t->n *= t->shape[i];
        }
        json_t *offsets = json_object_get(value, "data_offsets");
        uint64_t first = (uint64_t)json_integer_value(json_array_get(offsets, 0));
        read_values(t, json_string_value(json_object_get(value, "dtype")), file + 8 + head + first);
    }
    json_decref(root);
    free(file);
    *tensors = list;
    return n;
}

void golden_free_tensors(golden_tensor *tensors, size_t n)
{
    for (size_t i = 0; tensors && i < n; i++)
        free(tensors[i].data);
    free(tensors);
}

golden_case *golden_open(const char *root, const char *name)
{
    golden_case *c = calloc(1, sizeof *c);
    char path[700];
    snprintf(c->folder, sizeof c->folder, "%s/%s", root, name);
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(path, sizeof path, "%s/case.json", c->folder);
    json_t *json = json_load_file(path, 0, NULL);
    ck_assert_msg(json != NULL, "cannot read %s", path);
    json_t *tokens = json_object_get(json, "tokens");
    json_t *greedy = json_object_get(json, "greedy_continuation");
    c->n_tokens = json_array_size(tokens);
    c->n_greedy = json_array_size(greedy);
    ck_assert_uint_gt(c->n_tokens, 0);
    ck_assert_uint_le(c->n_greedy, sizeof c->greedy / sizeof c->greedy[0]);
    c->tokens = malloc(c->n_tokens * sizeof *c->tokens);
    for (size_t i = 0; i < c->n_tokens; i++)
        c->tokens[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    for (size_t i = 0; i < c->n_greedy; i++)
        c->greedy[i] = (int32_t)json_integer_value(json_array_get(greedy, i));
    const char *rope = json_string_value(json_object_get(json, "rope_cache_dtype"));
    snprintf(c->rope, sizeof c->rope, "%s", rope ? rope : "none");
    json_decref(json);
    snprintf(path, sizeof path, "%s/expected.safetensors", c->folder);
    c->n_tensors = golden_read_safetensors(path, &c->tensors);
    return c;
}

void golden_close(golden_case *c)
{
    if (!c)
        return;
    golden_free_tensors(c->tensors, c->n_tensors);
    free(c->tokens);
    free(c);
}

const golden_tensor *golden_find(const golden_case *c, const char *name)
{
    for (size_t i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensors[i].name, name) == 0)
            return &c->tensors[i];
    return NULL;
}

double golden_error(const float *got, const float *expected, size_t n)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)expected[i]);
        if (!isfinite(got[i]))
            return INFINITY;
        worst = d > worst ? d : worst;
        largest = fmax(largest, fabs((double)expected[i]));
    }
    return largest > 0 ? worst / largest : worst;
}
