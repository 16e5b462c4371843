/*
 * Safetensors files: the input as a whole file, and again with its length field made to fit the
 * text between it and the last newline, so that damage to the JSON text gets past the first check.
 */
#include "base/bytes.h"
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_checkpoint(data, size);
    if (size < 9)
        return 0;
    uint8_t *file = malloc(size);
    if (!file)
        return 0;
    memcpy(file, data, size);
    size_t end = size;
    while (end > 9 && file[end - 1] != '\n')
        end--;
    samba__store_u64(file, end - 8);
    fuzz_checkpoint(file, size);
    free(file);
    return 0;
}
