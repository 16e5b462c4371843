/*
 * Hugging Face folders: config.json, weights in model.safetensors or in shards that
 * model.safetensors.index.json names, and texts about the tokenizer. Shard names are untrusted and
 * may not lead out of the folder. Keeps texts as text; who parses them is not known here.
 */
#include "format/containers.h"
#include "format/json.h"

#include <string.h>

#define INDEX_NAME "model.safetensors.index.json"
enum {
    MAX_TEXT = 16 << 20,
    MAX_TOKENIZER = 256 << 20,
    MAX_SHARDS = 256
};

/* ---- texts ---- */

static samba_status copy_text(const samba_allocator *a, const char *text, size_t size, char **to,
                              size_t *to_size, samba_error **error)
{
    *to = samba__strndup(a, text, size);
    if (!*to)
        return samba__fail_oom(error);
    *to_size = size;
    return SAMBA_OK;
}

/* Leaves *to alone if there is no such file. */
static samba_status read_text(const samba_allocator *a, const char *folder, const char *name,
                              size_t limit, char **to, size_t *to_size, samba_error **error)
{
    char *path = samba__path_join(a, folder, name);
    if (!path)
        return samba__fail_oom(error);
    samba_status status = SAMBA_OK;
    if (samba__path_exists(path))
        status = samba__file_read_all(a, path, limit, to, to_size, error);
    samba__free(a, path);
    return status;
}

samba_status samba__hf_read_texts(samba__checkpoint *checkpoint, const char *folder,
                                  const samba__checkpoint_texts *texts, samba_error **error)
{
    const samba_allocator *a = checkpoint->alloc;
    samba__checkpoint *c = checkpoint;
    if (texts && texts->config_json)
        SAMBA__TRY(copy_text(a, texts->config_json, texts->config_json_size, &c->config_json,
                             &c->config_json_size, error));
    else if (folder)
        SAMBA__TRY(read_text(a, folder, "config.json", MAX_TEXT, &c->config_json,
                             &c->config_json_size, error));
    if (texts && texts->tokenizer_json)
        SAMBA__TRY(copy_text(a, texts->tokenizer_json, texts->tokenizer_json_size,
                             &c->tokenizer_json, &c->tokenizer_json_size, error));
    else if (folder)
        SAMBA__TRY(read_text(a, folder, "tokenizer.json", MAX_TOKENIZER, &c->tokenizer_json,
                             &c->tokenizer_json_size, error));
    if (!folder)
        return SAMBA_OK;
    SAMBA__TRY(read_text(a, folder, "tokenizer_config.json", MAX_TEXT, &c->tokenizer_config_json,
                         &c->tokenizer_config_json_size, error));
    return read_text(a, folder, "generation_config.json", MAX_TEXT, &c->generation_config_json,
                     &c->generation_config_json_size, error);
}

/* ---- shards ---- */

typedef struct shards {
    const samba_allocator *alloc;
    const samba__json *map;        /* tensor name -> file name */
    const char *names[MAX_SHARDS]; /* borrowed from the JSON document */
    uint32_t n;
} shards;

static samba_status fail_index(const samba_allocator *a, const char *tensor, samba_status code,
                               const char *what, const char *value, samba_error **error)
{
    const samba__where where = {INDEX_NAME, tensor, SAMBA_NO_OFFSET};
    return samba__fail_at(a, error, code, &where, INDEX_NAME ": %s%s", what, value);
}

/* A plain file name: nothing that could lead elsewhere. */
static bool plain_name(const char *name, size_t size)
{
    return size > 0 && strlen(name) == size && !strpbrk(name, "/\\:") && !strstr(name, "..") &&
           strcmp(name, ".") != 0;
}

/* s->n if there is none. Neighbours in the map mostly share a shard: the newest is tried first. */
static uint32_t shard_number(const shards *s, const char *name)
{
    for (uint32_t i = s->n; i-- > 0;)
        if (strcmp(s->names[i], name) == 0)
            return i;
    return s->n;
}

static samba_status collect_shards(shards *s, samba_error **error)
{
    const char *tensor, *name;
    const samba__json *value;
    size_t size;
    if (!samba__json_is_object(s->map) || samba__json_size(s->map) == 0)
        return fail_index(s->alloc, NULL, SAMBA_ERROR_FORMAT,
                          "weight_map is no object with members", "", error);
    for (const void *it = samba__json_next(s->map, NULL, &tensor, &value); it;
         it = samba__json_next(s->map, it, &tensor, &value)) {
        if (!samba__json_string(value, &name, &size) || !plain_name(name, size))
            return fail_index(s->alloc, tensor, SAMBA_ERROR_FORMAT,
                              "no plain file name in this folder is given for tensor ", tensor,
                              error);
        if (shard_number(s, name) < s->n)
            continue;
        if (s->n == MAX_SHARDS)
            return fail_index(s->alloc, tensor, SAMBA_ERROR_LIMIT, "more than 256 shards", "",
                              error);
        s->names[s->n++] = name;
    }
    return SAMBA_OK;
}

/* Opens `name` in the checkpoint's folder and reads its tensors. */
static samba_status read_file(samba__checkpoint *c, const char *name, size_t *capacity,
                              samba_error **error)
{
    samba__source *source = NULL;
    char *path = samba__path_join(c->alloc, c->path, name);
    if (!path)
        return samba__fail_oom(error);
    samba_status status = samba__source_open_path(c->alloc, path, &source, error);
    samba__free(c->alloc, path);
    if (status != SAMBA_OK)
        return status;
    return samba__safetensors_read(c, samba__checkpoint_adopt(c, source), capacity, error);
}

