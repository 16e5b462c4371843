/* A build without libsodium: no authentication; callers refuse keys. See mac.h. */
#include "base/mac.h"

#include <string.h>

bool samba__mac_available(void)
{
    return false;
}

void samba__mac_begin(samba__mac *mac, const void *key, size_t key_size)
{
    (void)mac, (void)key, (void)key_size;
}

void samba__mac_update(samba__mac *mac, const void *data, size_t size)
{
    (void)mac, (void)data, (void)size;
}

void samba__mac_end(samba__mac *mac, uint8_t out[SAMBA__MAC_BYTES])
{
    (void)mac;
    memset(out, 0, SAMBA__MAC_BYTES);
}

bool samba__mac_equal(const uint8_t a[SAMBA__MAC_BYTES], const uint8_t b[SAMBA__MAC_BYTES])
{
    (void)a, (void)b;
    return false;
}
