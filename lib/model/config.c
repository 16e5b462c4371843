/* Typed getters over config.json; see config.h. */
#include "model/config.h"

#include <inttypes.h>
#include <string.h>

enum {
    SIZE_LIMIT = 1 << 24
};

bool samba__config_has(const samba__config *c, const char *key)
{
    return !samba__json_is_null(samba__json_get(c->root, key));
}

static samba_status fail_kind(const samba__config *c, const char *key, const char *kind,
                              samba_error **error)
{
    return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH, "%s: %s is not %s", c->what,
                             key, kind);
}

samba_status samba__config_int_or(const samba__config *c, const char *key, int64_t otherwise,
                                  int64_t *out, samba_error **error)
{
    *out = otherwise;
    if (!samba__config_has(c, key) || samba__json_int(samba__json_get(c->root, key), out))
        return SAMBA_OK;
    return fail_kind(c, key, "an integer", error);
}

samba_status samba__config_size_or(const samba__config *c, const char *key, uint32_t otherwise,
                                   uint32_t *out, samba_error **error)
{
    int64_t value;
    *out = otherwise;
    if (!samba__config_has(c, key))
        return SAMBA_OK;
    SAMBA__TRY(samba__config_int_or(c, key, 0, &value, error));
    if (value < 1 || value > SIZE_LIMIT)
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "%s: %s is %" PRId64 ", possible are 1 to %d", c->what, key, value,
                                 SIZE_LIMIT);
    *out = (uint32_t)value;
    return SAMBA_OK;
}

samba_status samba__config_size(const samba__config *c, const char *key, uint32_t *out,
                                samba_error **error)
{
    if (!samba__config_has(c, key))
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH, "%s: %s is missing",
                                 c->what, key);
    return samba__config_size_or(c, key, 0, out, error);
}

samba_status samba__config_rank(const samba__config *c, const char *key, uint32_t d_model,
                                uint32_t *out, samba_error **error)
{
    const char *text;
    size_t size;
    if (samba__json_string(samba__json_get(c->root, key), &text, &size) &&
        strcmp(text, "auto") == 0) {
        *out = (d_model + 15) / 16;
        return SAMBA_OK;
    }
    return samba__config_size_or(c, key, 0, out, error);
}

samba_status samba__config_bool_or(const samba__config *c, const char *key, bool otherwise,
                                   bool *out, samba_error **error)
{
    *out = otherwise;
    if (!samba__config_has(c, key) || samba__json_bool(samba__json_get(c->root, key), out))
        return SAMBA_OK;
    return fail_kind(c, key, "true or false", error);
}

samba_status samba__config_float_or(const samba__config *c, const char *key, double otherwise,
                                    double *out, samba_error **error)
{
    *out = otherwise;
    if (!samba__config_has(c, key) || samba__json_double(samba__json_get(c->root, key), out))
        return SAMBA_OK;
    return fail_kind(c, key, "a number", error);
}

samba_status samba__config_string(const samba__config *c, const char *key, const char **out,
                                  samba_error **error)
{
    size_t size;
    *out = NULL;
    if (!samba__config_has(c, key) ||
        (samba__json_string(samba__json_get(c->root, key), out, &size) && strlen(*out) == size))
        return SAMBA_OK;
    *out = NULL;
    return fail_kind(c, key, "a text", error);
}

/* Means "off", whatever its type. */
static bool is_off(const samba__json *v)
{
    const char *text;
    size_t size;
    double number;
    bool on;
    if (samba__json_is_null(v))
        return true;
    if (samba__json_bool(v, &on))
        return !on;
    if (samba__json_double(v, &number))
        return number == 0;
    if (samba__json_string(v, &text, &size))
        return size == 0;
    return samba__json_size(v) == 0;
}

samba_status samba__config_refuse(const samba__config *c, const char *key, samba_error **error)
{
    if (is_off(samba__json_get(c->root, key)))
        return SAMBA_OK;
    return samba__build_fail(c->build, error, SAMBA_ERROR_UNSUPPORTED,
                             "%s: %s is set, which this library does not support", c->what, key);
}

samba_status samba__config_one_of(const samba__config *c, const char *key, const char *const *texts,
                                  samba_error **error)
{
    const char *value;
    SAMBA__TRY(samba__config_string(c, key, &value, error));
    if (!value)
        return SAMBA_OK;
    for (size_t i = 0; texts[i]; i++)
        if (strcmp(value, texts[i]) == 0)
            return SAMBA_OK;
    return samba__build_fail(c->build, error, SAMBA_ERROR_UNSUPPORTED,
                             "%s: %s \"%.64s\" is not supported (%s is)", c->what, key, value,
                             texts[0]);
}
