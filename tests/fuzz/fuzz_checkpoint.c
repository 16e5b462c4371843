/* What the targets for GGUF and safetensors share. */
#include "format/util.h"
#include "fuzz/fuzz.h"

#include <stdlib.h>

typedef struct meter {
    size_t live, peak;
} meter;

static void *meter_alloc(void *user_data, size_t size, size_t align)
{
    meter *m = user_data;
    m->live += size;
    m->peak = m->live > m->peak ? m->live : m->peak;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void meter_free(void *user_data, void *ptr, size_t size, size_t align)
{
    meter *m = user_data;
    (void)align;
    m->live -= size;
    free(ptr);
}

void fuzz_checkpoint(const uint8_t *data, size_t size)
{
    meter m = {0};
    const samba_allocator a = {sizeof a, meter_alloc, meter_free, &m};
    samba__source *source = NULL;
    samba__checkpoint *c = NULL;
    samba_error *error = NULL;
    if (samba__source_open_memory(&a, data, size, "input", &source, &error) != SAMBA_OK)
        __builtin_trap();
    const samba_status status = samba__checkpoint_open_source(&a, source, NULL, &c, &error);
    if (m.peak > 65536 + 40 * size)
        __builtin_trap();
    if (status == SAMBA_OK ? !c || error || !walk(c) : c || samba_error_status(error) != status)
        __builtin_trap();
    samba__checkpoint_close(c);
    samba_error_free(error);
    if (m.live)
        __builtin_trap();
}
