/* Collecting chunks and working on them with several threads; see rounds.h. */
#include "state/rounds.h"

samba_status samba__rounds_init(samba__rounds *r, const samba_allocator *a, uint32_t n_threads,
                                uint64_t bytes, samba_error **error)
{
    *r = (samba__rounds){.alloc = a, .n_threads = 1};
    if (bytes >= SAMBA__THREADS_FROM && n_threads > 1)
        r->n_threads = n_threads < SAMBA__ROUND_THREADS ? n_threads : SAMBA__ROUND_THREADS;
    for (uint32_t i = 0; i < r->n_threads; i++)
        r->codecs[i].alloc = a;
    const samba__pool_options options = {.n_threads = r->n_threads};
    return r->n_threads > 1 ? samba__pool_create(a, &options, &r->pool, error) : SAMBA_OK;
}

void samba__rounds_free(samba__rounds *r)
{
    if (!r->alloc)
        return;
    samba__pool_free(r->pool);
    for (uint32_t i = 0; i < r->n_threads; i++)
        samba__chunk_codec_free(&r->codecs[i]);
    samba__free(r->alloc, r->tasks);
    samba__free(r->alloc, r->in);
    samba__free(r->alloc, r->out);
    *r = (samba__rounds){0};
}

/* An empty buffer may be replaced. */
static bool room(const samba__rounds *r, uint8_t **buffer, size_t *capacity, size_t used,
                 size_t more)
{
    /* What one thread works on alone stays in its caches; several wait for the slowest. */
    const size_t each = r->n_threads > 1 ? SAMBA__ROUND_BYTES : SAMBA__CHUNK_BYTES;
    const size_t usual = each * r->n_threads;
    if (more <= *capacity - used)
        return true;
    if (used)
        return false;
    samba__free(r->alloc, *buffer);
    *capacity = 0;
    *buffer = samba__alloc_aligned(r->alloc, more > usual ? more : usual, 64);
    if (*buffer)
        *capacity = more > usual ? more : usual;
    return *buffer != NULL;
}

bool samba__rounds_room(samba__rounds *r, size_t in, size_t out)
{
    return room(r, &r->in, &r->in_capacity, r->in_used, in) &&
           room(r, &r->out, &r->out_capacity, r->out_used, out);
}

bool samba__rounds_add(samba__rounds *r, const samba__round_task *task)
{
    void *tasks = r->tasks;
    if (!samba__grow(r->alloc, &tasks, &r->capacity, r->n + 1, sizeof *r->tasks))
        return false;
    r->tasks = tasks;
    r->tasks[r->n++] = *task;
    return true;
}

static void work(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    samba__rounds *r = arg;
    (void)phase;
    for (size_t i = index; i < r->n; i += n) {
        samba__round_task *t = &r->tasks[i];
        t->result = r->decode ? samba__chunk_decode(&r->codecs[index], &t->chunk)
                              : samba__chunk_encode(&r->codecs[index], &t->chunk);
    }
}

void samba__rounds_run(samba__rounds *r)
{
    const samba__pool_job job = {.fn = work, .arg = r, .n_phases = 1};
    if (r->pool)
        samba__pool_run(r->pool, &job);
    else
        work(r, 0, 0, 1);
}

void samba__rounds_clear(samba__rounds *r)
{
    r->n = r->in_used = r->out_used = 0;
}
