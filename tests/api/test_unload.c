/*
 * The library comes and goes: opened, used with a stream, closed and unloaded, again and again. It
 * leaves no thread, no file and no memory behind. Usage: test_unload LIBRARY MODEL [--full]
 */
#include "samba.h"

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The functions of one life of the library. */
typedef struct library {
    void *handle;
    __typeof__(samba_context_create) *context_create;
    __typeof__(samba_context_free) *context_free;
    __typeof__(samba_model_load) *model_load;
    __typeof__(samba_model_release) *model_release;
    __typeof__(samba_session_create) *session_create;
    __typeof__(samba_session_free) *session_free;
    __typeof__(samba_stream_start) *stream_start;
    __typeof__(samba_stream_next) *stream_next;
    __typeof__(samba_stream_close) *stream_close;
} library;

static void find(const library *l, const char *name, void *to)
{
    void *f = dlsym(l->handle, name);
    if (!f) {
        fprintf(stderr, "no %s\n", name);
        exit(1);
    }
    memcpy(to, &f, sizeof f);
}

static void open_library(library *l, const char *path)
{
    l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!l->handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    find(l, "samba_context_create", &l->context_create);
    find(l, "samba_context_free", &l->context_free);
    find(l, "samba_model_load", &l->model_load);
    find(l, "samba_model_release", &l->model_release);
    find(l, "samba_session_create", &l->session_create);
    find(l, "samba_session_free", &l->session_free);
    find(l, "samba_stream_start", &l->stream_start);
    find(l, "samba_stream_next", &l->stream_next);
    find(l, "samba_stream_close", &l->stream_close);
}

/* Closes the stream in the middle of its work. */
static int use(const library *l, const char *model_path)
{
    samba_context *context = NULL;
    samba_model *model = NULL;
    samba_session *session = NULL;
    samba_stream *stream = NULL;
    samba_stream_event event = {.struct_size = sizeof event};
    const samba_token prompt[] = {1, 2, 3, 4};
    const samba_stream_options options = {
        .struct_size = sizeof options, .prompt = prompt, .n_prompt = 4, .ignore_eos = SAMBA_YES};
    int failed = l->context_create(NULL, &context, NULL) ||
                 l->model_load(context, model_path, NULL, &model, NULL) ||
                 l->session_create(model, NULL, &session, NULL) ||
                 l->stream_start(session, NULL, &options, &stream, NULL) ||
                 l->stream_next(stream, SAMBA_WAIT_FOREVER, &event, NULL) ||
                 event.kind != SAMBA_STREAM_TOKEN;
    l->session_free(session);
    l->model_release(model);
    l->context_free(context);
    l->stream_close(stream);
    return failed;
}

static long entries(const char *path)
{
    long n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* Bytes of address space: what is mapped past malloc counts here, what malloc keeps does not. */
static long mapped_bytes(void)
{
    long pages = 0;
    malloc_trim(0);
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Bytes that malloc has given out. */
static long heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return (long)(info.uordblks + info.hblkhd);
}

int main(int argc, char **argv)
{
    int rounds = argc > 3 && strcmp(argv[3], "--full") == 0 ? 1000 : 120;
    long threads = 0, files = 0, memory = 0, mapped = 0;
    mallopt(M_ARENA_MAX, 1);            /* else threads map arenas when they please, */
    mallopt(M_MMAP_THRESHOLD, 1 << 17); /* and malloc keeps more of what is freed with time */
    for (int i = 0; i < rounds; i++) {
        library l;
        open_library(&l, argv[1]);
        int failed = use(&l, argv[2]);
        dlclose(l.handle);
        if (failed || dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD)) {
            fprintf(stderr, "round %d: %s\n", i, failed ? "a call failed" : "still loaded");
            return 1;
        }
        if (i != rounds / 3)
            continue;
        threads = entries("/proc/self/task");
        files = entries("/proc/self/fd");
        memory = heap_bytes();
        mapped = mapped_bytes();
    }
    long memory_now = heap_bytes(), mapped_now = mapped_bytes(); /* printing takes some, too */
    printf("%d rounds: threads %ld -> %ld, files %ld -> %ld, heap %ld -> %ld, mapped "
           "%ld -> %ld bytes\n",
           rounds, threads, entries("/proc/self/task"), files, entries("/proc/self/fd"), memory,
           memory_now, mapped, mapped_now);
    return entries("/proc/self/task") != threads || entries("/proc/self/fd") != files ||
           mapped_now > mapped + (4 << 20) ||
           memory_now > memory + 128 * (long)rounds; /* what the loader itself keeps */
}
