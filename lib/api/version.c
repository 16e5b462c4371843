/* The version that runs; see samba.h. */
#include "samba.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

uint32_t samba_version_number(void)
{
    return SAMBA_VERSION_MAJOR * 1000000 + SAMBA_VERSION_MINOR * 1000 + SAMBA_VERSION_PATCH;
}

const char *samba_version_string(void)
{
    return TEXT(SAMBA_VERSION_MAJOR) "." TEXT(SAMBA_VERSION_MINOR) "." TEXT(SAMBA_VERSION_PATCH);
}
