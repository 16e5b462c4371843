/*
 * Keyed BLAKE2b by libsodium. sodium_init() is not called: it is process-wide, opens the system's
 * random device and picks faster code; hashing works without, and nothing here draws random bytes.
 */
#include "base/mac.h"

#include <sodium.h>

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(samba__mac), "a state fits");
_Static_assert(SAMBA__MAC_KEY_MIN == crypto_generichash_KEYBYTES_MIN &&
                   SAMBA__MAC_KEY_MAX == crypto_generichash_KEYBYTES_MAX,
               "libsodium's key sizes");

static crypto_generichash_state *state_of(samba__mac *mac)
{
    return (crypto_generichash_state *)(void *)mac->state;
}

bool samba__mac_available(void)
{
    return true;
}

void samba__mac_begin(samba__mac *mac, const void *key, size_t key_size)
{
    (void)crypto_generichash_init(state_of(mac), key, key_size, SAMBA__MAC_BYTES);
}

void samba__mac_update(samba__mac *mac, const void *data, size_t size)
{
    (void)crypto_generichash_update(state_of(mac), data, size);
}

void samba__mac_end(samba__mac *mac, uint8_t out[SAMBA__MAC_BYTES])
{
    (void)crypto_generichash_final(state_of(mac), out, SAMBA__MAC_BYTES);
    sodium_memzero(mac, sizeof *mac);
}

bool samba__mac_equal(const uint8_t a[SAMBA__MAC_BYTES], const uint8_t b[SAMBA__MAC_BYTES])
{
    return sodium_memcmp(a, b, SAMBA__MAC_BYTES) == 0;
}
