/*
 * What a C program gets: reads PROMPT, generates N tokens with top_p 0.9, temperature 0.8 and seed
 * 7, and prints the tokens; the last logits go to FILE.
 * Usage: reference MODEL PROMPT N FILE
 */
#include <samba.h>
#include <stdio.h>
#include <stdlib.h>

static int32_t on_token(void *user_data, const samba_token_event *event)
{
    (void)user_data;
    if (event->token >= 0)
        printf("%d ", (int)event->token);
    return SAMBA_CONTINUE;
}

static int write_logits(const samba_session *session, const char *path)
{
    const float *logits = NULL;
    size_t n = 0;
    FILE *f = fopen(path, "wb");
    if (!f || samba_session_logits(session, SAMBA_ROW_LAST, &logits, &n, NULL))
        return 1;
    int bad = fwrite(logits, sizeof *logits, n, f) != n;
    return fclose(f) || bad;
}

int main(int argc, char **argv)
{
    samba_context *context = NULL;
    samba_model *model = NULL;
    samba_session *session = NULL;
    samba_sampler *sampler = NULL;
    samba_generate_options o = {.struct_size = sizeof o};
    if (argc != 5)
        return 2;
    o.max_tokens = strtoull(argv[3], NULL, 10);
    o.ignore_eos = SAMBA_YES;
    if (samba_context_create(NULL, &context, NULL) ||
        samba_model_load(context, argv[1], NULL, &model, NULL) ||
        samba_session_create(model, NULL, &session, NULL) ||
        samba_sampler_create(context, &sampler, NULL) ||
        samba_sampler_add_temperature(sampler, 0.8f, NULL) ||
        samba_sampler_add_top_p(sampler, 0.9f, NULL) || samba_sampler_add_seed(sampler, 7, NULL) ||
        samba_session_feed_text(session, argv[2], SIZE_MAX, NULL, NULL) ||
        samba_session_generate(session, sampler, &o, on_token, NULL, NULL, NULL) ||
        write_logits(session, argv[4]))
        return 1;
    puts("");
    samba_sampler_free(sampler);
    samba_session_free(session);
    samba_model_release(model);
    samba_context_free(context);
    return 0;
}
