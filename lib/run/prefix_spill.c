/* Prefix cache entries as files; see prefix_spill.h. */
#include "run/prefix_spill.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/folder.h"
#include "run/snapshot.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- names */

/* A hash of tokens that goes on token by token; of this model and type from the first. */
static uint64_t hash_start(const samba_model *m, samba_dtype kv_dtype)
{
    return samba__load_u64(m->id.all) ^ samba__load_u64(m->id.all + 8) * 3 ^ (uint64_t)kv_dtype;
}

static uint64_t hash_next(uint64_t h, samba_token token)
{
    h = (h ^ (uint32_t)token) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_of(const samba_model *m, const samba__prefix_key *key)
{
    uint64_t h = hash_start(m, key->kv_dtype);
    for (size_t i = 0; i < key->n; i++)
        h = hash_next(h, key->tokens[i]);
    return h;
}

static void make_name(const samba_model *m, samba__spill_file *f)
{
    char id[2 * SAMBA__HASH_BYTES + 1];
    for (size_t i = 0; i < SAMBA__HASH_BYTES; i++)
        snprintf(id + 2 * i, 3, "%02x", m->id.all[i]);
    snprintf(f->name, sizeof f->name, "prefix-%s-%s-%" PRIu64 "-%016" PRIx64 ".samba", id,
             samba_dtype_name(f->kv_dtype), f->n_tokens, f->hash);
}

static char *path_of(const samba__spill *spill, const samba__spill_file *f)
{
    return samba__path_join(spill->alloc, spill->folder, f->name);
}

/* ---------------------------------------------------------------- files */

/* Of a file read in whatever mode: what it stands for. MISMATCH: not for this cache. */
static samba_status describe(const samba__spill *spill, const samba_snapshot *s,
                             samba__prefix_key *key, samba__spill_file *f, samba_error **error)
{
    const samba__content *c = &s->content;
    samba_snapshot_info info = {.struct_size = sizeof info};
    samba__snapshot_info(s, &info);
    *key = (samba__prefix_key){.kv_dtype = info.kv_dtype, .n = (size_t)info.n_tokens};
    const samba__section *tokens = samba__content_find(c, SAMBA_SECTION_TOKENS);
    if (memcmp(info.fingerprint, spill->model->id.all, sizeof info.fingerprint) != 0 ||
        info.first_position || !info.n_tokens || info.n_tokens != info.position || !tokens)
        return samba__fail(spill->alloc, error, SAMBA_ERROR_MISMATCH,
                           "the snapshot is of another model, or not of all tokens from 0");
    key->tokens = (const samba_token *)(const void *)tokens->data;
    f->kv_dtype = info.kv_dtype;
    f->n_tokens = info.n_tokens;
    f->has_logits = info.has_logits;
    f->bytes = info.file_bytes;
    return SAMBA_OK;
}

static samba_status read_file(const samba__spill *spill, const char *name, samba_snapshot_mode mode,
                              samba_snapshot **snapshot, samba_error **error)
{
    const samba_snapshot_read_options options = {.struct_size = sizeof options,
                                                 .mode = mode,
                                                 .max_bytes = spill->limits.image_bytes,
                                                 .n_threads = 1};
    samba__source *source = NULL;
    char *path = samba__path_join(spill->alloc, spill->folder, name);
    if (!path)
        return samba__fail_oom(error);
    samba_status status = samba__source_open_path(spill->alloc, path, &source, error);
    if (status == SAMBA_OK)
        status = samba__snapshot_read(spill->model->context, source, &options, snapshot, error);
    samba__source_close(source);
    samba__free(spill->alloc, path);
    return status;
}

samba_status samba__spill_read(const samba__spill *spill, const samba__spill_file *file,
                               const samba__prefix_key *key, samba__layout *layout,
                               samba__image **image, samba_error **error)
{
    samba_snapshot *s = NULL;
    samba__prefix_key found;
    samba__spill_file facts;
    SAMBA__TRY(read_file(spill, file->name, SAMBA_SNAPSHOT_FULL, &s, error));
    samba_status status = describe(spill, s, &found, &facts, error);
    if (status == SAMBA_OK && (found.kv_dtype != key->kv_dtype || found.n != file->n_tokens ||
                               memcmp(found.tokens, key->tokens, found.n * sizeof *key->tokens)))
        status = samba__fail(spill->alloc, error, SAMBA_ERROR_MISMATCH,
                             "%s holds other tokens than its name says", file->name);
    if (status == SAMBA_OK)
        status = samba__content_image(&s->content, layout, image, error);
    samba__snapshot_release(s);
    return status;
}

samba_status samba__spill_write(const samba__spill *spill, samba__image *image,
                                samba__spill_file **file, samba_error **error)
{
    const samba_snapshot_write_options options = {
        .struct_size = sizeof options, .codec = SAMBA_CODEC_ZSTD, .zstd_level = 1, .n_threads = 1};
    const samba__prefix_key key = samba__prefix_key_of(image);
    const samba_snapshot_options no_metadata = {.struct_size = sizeof no_metadata};
    samba__spill_file *f = samba__calloc(spill->alloc, 1, sizeof *f);
    samba_snapshot *s = NULL;
    samba_status status = SAMBA_ERROR_OUT_OF_MEMORY;
    char *path = NULL;
    if (!f)
        return samba__fail_oom(error);
    f->kv_dtype = key.kv_dtype;
    f->n_tokens = key.n;
    f->hash = hash_of(spill->model, &key);
    f->has_logits = image->logits != NULL;
    make_name(spill->model, f);
    path = path_of(spill, f);
    if (!path) {
        samba__fail_oom(error);
        goto fail;
    }
    SAMBA__TRY_GOTO(samba__snapshot_of_image(spill->model, image, &no_metadata, &s, error));
    SAMBA__TRY_GOTO(samba__snapshot_write_file(s, path, &options, error));
    f->bytes = samba__file_bytes(path);
    *file = f;
    f = NULL;
fail:
    samba__snapshot_release(s);
    samba__free(spill->alloc, path);
    samba__free(spill->alloc, f);
    return status;
}

void samba__spill_delete(const samba__spill *spill, samba__spill_file *list)
{
    while (list) {
        samba__spill_file *f = list;
        char *path = path_of(spill, f);
        list = f->next;
        if (path)
            (void)samba__file_remove(path);
        samba__free(spill->alloc, path);
        samba__free(spill->alloc, f);
    }
}

/* ---------------------------------------------------------------- records */

static size_t find_name(const samba__spill *spill, const char *name)
{
    size_t i = 0;
    while (i < spill->n && strcmp(spill->files[i]->name, name) != 0)
        i++;
    return i;
}

bool samba__spill_find(samba__spill *spill, const samba__prefix_key *key, uint64_t more_than,
                       bool needs_logits, samba__spill_file *file)
{
    samba__spill_file *best = NULL;
    uint64_t h = hash_start(spill->model, key->kv_dtype);
    size_t at = 0;
    for (size_t i = 0; i < spill->n && spill->files[i]->n_tokens <= key->n; i++) {
        samba__spill_file *f = spill->files[i];
        while (at < f->n_tokens)
            h = hash_next(h, key->tokens[at++]);
        if (f->n_tokens > more_than && f->kv_dtype == key->kv_dtype && f->hash == h &&
            (f->n_tokens < key->n || !needs_logits || f->has_logits))
            best = f;
    }
    if (!best)
        return false;
    best->last_used = ++spill->clock;
    *file = *best;
    return true;
}

bool samba__spill_knows(samba__spill *spill, const samba__image *image)
{
    const samba__prefix_key key = samba__prefix_key_of(image);
    samba__spill_file f;
    return samba__spill_find(spill, &key, key.n - 1, image->logits != NULL, &f);
}

static samba__spill_file *take_out(samba__spill *spill, size_t i)
{
    samba__spill_file *f = spill->files[i];
    spill->n--;
    memmove(spill->files + i, spill->files + i + 1, (spill->n - i) * sizeof(samba__spill_file *));
    spill->bytes -= f->bytes;
    return f;
}

static bool put_in(samba__spill *spill, samba__spill_file *f)
{
    void *p = spill->files;
    size_t i = spill->n;
    if (!samba__grow(spill->alloc, &p, &spill->capacity, spill->n + 1, sizeof(samba__spill_file *)))
        return false;
    spill->files = p;
    for (; i > 0 && spill->files[i - 1]->n_tokens > f->n_tokens; i--)
        spill->files[i] = spill->files[i - 1];
    spill->files[i] = f;
    spill->n++;
    spill->bytes += f->bytes;
    return true;
}

static size_t oldest(const samba__spill *spill)
{
    size_t best = 0;
    for (size_t i = 1; i < spill->n; i++)
        if (spill->files[i]->last_used < spill->files[best]->last_used)
            best = i;
    return best;
}

static void give_up(samba__spill_file *f, samba__spill_file **old)
{
    f->next = *old;
    *old = f;
}

static void trim(samba__spill *spill, samba__spill_file **old)
{
    while (spill->bytes > spill->limits.file_bytes)
        give_up(take_out(spill, oldest(spill)), old);
}

void samba__spill_add(samba__spill *spill, samba__spill_file *file, samba__spill_file **old)
{
    size_t same = find_name(spill, file->name);
    if (same < spill->n) /* written twice, or again with logits: one file */
        samba__free(spill->alloc, take_out(spill, same));
    file->last_used = ++spill->clock;
    if (file->bytes > spill->limits.file_bytes || !put_in(spill, file))
        give_up(file, old);
    trim(spill, old);
}

void samba__spill_forget(samba__spill *spill, const samba__spill_file *file)
{
    size_t i = find_name(spill, file->name);
    if (i < spill->n)
        samba__free(spill->alloc, take_out(spill, i));
}

/* ---------------------------------------------------------------- life */

/* A file of the folder: ours if its header holds what its name says. Damaged and foreign ones are
 * left alone. */
static samba_status look_at(samba__spill *spill, const samba__folder_file *found)
{
    samba_snapshot *s = NULL;
    samba__prefix_key key;
    samba__spill_file *f = NULL;
    samba__spill_file facts = {0};
    samba_status status = read_file(spill, found->name, SAMBA_SNAPSHOT_HEADER, &s, NULL);
    if (status == SAMBA_OK)
        status = describe(spill, s, &key, &facts, NULL);
    if (status == SAMBA_OK) {
        facts.hash = hash_of(spill->model, &key);
        facts.last_used = (uint64_t)(found->modified > 0 ? found->modified : 0);
        make_name(spill->model, &facts);
    }
    samba__snapshot_release(s);
    if (status != SAMBA_OK || strcmp(facts.name, found->name) != 0)
        return status == SAMBA_ERROR_OUT_OF_MEMORY ? status : SAMBA_OK;
    f = samba__alloc(spill->alloc, sizeof *f);
    if (f)
        *f = facts;
    if (f && put_in(spill, f))
        return SAMBA_OK;
    samba__free(spill->alloc, f);
    return SAMBA_ERROR_OUT_OF_MEMORY;
}

typedef struct scan {
    samba__spill *spill;
    samba_status status;
} scan;

static bool show(void *arg, const samba__folder_file *file)
{
    scan *s = arg;
    const size_t n = strlen(file->name);
    if (n >= SAMBA__SPILL_NAME || strncmp(file->name, "prefix-", 7) != 0)
        return true;
    s->status = look_at(s->spill, file);
    return s->status == SAMBA_OK;
}

/* The times of the files become the clock's. */
static void set_clock(samba__spill *spill)
{
    for (size_t i = 0; i < spill->n; i++)
        if (spill->files[i]->last_used > spill->clock)
            spill->clock = spill->files[i]->last_used;
}

samba_status samba__spill_open(samba__spill *spill, samba_model *model, const char *folder,
                               const samba__spill_limits *limits, samba_error **error)
{
    const samba_allocator *a = model->alloc;
    scan s = {.spill = spill};
    samba__spill_file *old = NULL;
    samba_status status;
    *spill = (samba__spill){.alloc = a, .model = model, .limits = *limits};
    if (!folder)
        return SAMBA_OK;
    spill->folder = samba__strndup(a, folder, strlen(folder));
    if (!spill->folder)
        return samba__fail_oom(error);
    SAMBA__TRY_GOTO(samba__folder_list(a, spill->folder, show, &s, error));
    if (s.status != SAMBA_OK) {
        status = samba__fail_oom(error);
        goto fail;
    }
    set_clock(spill);
    trim(spill, &old);
    samba__spill_delete(spill, old);
    return SAMBA_OK;
fail:
    samba__spill_close(spill);
    return status;
}

void samba__spill_close(samba__spill *spill)
{
    for (size_t i = 0; i < spill->n; i++)
        samba__free(spill->alloc, spill->files[i]);
    if (spill->alloc) {
        samba__free(spill->alloc, spill->files);
        samba__free(spill->alloc, spill->folder);
    }
    *spill = (samba__spill){0};
}
