/* JSON texts: parse, then ask every value everything. */
#include "base/alloc.h"
#include "format/json.h"
#include "fuzz/fuzz.h"

#include <string.h>

/* Depth of the value, so that the promised bound is checked too. */
static size_t walk_value(const samba__json *v)
{
    int64_t i;
    double d;
    bool b;
    const char *s = NULL, *key;
    size_t n = 0, depth = 0;
    const samba__json *member;
    if (samba__json_int(v, &i) && !samba__json_double(v, &d))
        __builtin_trap();
    if (samba__json_string(v, &s, &n) && (s[n] || samba__json_bool(v, &b)))
        __builtin_trap();
    if (!samba__json_is_array(v) && !samba__json_is_object(v))
        return 0;
    size_t members = samba__json_size(v);
    if (samba__json_is_array(v)) {
        for (size_t k = 0; k < members; k++) {
            const size_t below = walk_value(samba__json_at(v, k));
            depth = below > depth ? below : depth;
        }
        return depth + 1;
    }
    for (const void *it = samba__json_next(v, NULL, &key, &member); it;
         it = samba__json_next(v, it, &key, &member), members--) {
        const size_t below = walk_value(member);
        depth = below > depth ? below : depth;
        if (samba__json_get(v, key) != member)
            __builtin_trap();
    }
    if (members)
        __builtin_trap();
    return depth + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    samba__json_doc *doc = NULL;
    samba_error *error = NULL;
    const samba_status status =
        samba__json_parse(samba__alloc_default(), (const char *)data, size, "input", &doc, &error);
    if (status == SAMBA_OK ? walk_value(samba__json_root(doc)) > 64
                           : doc || samba_error_status(error) != status)
        __builtin_trap();
    samba__json_free(doc);
    samba_error_free(error);
    return 0;
}
