/* Stands in for the families that read JSON, in builds without it. */
#include "model/family.h"

samba_status samba__family_folder(samba__build *b, samba_error **error)
{
    return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                             "this build of the library reads GGUF files only");
}
