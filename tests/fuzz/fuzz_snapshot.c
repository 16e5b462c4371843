/*
 * Any bytes as a snapshot file: as they are, and with the checksums of header, sections, directory
 * and content made good, so that the fuzzer gets past them. Memory stays within max_bytes, a
 * failure leaves an error, and what reads can be written, with lossy keys and values too.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "state/snapshot_file.h"

#include <stdlib.h>

enum {
    HEADER = 256,
    ENTRY = 96,
    TRAILER = 80,
    MOST = 1 << 20
};

static samba_status ignore(void *arg, const void *data, size_t size, samba_error **error)
{
    (void)data, (void)error;
    *(uint64_t *)arg += size;
    return SAMBA_OK;
}

static void read_all(const uint8_t *data, size_t size, samba_snapshot_mode mode)
{
    const samba_allocator *a = samba__alloc_default();
    const samba__file_read o = {.mode = mode, .max_bytes = MOST, .n_threads = 1};
    samba__source *source = NULL;
    samba__content c = {0};
    samba_error *error = NULL;
    if (samba__source_open_memory(a, data, size, "input", &source, NULL) != SAMBA_OK)
        __builtin_trap();
    if (samba__content_read(source, a, &o, &c, &error) != SAMBA_OK) {
        if (!error || c.bytes)
            __builtin_trap();
    } else if (mode == SAMBA_SNAPSHOT_FULL) {
        for (int lossy = 0; lossy < 2; lossy++) {
            uint64_t written = 0;
            const samba__file_write w = {
                .codec = SAMBA_CODEC_ZSTD, .level = 1, .lossy_kv = lossy, .n_threads = 1};
            const samba__file_sink sink = {ignore, &written, NULL};
            if (samba__content_write(&c, &w, &sink, &error) != SAMBA_OK ||
                written > samba__content_file_bound(&c, lossy))
                __builtin_trap();
        }
    }
    samba__content_free(&c);
    samba_error_free(error);
    samba__source_close(source);
}

static void reseal(uint8_t *d, size_t size)
{
    const uint32_t header = samba__load_u32(d + 32), n = samba__load_u32(d + 76);
    uint8_t *t = d + size - TRAILER;
    samba__hash64_stream h;
    if (header < HEADER || header > size - TRAILER || n > (size - TRAILER - header) / ENTRY)
        return;
    const size_t directory = size - TRAILER - (size_t)n * ENTRY;
    samba__hash64_begin(&h);
    samba__hash64_update(&h, d, 248);
    samba__hash64_update(&h, d + HEADER, header - HEADER);
    samba__store_u64(d + 248, samba__hash64_end(&h));
    for (size_t i = 0; i < n; i++) {
        uint8_t *e = d + directory + i * ENTRY;
        const uint64_t at = samba__load_u64(e + 56), bytes = samba__load_u64(e + 64);
        if (at <= directory && bytes <= directory - at)
            samba__store_u64(e + 80, samba__hash64(d + at, (size_t)bytes));
    }
    samba__store_u64(t, directory);
    samba__store_u64(t + 8, (uint64_t)n * ENTRY);
    samba__store_u64(t + 16, size);
    samba__hash64_begin(&h);
    samba__hash64_update(&h, d + directory, (size_t)n * ENTRY);
    samba__hash64_update(&h, t, 24);
    samba__store_u64(t + 24, samba__hash64_end(&h));
    samba__hash128(d, size - 16, d + size - 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_all(data, size, SAMBA_SNAPSHOT_FULL);
    read_all(data, size, SAMBA_SNAPSHOT_HEADER);
    if (size < HEADER + TRAILER)
        return 0;
    uint8_t *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    reseal(copy, size);
    read_all(copy, size, SAMBA_SNAPSHOT_FULL);
    read_all(copy, size, SAMBA_SNAPSHOT_VERIFY);
    free(copy);
    return 0;
}
