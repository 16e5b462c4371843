/*
 * Best of n: one prompt is read once, its session is cloned n times, the clones write on together
 * in one batch, each with a branch of its own, and the likeliest text wins. The allocator hooks
 * count what the clones cost: nothing until they move on, then only what differs.
 */
#include <samba.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST = 64, /* branches */
    TOKENS = 48,
    TEXT = 4096
};

typedef struct branch {
    samba_session *session;
    samba_token token; /* drawn, to be fed */
    double logprob;    /* of all that was drawn */
    size_t n;
    int ended;
} branch;

/* Bytes that the library holds. */
static size_t held;

static void *count_alloc(void *user_data, size_t size, size_t align)
{
    (void)user_data;
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    if (p)
        __atomic_fetch_add(&held, size, __ATOMIC_RELAXED);
    return p;
}

static void count_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)user_data;
    (void)align;
    __atomic_fetch_sub(&held, size, __ATOMIC_RELAXED);
    free(ptr);
}

/* Draws a token for each branch and feeds them in one batch, until all have ended. The same
 * sampler serves all: a draw depends on seed, branch and position only. */
static samba_status write_on(branch *b, size_t n, samba_sampler *sampler, samba_token eos,
                             samba_error **error)
{
    samba_status status = SAMBA_OK;
    for (int step = 0; step < TOKENS && !status; step++) {
        samba_eval_item items[MOST];
        size_t n_items = 0;
        for (size_t i = 0; i < n && !status; i++) {
            float logprob = 0;
            if (b[i].ended)
                continue;
            status = samba_session_sample(b[i].session, sampler, i, &b[i].token, &logprob, error);
            b[i].logprob += logprob;
            b[i].n++;
            b[i].ended = b[i].token == eos;
            if (!b[i].ended)
                items[n_items++] = (samba_eval_item){
                    .session = b[i].session, .tokens = &b[i].token, .n_tokens = 1};
        }
        if (!status)
            status = samba_eval_batch(items, n_items, sizeof *items, NULL, error);
    }
    return status;
}

/* What a branch has written behind the prompt. */
static samba_status print_text(const samba_model *model, const branch *b, uint64_t prompt_end,
                               samba_error **error)
{
    const samba_token *tokens;
    uint64_t first;
    size_t n, size;
    char text[TEXT];
    samba_status status = samba_session_tokens(b->session, &tokens, &first, &n, error);
    if (!status)
        status =
            samba_detokenize(model, tokens + (prompt_end - first), n - (size_t)(prompt_end - first),
                             NULL, text, sizeof text, &size, error);
    if (!status)
        printf("%.*s\n", (int)size, text);
    return status;
}

int main(int argc, char **argv)
{
    const char *prompt = argc > 2 ? argv[2] : "It was a dark night, and";
    size_t n = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 8;
    const samba_allocator counting = {sizeof counting, count_alloc, count_free, NULL};
    const samba_context_options options = {.struct_size = sizeof options, .allocator = &counting};
    samba_model_info info = {.struct_size = sizeof info};
    samba_context *context = NULL;
    samba_model *model = NULL;
    samba_session *session = NULL;
    samba_sampler *sampler = NULL;
    samba_error *error = NULL;
    branch b[MOST] = {{0}};
    size_t with_prompt = 0, with_clones = 0, best = 0;
    samba_status status = SAMBA_ERROR_INVALID_ARGUMENT;

    if (argc < 2 || n < 1 || n > MOST) {
        fprintf(stderr, "usage: fork MODEL [PROMPT [BRANCHES, at most %d]]\n", MOST);
        return 2;
    }
    if ((status = samba_context_create(&options, &context, &error)) ||
        (status = samba_model_load(context, argv[1], NULL, &model, &error)) ||
        (status = samba_model_get_info(model, &info, &error)) ||
        (status = samba_session_create(model, NULL, &session, &error)) ||
        (status = samba_sampler_create(context, &sampler, &error)) ||
        (status = samba_sampler_add_temperature(sampler, 0.8f, &error)) ||
        (status = samba_sampler_add_top_p(sampler, 0.95f, &error)) ||
        (status = samba_sampler_add_seed(sampler, 1, &error)) ||
        (status = samba_session_feed_text(session, prompt, SIZE_MAX, NULL, &error)))
        goto end;

    uint64_t prompt_end = samba_session_position(session);
    with_prompt = held;
    for (size_t i = 0; i < n && !status; i++)
        status = samba_session_clone(session, &b[i].session, &error);
    with_clones = held;
    if (status || (status = write_on(b, n, sampler, info.eos_token, &error)))
        goto end;
    for (size_t i = 0; i < n; i++) {
        printf("branch %2zu: %2zu tokens, mean log-probability %.3f\n", i, b[i].n,
               b[i].logprob / (double)b[i].n);
        if (b[i].logprob / (double)b[i].n > b[best].logprob / (double)b[best].n)
            best = i;
    }
    samba_session_stats stats = {.struct_size = sizeof stats};
    if ((status = samba_session_get_stats(b[best].session, &stats, &error)))
        goto end;
    printf("%zu clones: %.1f kB, after writing %.2f MB more; one session alone holds %.2f MB\n", n,
           (double)(with_clones - with_prompt) / 1e3, (double)(held - with_clones) / 1e6,
           (double)stats.state_bytes / 1e6);
    printf("best, branch %zu: %s", best, prompt);
    status = print_text(model, &b[best], prompt_end, &error);
end:
    if (status)
        fprintf(stderr, "fork: %s\n", error ? samba_error_message(error) : "failed");
    for (size_t i = 0; i < MOST; i++)
        samba_session_free(b[i].session);
    samba_session_free(session);
    samba_sampler_free(sampler);
    samba_model_release(model);
    samba_context_free(context);
    samba_error_free(error);
    return status != SAMBA_OK;
}
