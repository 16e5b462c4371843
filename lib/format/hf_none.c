/*
 * Stands in for safetensors.c and hf_dir.c in builds without JSON: such checkpoints are recognised
 * and refused by name.
 */
#include "format/containers.h"

static samba_status refuse(const samba_allocator *a, const char *path, samba_error **error)
{
    const samba__where where = {.file = path, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                          "this build reads GGUF files only, and %s is none", path);
}

samba_status samba__safetensors_read(samba__checkpoint *checkpoint, uint32_t file, size_t *capacity,
                                     samba_error **error)
{
    (void)capacity;
    return refuse(checkpoint->alloc, samba__source_name(checkpoint->sources[file]), error);
}

samba_status samba__hf_open_folder(const samba_allocator *a, const char *path,
                                   const samba__checkpoint_texts *texts,
                                   samba__checkpoint **checkpoint, samba_error **error)
{
    (void)texts;
    (void)checkpoint;
    return refuse(a, path, error);
}

samba_status samba__hf_read_texts(samba__checkpoint *checkpoint, const char *folder,
                                  const samba__checkpoint_texts *texts, samba_error **error)
{
    (void)folder;
    (void)texts;
    return refuse(checkpoint->alloc, checkpoint->path, error);
}
