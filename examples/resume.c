/*
 * Two processes hand a conversation over: the first reads a text, writes on, and saves; the second
 * goes on where it stopped, without reading anything again.
 *
 *     resume MODEL chat.samba "It was a dark night, and"
 *     resume MODEL chat.samba
 */
#include <samba.h>
#include <stdio.h>

static int32_t on_token(void *user_data, const samba_token_event *event)
{
    (void)user_data;
    fwrite(event->text, 1, event->text_size, stdout);
    return SAMBA_CONTINUE;
}

/* A new conversation that has read `text`, or the one saved in `path`. */
static samba_status start(samba_context *context, samba_model *model, const char *path,
                          const char *text, samba_session **session, samba_error **error)
{
    samba_snapshot *saved = NULL;
    samba_status status;
    if (text) {
        status = samba_session_create(model, NULL, session, error);
        return status ? status : samba_session_feed_text(*session, text, SIZE_MAX, NULL, error);
    }
    status = samba_snapshot_read_file(context, path, NULL, &saved, error);
    if (!status)
        status = samba_session_create_from(model, saved, NULL, session, error);
    samba_snapshot_release(saved);
    return status;
}

static samba_status save(const samba_session *session, const char *path, samba_error **error)
{
    samba_snapshot *snapshot = NULL;
    samba_status status = samba_session_snapshot(session, NULL, &snapshot, error);
    if (!status)
        status = samba_snapshot_write_file(snapshot, path, NULL, error);
    samba_snapshot_release(snapshot);
    return status;
}

int main(int argc, char **argv)
{
    samba_context *context = NULL;
    samba_model *model = NULL;
    samba_session *session = NULL;
    samba_error *error = NULL;
    samba_generate_options options = {.struct_size = sizeof options, .max_tokens = 48};

    if (argc < 3 || samba_context_create(NULL, &context, &error) ||
        samba_model_load(context, argv[1], NULL, &model, &error) ||
        start(context, model, argv[2], argc > 3 ? argv[3] : NULL, &session, &error) ||
        samba_session_generate(session, NULL, &options, on_token, NULL, NULL, &error) ||
        save(session, argv[2], &error))
        fprintf(stderr, "%s\n",
                error ? samba_error_message(error) : "usage: resume MODEL FILE [TEXT]");
    int failed = argc < 3 || error;
    puts("");
    samba_session_free(session);
    samba_model_release(model);
    samba_context_free(context);
    samba_error_free(error);
    return failed;
}
