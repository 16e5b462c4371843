/* Rewinding at the boundary: checks arguments, completes option structs, delegates to run/. */
#include "run/rewind.h"
#include "api/options.h"

static samba_status refuse(samba_error **error)
{
    return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT,
                       "session is NULL");
}

samba_status samba_session_pin(samba_session *session, samba_error **error)
{
    return session ? samba__session_pin(session, error) : refuse(error);
}

samba_status samba_session_unpin(samba_session *session, uint64_t position, samba_error **error)
{
    return session ? samba__session_unpin(session, position, error) : refuse(error);
}

samba_status samba_session_rewind(samba_session *session, uint64_t position,
                                  const samba_rewind_options *options, samba_rewind_report *report,
                                  samba_error **error)
{
    samba_rewind_options o;
    samba_rewind_report r;
    if (!session)
        return refuse(error);
    SAMBA__TRY(samba__options_read(session->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_rewind_options", error));
    if (report && report->struct_size < sizeof report->struct_size)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_rewind_report.struct_size is %zu", report->struct_size);
    SAMBA__TRY(samba__session_rewind(session, position, &o, &r, error));
    return report ? samba__output_write(session->alloc, report, &r, sizeof r, "samba_rewind_report",
                                        error)
                  : SAMBA_OK;
}
