/*
 * A fuzz target is one function. libFuzzer feeds it in builds with -Dfuzz=true; replay.c feeds it
 * the committed corpus in every build. Anything wrong traps.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Opens the bytes as one checkpoint file, reads every tensor, walks all metadata. Memory must stay
 * in proportion to `size` and nothing may leak. */
void fuzz_checkpoint(const uint8_t *data, size_t size);

#endif
