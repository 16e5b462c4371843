/* Generation at the boundary: checks arguments, delegates. */
#include "run/generate.h"
#include "api/options.h"

static samba_status refuse(const samba_session *session, samba_error **error, const char *what)
{
    return samba__fail(session ? session->alloc : samba__alloc_default(), error,
                       SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL", what);
}

static samba_status check_switch(const samba_session *s, const char *name, int32_t value,
                                 samba_error **error)
{
    if (value >= 0 && value <= SAMBA_NO)
        return SAMBA_OK;
    return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is %d, known are 0 to %d",
                       name, value, SAMBA_NO);
}

samba_status samba_session_generate(samba_session *session, samba_sampler *sampler,
                                    const samba_generate_options *options, samba_token_fn on_token,
                                    void *user_data, samba_generate_result *result,
                                    samba_error **error)
{
    const samba__listener listener = {.on_token = on_token, .user_data = user_data};
    samba_generate_options o;
    samba_generate_result r;
    if (!session)
        return refuse(NULL, error, "session");
    SAMBA__TRY(samba__options_read(session->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_generate_options", error));
    if (o.n_stop_tokens && !o.stop_tokens)
        return refuse(session, error, "stop_tokens");
    SAMBA__TRY(check_switch(session, "ignore_eos", o.ignore_eos, error));
    SAMBA__TRY(check_switch(session, "skip_special", o.skip_special, error));
    if (result && result->struct_size < sizeof result->struct_size)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_generate_result.struct_size is %zu", result->struct_size);
    SAMBA__TRY(samba__session_generate(session, sampler, &o, &listener, &r, error));
    return result ? samba__output_write(session->alloc, result, &r, sizeof r,
                                        "samba_generate_result", error)
                  : SAMBA_OK;
}
