/* GGUF files. The magic is given, so that no effort goes into finding it. */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    uint8_t *file = malloc(size);
    if (!file)
        return 0;
    memcpy(file, data, size);
    memcpy(file, "GGUF", 4);
    fuzz_checkpoint(file, size);
    free(file);
    return 0;
}
