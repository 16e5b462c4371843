/* The smallest host program: load a model, feed a prompt, print what the model writes. */
#include <samba.h>
#include <stdio.h>

/* Called for every token, on this thread; text comes in whole characters. */
static int32_t on_token(void *user_data, const samba_token_event *event)
{
    (void)user_data;
    fwrite(event->text, 1, event->text_size, stdout);
    fflush(stdout);
    return SAMBA_CONTINUE;
}

int main(int argc, char **argv)
{
    const char *prompt = argc > 2 ? argv[2] : "It was a dark night, and";
    samba_context *context = NULL; /* threads, memory, log */
    samba_model *model = NULL;     /* weights: shared by any number of sessions */
    samba_session *session = NULL; /* one conversation, in bounded memory */
    samba_error *error = NULL;
    samba_generate_options options = {.struct_size = sizeof options, .max_tokens = 64};

    /* NULL options are the defaults; NULL as the sampler takes the likeliest token each time. */
    if (argc < 2 || samba_context_create(NULL, &context, &error) ||
        samba_model_load(context, argv[1], NULL, &model, &error) ||
        samba_session_create(model, NULL, &session, &error) ||
        samba_session_feed_text(session, prompt, SIZE_MAX, NULL, &error) ||
        samba_session_generate(session, NULL, &options, on_token, NULL, NULL, &error))
        fprintf(stderr, "%s\n",
                error ? samba_error_message(error) : "usage: minimal MODEL [PROMPT]");
    int failed = argc < 2 || error;
    puts("");
    samba_session_free(session); /* NULL is fine for all of these */
    samba_model_release(model);
    samba_context_free(context);
    samba_error_free(error);
    return failed;
}
