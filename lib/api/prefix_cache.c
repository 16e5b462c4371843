/* The prefix cache at the boundary: checks arguments, completes option structs, delegates. */
#include "run/prefix_cache.h"
#include "api/options.h"

static samba_status refuse(samba_error **error, const char *what)
{
    return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL",
                       what);
}

samba_status samba_prefix_cache_create(samba_model *model,
                                       const samba_prefix_cache_options *options,
                                       samba_prefix_cache **cache, samba_error **error)
{
    samba_prefix_cache_options o;
    if (!model || !cache)
        return refuse(error, model ? "cache" : "model");
    SAMBA__TRY(samba__options_read(model->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_prefix_cache_options", error));
    return samba__prefix_cache_create(model, &o, cache, error);
}

void samba_prefix_cache_free(samba_prefix_cache *cache)
{
    samba__prefix_cache_free(cache);
}

static samba_status read_options(const samba_prefix_cache *c, const samba_eval_options *options,
                                 samba__prefix_prompt *prompt, samba_error **error)
{
    samba_eval_options o;
    SAMBA__TRY(samba__options_read(c->alloc, options, sizeof o, &o, sizeof o, "samba_eval_options",
                                   error));
    prompt->outputs = o.outputs ? o.outputs : SAMBA_OUTPUT_LAST;
    prompt->cancel = o.cancel;
    if (prompt->outputs != SAMBA_OUTPUT_LAST && prompt->outputs != SAMBA_OUTPUT_NONE)
        return samba__fail(c->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "outputs is %d: with a prefix cache, only those of the last token (%d) "
                           "or none (%d)",
                           o.outputs, SAMBA_OUTPUT_LAST, SAMBA_OUTPUT_NONE);
    if (o.hidden || o.speculative)
        return samba__fail(c->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "hidden and speculative must be default with a prefix cache");
    return SAMBA_OK;
}

samba_status samba_prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                     const samba_token *tokens, size_t n_tokens,
                                     const samba_eval_options *options, samba_prefix_report *report,
                                     samba_error **error)
{
    samba__prefix_prompt prompt = {.tokens = tokens, .n = n_tokens};
    samba_prefix_report done;
    if (!cache || !session || (!tokens && n_tokens))
        return refuse(error, !cache ? "cache" : !session ? "session" : "tokens");
    SAMBA__TRY(read_options(cache, options, &prompt, error));
    if (report && report->struct_size < sizeof report->struct_size)
        return samba__fail(cache->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_prefix_report.struct_size is %zu", report->struct_size);
    SAMBA__TRY(samba__prefix_cache_eval(cache, session, &prompt, &done, error));
    return report ? samba__output_write(cache->alloc, report, &done, sizeof done,
                                        "samba_prefix_report", error)
                  : SAMBA_OK;
}

samba_status samba_prefix_cache_put(samba_prefix_cache *cache, const samba_session *session,
                                    samba_error **error)
{
    if (!cache || !session)
        return refuse(error, cache ? "session" : "cache");
    return samba__prefix_cache_put(cache, session, error);
}

void samba_prefix_cache_clear(samba_prefix_cache *cache)
{
    if (cache)
        samba__prefix_cache_clear(cache);
}

samba_status samba_prefix_cache_flush(samba_prefix_cache *cache, samba_error **error)
{
    return cache ? samba__prefix_cache_flush(cache, error) : refuse(error, "cache");
}

samba_status samba_prefix_cache_get_stats(samba_prefix_cache *cache,
                                          samba_prefix_cache_stats *stats, samba_error **error)
{
    samba_prefix_cache_stats now;
    if (!cache)
        return refuse(error, "cache");
    samba__prefix_cache_get_stats(cache, &now);
    return samba__output_write(cache->alloc, stats, &now, sizeof now, "samba_prefix_cache_stats",
                               error);
}

const char *samba_prefix_reason_string(samba_prefix_reason reason)
{
    switch (reason) {
    case SAMBA_PREFIX_WHOLE:
        return "all tokens were found";
    case SAMBA_PREFIX_NEW:
        return "nothing cached begins with more of the tokens";
    case SAMBA_PREFIX_NOT_STORED:
        return "more of them is cached, but no image stands at that position";
    case SAMBA_PREFIX_NO_LOGITS:
        return "the image after the last token has no logits";
    case SAMBA_PREFIX_OTHER_KV_DTYPE:
        return "more of them is cached with keys and values of another type";
    case SAMBA_PREFIX_FILE_FAILED:
        return "more of them lies in a spilled file that could not be restored";
    default:
        return "unknown reason";
    }
}
