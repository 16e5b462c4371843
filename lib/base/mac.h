/*
 * Message authentication: keyed BLAKE2b with 32 bytes of output (libsodium). Builds without
 * libsodium have mac_none.c, where nothing is available.
 */
#ifndef SAMBA_BASE_MAC_H
#define SAMBA_BASE_MAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SAMBA__MAC_BYTES = 32,
    SAMBA__MAC_KEY_MIN = 16,
    SAMBA__MAC_KEY_MAX = 64
};

typedef struct samba__mac {
    _Alignas(64) unsigned char state[384];
} samba__mac;

bool samba__mac_available(void);
/* The rest only where it is available; the key has KEY_MIN to KEY_MAX bytes. */
void samba__mac_begin(samba__mac *mac, const void *key, size_t key_size);
void samba__mac_update(samba__mac *mac, const void *data, size_t size);
/* Ends the stream and wipes it. */
void samba__mac_end(samba__mac *mac, uint8_t out[SAMBA__MAC_BYTES]);
/* In a time that does not depend on the bytes. */
bool samba__mac_equal(const uint8_t a[SAMBA__MAC_BYTES], const uint8_t b[SAMBA__MAC_BYTES]);

#endif