/* Every tensor of the index must lie in the shard that the index names. */
static samba_status check_map(const shards *s, const samba__checkpoint *c, samba_error **error)
{
    const char *name, *shard;
    const samba__json *value;
    size_t size;
    for (const void *it = samba__json_next(s->map, NULL, &name, &value); it;
         it = samba__json_next(s->map, it, &name, &value)) {
        const samba__file_tensor *t = samba__checkpoint_find(c, name);
        if (!samba__json_string(value, &shard, &size))
            return fail_index(s->alloc, name, SAMBA_ERROR_INTERNAL, "lost a shard of ", name,
                              error);
        const samba__where where = {shard, name, SAMBA_NO_OFFSET};
        if (!t)
            return samba__fail_at(s->alloc, error, SAMBA_ERROR_MISMATCH, &where,
                                  INDEX_NAME " puts tensor %s in %s, which does not have it", name,
                                  shard);
        if (t->file != shard_number(s, shard))
            return samba__fail_at(s->alloc, error, SAMBA_ERROR_MISMATCH, &where,
                                  INDEX_NAME " puts tensor %s in %s, but it is in %s", name, shard,
                                  s->names[t->file]);
    }
    return SAMBA_OK;
}

static samba_status open_shards(const samba_allocator *a, const char *folder, shards *s,
                                samba__checkpoint **checkpoint, samba_error **error)
{
    samba__checkpoint *c = NULL;
    size_t capacity = 0;
    samba_status status;
    SAMBA__TRY(collect_shards(s, error));
    SAMBA__TRY(samba__checkpoint_new(a, folder, s->n, &c, error));
    for (uint32_t i = 0; i < s->n; i++)
        SAMBA__TRY_GOTO(read_file(c, s->names[i], &capacity, error));
    SAMBA__TRY_GOTO(samba__checkpoint_seal(c, error));
    SAMBA__TRY_GOTO(check_map(s, c, error));
    *checkpoint = c;
    return SAMBA_OK;
fail:
    samba__checkpoint_close(c);
    return status;
}

static samba_status open_index(const samba_allocator *a, const char *folder, const char *text,
                               size_t size, samba__checkpoint **checkpoint, samba_error **error)
{
    samba__json_doc *doc = NULL;
    SAMBA__TRY(samba__json_parse(a, text, size, INDEX_NAME, &doc, error));
    shards s = {.alloc = a, .map = samba__json_get(samba__json_root(doc), "weight_map")};
    samba_status status = open_shards(a, folder, &s, checkpoint, error);
    samba__json_free(doc);
    return status;
}

/* ---- folders ---- */

static samba_status open_single(const samba_allocator *a, const char *folder,
                                samba__checkpoint **checkpoint, samba_error **error)
{
    samba__checkpoint *c = NULL;
    size_t capacity = 0;
    samba_status status;
    SAMBA__TRY(samba__checkpoint_new(a, folder, 1, &c, error));
    SAMBA__TRY_GOTO(read_file(c, "model.safetensors", &capacity, error));
    SAMBA__TRY_GOTO(samba__checkpoint_seal(c, error));
    *checkpoint = c;
    return SAMBA_OK;
fail:
    samba__checkpoint_close(c);
    return status;
}

static samba_status has_file(const samba_allocator *a, const char *folder, const char *name,
                             bool *has, samba_error **error)
{
    char *path = samba__path_join(a, folder, name);
    if (!path)
        return samba__fail_oom(error);
    *has = samba__path_exists(path);
    samba__free(a, path);
    return SAMBA_OK;
}

static samba_status fail_folder(const samba_allocator *a, const char *folder, const char *what,
                                samba_error **error)
{
    const samba__where where = {.file = folder, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(a, error, SAMBA_ERROR_NOT_FOUND, &where, "folder %s %s", folder, what);
}

static samba_status open_weights(const samba_allocator *a, const char *folder,
                                 samba__checkpoint **checkpoint, samba_error **error)
{
    char *index = NULL;
    size_t size = 0;
    bool single = false, pickle = false;
    SAMBA__TRY(has_file(a, folder, "model.safetensors", &single, error));
    if (single)
        return open_single(a, folder, checkpoint, error);
    SAMBA__TRY(read_text(a, folder, INDEX_NAME, MAX_TEXT, &index, &size, error));
    if (index) {
        samba_status status = open_index(a, folder, index, size, checkpoint, error);
        samba__free(a, index);
        return status;
    }
    SAMBA__TRY(has_file(a, folder, "pytorch_model.bin", &pickle, error));
    return fail_folder(a, folder,
                       pickle ? "has pytorch_model.bin only, which is not read: convert it to "
                                "model.safetensors"
                              : "has neither model.safetensors nor " INDEX_NAME
                                " (for a GGUF file, give its own path)",
                       error);
}

samba_status samba__hf_open_folder(const samba_allocator *a, const char *path,
                                   const samba__checkpoint_texts *texts,
                                   samba__checkpoint **checkpoint, samba_error **error)
{
    samba__checkpoint *c = NULL;
    samba_status status;
    SAMBA__TRY(open_weights(a, path, &c, error));
    c->container = SAMBA__CONTAINER_SAFETENSORS;
    SAMBA__TRY_GOTO(samba__hf_read_texts(c, path, texts, error));
    if (!c->config_json) {
        status = fail_folder(a, path, "has no config.json", error);
        goto fail;
    }
    *checkpoint = c;
    return SAMBA_OK;
fail:
    samba__checkpoint_close(c);
    return status;
}
