/*
 * Strict UTF-8, one character at a time: no overlong forms, no surrogates, nothing above U+10FFFF.
 * The incremental side (samba__utf8_push, _flush) is declared in tokenizer.h.
 */
#ifndef SAMBA_TOKEN_UTF8_H
#define SAMBA_TOKEN_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The character at the start of bytes[0 .. size): its length 1..4, or 0 if there is none. */
size_t samba__utf8_decode(const char *bytes, size_t size, uint32_t *cp);
/* Writes 1..4 bytes; cp must be a valid character. */
size_t samba__utf8_encode(uint32_t cp, char *out);
/* Length of the longest valid prefix. */
size_t samba__utf8_valid_run(const char *bytes, size_t size);
/* Length of the longest prefix in which no valid character starts. */
size_t samba__utf8_invalid_run(const char *bytes, size_t size);

#endif
