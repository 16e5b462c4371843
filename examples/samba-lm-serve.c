/*
 * samba-lm serve-stdio: streams for hosts that prefer a child process. Requests come as lines of
 * JSON on stdin, read by a thread of their own; events go out as lines on stdout, all from the
 * loop's thread. The protocol is in `about`, below.
 */
#include "samba-lm-json.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char about[] =
    "Runs streams for a program that speaks JSON, one object a line, over stdin and stdout.\n"
    "\n"
    "Requests. \"id\" names a conversation; the answer carries it.\n"
    "  {\"op\": \"start\", \"id\": ID, ...}      continues the conversation, a new one if there is "
    "none\n"
    "      \"prompt\": TEXT or \"tokens\": [N, ...]  read first; needed in a new conversation\n"
    "      \"max_tokens\": N (256)  \"stop\": [TEXT, ...]  \"ignore_eos\": BOOL\n"
    "      \"temperature\": X  \"top_k\": N  \"top_p\": X  \"min_p\": X  \"seed\": N\n"
    "                             none of them: the likeliest token each time\n"
    "      \"logprobs\": N (0)  \"deadline_ms\": N  \"priority\": 1 to 100 (10)\n"
    "  {\"op\": \"cancel\", \"id\": ID}          ends what is being written\n"
    "  {\"op\": \"save\", \"id\": ID, \"file\": F} the conversation, as far as its events have "
    "come\n"
    "  {\"op\": \"resume\", \"id\": ID, \"file\": F}  a new conversation from a saved one\n"
    "  {\"op\": \"drop\", \"id\": ID}            ends and forgets the conversation\n"
    "  {\"op\": \"stats\"}\n"
    "The end of stdin lets what runs come to its end; then the program ends.\n"
    "\n"
    "Events.\n"
    "  {\"event\": \"ready\", \"model\": NAME, \"version\": TEXT}   the first line\n"
    "  {\"event\": \"started\" or \"saved\" or \"resumed\" or \"dropped\", \"id\": ID, "
    "\"position\": N}\n"
    "      with --cache, \"started\" says how much of conversation and prompt was there already:\n"
    "      \"matched\": N, \"restored\": N, \"replayed\": N, \"from_file\": BOOL, \"why\": TEXT "
    "(why\n"
    "      \"restored\", where reading begins, is not more)\n"
    "  {\"event\": \"token\", \"id\": ID, \"token\": N, \"position\": N, \"logprob\": X, \"text\": "
    "TEXT\n"
    "      [, \"top\": [[N, X], ...]]}\n"
    "  {\"event\": \"done\", \"id\": ID, \"reason\": R, \"tokens\": N, \"position\": N, \"text\": "
    "TEXT\n"
    "      [, \"stop\": N][, \"stop_token\": N][, \"message\": TEXT]}   once for every start;\n"
    "      R is token, length, string, cancelled, deadline or error; \"text\" is what is left of "
    "an\n"
    "      incomplete character, \"stop\" the index of the stop string\n"
    "  {\"event\": \"stats\", \"open\": N, \"running\": N, \"waiting\": N, \"conversations\": N,\n"
    "      \"passes\": N, \"rows\": N, \"pass_seconds\": X, \"overhead_seconds\": X}\n"
    "  {\"event\": \"error\", [\"id\": ID,] \"message\": TEXT}   the request did nothing\n";

typedef struct talk {
    char *id;
    size_t id_size;
    samba_session *session;
    samba_stream *stream; /* NULL: nothing is being written */
    struct server *server;
    struct talk *next;
} talk;

typedef struct line {
    struct line *next;
    size_t size;
    char text[];
} line;

typedef struct server {
    lm_host host;
    samba_prefix_cache *cache; /* NULL: none */
    uv_loop_t loop;
    uv_async_t arrival; /* closed at the end of stdin */
    uv_thread_t reader;
    uv_mutex_t lock;
    line *first, **last; /* under the lock, as the next */
    int ended;
    talk *talks;
} server;

/* ---- events */

static void open_event(const char *event, const talk *t)
{
    printf("{\"event\": \"%s\"", event);
    if (t) {
        printf(", \"id\": ");
        lm_json_string(stdout, t->id, t->id_size);
    }
}

static void print_text(const char *name, const char *text, size_t size)
{
    printf(", \"%s\": ", name);
    lm_json_string(stdout, text, size);
}

static void close_event(void)
{
    puts("}");
    fflush(stdout);
}

static void say(const char *event, const talk *t)
{
    samba_prefix_report r = {.struct_size = sizeof r};
    open_event(event, t);
    printf(", \"position\": %llu", (unsigned long long)samba_session_position(t->session));
    if (strcmp(event, "started") == 0 &&
        samba_stream_get_prefix_report(t->stream, &r, NULL) == SAMBA_OK) {
        const char *why = samba_prefix_reason_string(r.reason);
        printf(", \"matched\": %llu, \"restored\": %llu, \"replayed\": %llu, \"from_file\": %s",
               (unsigned long long)r.matched, (unsigned long long)r.restored,
               (unsigned long long)r.replayed, r.from_file ? "true" : "false");
        print_text("why", why, strlen(why));
    }
    close_event();
}

/* `id` may be NULL. Frees the error. */
static void complain(const lm_json *id, const char *message, samba_error *error)
{
    open_event("error", NULL);
    if (id && id->kind == LM_JSON_STRING)
        print_text("id", id->text, id->size);
    if (error)
        message = samba_error_message(error);
    print_text("message", message, strlen(message));
    close_event();
    samba_error_free(error);
}

static void print_token(const talk *t, const samba_stream_event *e)
{
    open_event("token", t);
    printf(", \"token\": %d, \"position\": %llu, \"logprob\": ", e->token,
           (unsigned long long)e->position);
    lm_json_number(stdout, (double)e->logprob);
    print_text("text", e->text, e->text_size);
    for (size_t i = 0; i < e->n_top; i++) {
        printf("%s[%d, ", i ? ", " : ", \"top\": [", e->top[i].token);
        lm_json_number(stdout, (double)e->top[i].logprob);
        printf("]%s", i + 1 == e->n_top ? "]" : "");
    }
    close_event();
}

static void print_done(const talk *t, const samba_stream_event *e)
{
    static const char *const reasons[] = {"",       "token",     "length",   "callback",
                                          "string", "cancelled", "deadline", "error"};
    open_event("done", t);
    printf(", \"reason\": \"%s\", \"tokens\": %llu, \"position\": %llu", reasons[e->reason],
           (unsigned long long)e->n_tokens, (unsigned long long)e->position);
    print_text("text", e->text, e->text_size);
    if (e->stop_string >= 0)
        printf(", \"stop\": %d", e->stop_string);
    if (e->stop_token >= 0)
        printf(", \"stop_token\": %d", e->stop_token);
    if (e->reason == SAMBA_STOP_ERROR)
        print_text("message", e->message, strlen(e->message));
    close_event();
}

static void on_event(void *user_data, samba_stream *stream, const samba_stream_event *event)
{
    talk *t = user_data;
    if (event->kind == SAMBA_STREAM_TOKEN) {
        print_token(t, event);
        return;
    }
    print_done(t, event);
    samba_stream_close(stream);
    t->stream = NULL;
    if (t->server->cache) /* for prompts that repeat the conversation */
        samba_prefix_cache_put(t->server->cache, t->session, NULL);
}

/* ---- conversations */

static talk **find(server *s, const lm_json *id)
{
    talk **at = &s->talks;
    while (*at && ((*at)->id_size != id->size || memcmp((*at)->id, id->text, id->size)))
        at = &(*at)->next;
    return at;
}

static talk *add(server *s, const lm_json *id, samba_session *session)
{
    talk *t = lm_alloc(NULL, 1, sizeof *t);
    *t = (talk){.session = session, .server = s, .next = s->talks, .id_size = id->size};
    t->id = lm_alloc(NULL, id->size, 1);
    memcpy(t->id, id->text, id->size);
    s->talks = t;
    return t;
}

static void drop(talk **at)
{
    talk *t = *at;
    *at = t->next;
    samba_stream_close(t->stream);
    samba_session_free(t->session);
    free(t->id);
    free(t);
}

/* ---- start */

/* A saved conversation may have come without its first tokens. */
static samba_prefix_cache *cache_for(const server *s, const talk *t)
{
    const samba_token *tokens;
    uint64_t first;
    size_t n;
    return samba_session_tokens(t->session, &tokens, &first, &n, NULL) == SAMBA_OK && first == 0 &&
                   n == samba_session_position(t->session)
               ? s->cache
               : NULL;
}

/* NULL sampler: no sampling asked for. */
static samba_status make_sampler(server *s, const lm_json *o, samba_sampler **sampler,
                                 samba_error **error)
{
    const lm_json *temperature = lm_json_member(o, "temperature"),
                  *top_k = lm_json_member(o, "top_k"), *top_p = lm_json_member(o, "top_p"),
                  *min_p = lm_json_member(o, "min_p"), *seed = lm_json_member(o, "seed");
    samba_status status = SAMBA_OK;
    if (!temperature->kind && !top_k->kind && !top_p->kind && !min_p->kind && !seed->kind)
        return SAMBA_OK;
    status = samba_sampler_create(s->host.context, sampler, error);
    if (status == SAMBA_OK && temperature->kind)
        status = samba_sampler_add_temperature(*sampler, (float)temperature->number, error);
    if (status == SAMBA_OK && top_k->kind)
        status = samba_sampler_add_top_k(*sampler, (uint32_t)top_k->number, error);
    if (status == SAMBA_OK && top_p->kind)
        status = samba_sampler_add_top_p(*sampler, (float)top_p->number, error);
    if (status == SAMBA_OK && min_p->kind)
        status = samba_sampler_add_min_p(*sampler, (float)min_p->number, error);
    if (status == SAMBA_OK && seed->kind)
        status = samba_sampler_add_seed(*sampler, (uint64_t)seed->number, error);
    return status;
}

/* What is wrong with the members, or NULL. Numbers are whole and within their fields. */
static const char *check_start(const lm_json *o)
{
    static const char *const counts[] = {"max_tokens", "top_k",       "seed",
                                         "logprobs",   "deadline_ms", "priority"};
    static const char *const shares[] = {"temperature", "top_p", "min_p"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const lm_json *m = lm_json_member(o, counts[i]);
        if (m->kind && (m->kind != LM_JSON_NUMBER || !(m->number >= 0) || m->number > 4294967295.0))
            return "max_tokens, top_k, seed, logprobs, deadline_ms and priority are numbers from "
                   "0 to 2^32 - 1";
    }
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        const lm_json *m = lm_json_member(o, shares[i]);
        if (m->kind && m->kind != LM_JSON_NUMBER)
            return "temperature, top_p and min_p are numbers";
    }
    const lm_json *prompt = lm_json_member(o, "prompt"), *tokens = lm_json_member(o, "tokens"),
                  *stop = lm_json_member(o, "stop");
    if ((prompt->kind && prompt->kind != LM_JSON_STRING) ||
        (tokens->kind && tokens->kind != LM_JSON_LIST) ||
        (stop->kind && stop->kind != LM_JSON_LIST))
        return "prompt is a string, tokens and stop are lists";
    for (size_t i = 0; i < stop->size; i++)
        if (stop->items[i].kind != LM_JSON_STRING)
            return "stop is a list of strings";
    for (size_t i = 0; i < tokens->size; i++)
        if (tokens->items[i].kind != LM_JSON_NUMBER || !(tokens->items[i].number >= 0) ||
            tokens->items[i].number > INT32_MAX)
            return "tokens is a list of token numbers";
    return NULL;
}

static samba_status start_stream(server *s, talk *t, const lm_json *o, samba_sampler *sampler,
                                 samba_error **error)
{
    const lm_json *prompt = lm_json_member(o, "prompt"), *tokens = lm_json_member(o, "tokens"),
                  *stop = lm_json_member(o, "stop");
    samba_token *ids = lm_alloc(NULL, tokens->size, sizeof *ids);
    const char **stops = lm_alloc(NULL, stop->size, sizeof *stops);
    for (size_t i = 0; i < tokens->size; i++)
        ids[i] = (samba_token)tokens->items[i].number;
    for (size_t i = 0; i < stop->size; i++)
        stops[i] = stop->items[i].text;
    const samba_stream_options options = {
        .struct_size = sizeof options,
        .prompt = ids,
        .n_prompt = tokens->size,
        .text = prompt->kind ? prompt->text : NULL,
        .text_size = prompt->kind ? prompt->size : 0,
        .max_tokens = (uint64_t)lm_json_member(o, "max_tokens")->number,
        .ignore_eos = lm_json_member(o, "ignore_eos")->number != 0 ? SAMBA_YES : SAMBA_NO,
        .top_logprobs = (uint32_t)lm_json_member(o, "logprobs")->number,
        .stop_strings = stops,
        .n_stop_strings = stop->size,
        .deadline_ms = (uint64_t)lm_json_member(o, "deadline_ms")->number,
        .priority = lm_json_member(o, "priority")->number > 100
                        ? 101
                        : (int32_t)lm_json_member(o, "priority")->number,
        .user_data = t,
        .prefix_cache = cache_for(s, t)};
    samba_status status =
        samba_stream_start_uv(t->session, sampler, &options, &s->loop, on_event, &t->stream, error);
    free(ids);
    free(stops);
    return status;
}

static void start(server *s, const lm_json *id, const lm_json *o)
{
    samba_error *error = NULL;
    samba_session *session = NULL;
    samba_sampler *sampler = NULL;
    talk *t = *find(s, id);
    const char *wrong = t && t->stream ? "the conversation is being continued" : check_start(o);
    int fresh = !t;
    if (wrong) {
        complain(id, wrong, NULL);
        return;
    }
    samba_status status = make_sampler(s, o, &sampler, &error);
    if (status == SAMBA_OK && fresh)
        status = samba_session_create(s->host.model, NULL, &session, &error);
    if (status == SAMBA_OK && fresh)
        t = add(s, id, session);
    if (status == SAMBA_OK)
        status = start_stream(s, t, o, sampler, &error);
    samba_sampler_free(sampler);
    if (status == SAMBA_OK) {
        say("started", t);
        return;
    }
    complain(id, samba_status_string(status), error);
    if (fresh && t)
        drop(find(s, id));
}

/* ---- the other requests */

static void save(const lm_json *id, const talk *t, const char *file)
{
    samba_error *error = NULL;
    samba_snapshot *snapshot = NULL;
    samba_status status = samba_session_snapshot(t->session, NULL, &snapshot, &error);
    if (status == SAMBA_OK)
        status = samba_snapshot_write_file(snapshot, file, NULL, &error);
    samba_snapshot_release(snapshot);
    if (status == SAMBA_OK)
        say("saved", t);
    else
        complain(id, samba_status_string(status), error);
}

static void resume(server *s, const lm_json *id, const char *file)
{
    samba_error *error = NULL;
    samba_snapshot *snapshot = NULL;
    samba_session *session = NULL;
    samba_status status = samba_snapshot_read_file(s->host.context, file, NULL, &snapshot, &error);
    if (status == SAMBA_OK)
        status = samba_session_create_from(s->host.model, snapshot, NULL, &session, &error);
    samba_snapshot_release(snapshot);
    if (status == SAMBA_OK)
        say("resumed", add(s, id, session));
    else
        complain(id, samba_status_string(status), error);
}

static void stats(const server *s)
{
    samba_stream_stats st = {.struct_size = sizeof st};
    size_t n = 0;
    for (const talk *t = s->talks; t; t = t->next)
        n++;
    samba_model_get_stream_stats(s->host.model, &st, NULL);
    open_event("stats", NULL);
    printf(", \"open\": %llu, \"running\": %llu, \"waiting\": %llu, \"conversations\": %zu, "
           "\"passes\": %llu, \"rows\": %llu, \"pass_seconds\": ",
           (unsigned long long)st.n_open, (unsigned long long)st.n_running,
           (unsigned long long)st.n_waiting, n, (unsigned long long)st.n_passes,
           (unsigned long long)st.n_rows);
    lm_json_number(stdout, st.pass_seconds);
    printf(", \"overhead_seconds\": ");
    lm_json_number(stdout, st.overhead_seconds + st.draw_seconds);
    close_event();
}

static void serve(server *s, const lm_json *o)
{
    const lm_json *op = lm_json_member(o, "op"), *id = lm_json_member(o, "id"),
                  *file = lm_json_member(o, "file");
    const char *name = op->kind == LM_JSON_STRING ? op->text : "";
    int needs_file = strcmp(name, "save") == 0 || strcmp(name, "resume") == 0;
    if (strcmp(name, "stats") == 0) {
        stats(s);
        return;
    }
    if (id->kind != LM_JSON_STRING || (needs_file && file->kind != LM_JSON_STRING)) {
        complain(id, needs_file ? "\"id\" and \"file\" must be strings" : "\"id\" must be a string",
                 NULL);
        return;
    }
    talk **at = find(s, id);
    if (strcmp(name, "start") == 0) {
        start(s, id, o);
    } else if (strcmp(name, "resume") == 0) {
        if (*at)
            complain(id, "there is such a conversation already", NULL);
        else
            resume(s, id, file->text);
    } else if (!*at) {
        complain(id, "there is no such conversation", NULL);
    } else if (strcmp(name, "cancel") == 0) {
        samba_stream_cancel((*at)->stream);
    } else if (strcmp(name, "save") == 0) {
        save(id, *at, file->text);
    } else if (strcmp(name, "drop") == 0) {
        say("dropped", *at);
        drop(at);
    } else {
        complain(id, "\"op\" is none of start, cancel, save, resume, drop, stats", NULL);
    }
}

/* ---- stdin */

static void read_lines(void *arg)
{
    server *s = arg;
    char *text = NULL;
    size_t capacity = 0;
    ssize_t size;
    while ((size = getline(&text, &capacity, stdin)) >= 0) {
        line *l = lm_alloc(NULL, 1, sizeof *l + (size_t)size + 1);
        *l = (line){.size = (size_t)size};
        memcpy(l->text, text, (size_t)size + 1);
        uv_mutex_lock(&s->lock);
        *s->last = l;
        s->last = &l->next;
        uv_mutex_unlock(&s->lock);
        uv_async_send(&s->arrival);
    }
    free(text);
    uv_mutex_lock(&s->lock);
    s->ended = 1;
    uv_mutex_unlock(&s->lock);
    uv_async_send(&s->arrival);
}

static void on_arrival(uv_async_t *async)
{
    server *s = async->data;
    uv_mutex_lock(&s->lock);
    line *l = s->first;
    int ended = s->ended;
    s->first = NULL;
    s->last = &s->first;
    uv_mutex_unlock(&s->lock);
    while (l) {
        line *next = l->next;
        const char *why = "";
        lm_json *o = lm_json_read(l->text, l->size, &why);
        if (o)
            serve(s, o);
        else
            complain(NULL, why, NULL);
        lm_json_free(o);
        free(l);
        l = next;
    }
    if (ended && !uv_is_closing((uv_handle_t *)async))
        uv_close((uv_handle_t *)async, NULL);
}

static int run(server *s)
{
    s->last = &s->first;
    s->arrival.data = s;
    if (uv_loop_init(&s->loop) || uv_mutex_init(&s->lock) ||
        uv_async_init(&s->loop, &s->arrival, on_arrival))
        return lm_complain("no event loop can be made");
    open_event("ready", NULL);
    print_text("model", s->host.info.name, strlen(s->host.info.name));
    print_text("version", samba_version_string(), strlen(samba_version_string()));
    close_event();
    if (uv_thread_create(&s->reader, read_lines, s))
        return lm_complain("no thread can be started");
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_thread_join(&s->reader);
    while (s->talks)
        drop(&s->talks);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_mutex_destroy(&s->lock);
    uv_loop_close(&s->loop);
    return lm_flush_ok(stdout, "stdout") ? LM_OK : LM_FAILED;
}

/* Prompts that begin alike are read once, within a budget. */
static int open_cache(server *s, uint64_t mib, const char *folder)
{
    const samba_prefix_cache_options options = {
        .struct_size = sizeof options, .max_bytes = mib << 20, .spill_directory = folder};
    samba_error *error = NULL;
    samba_status status = samba_prefix_cache_create(s->host.model, &options, &s->cache, &error);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

int lm_serve(int argc, char **argv)
{
    lm_common common = {0};
    server s = {0};
    uint64_t mib = 0;
    const char *model[1], *folder = NULL;
    const lm_option options[] = {
        {"--cache", NULL, "MIB", "read what prompts have in common once, kept in so many MiB",
         lm_set_count, &mib},
        {"--cache-dir", NULL, "DIR", "with --cache: what it has no room for goes there",
         lm_set_string, &folder},
    };
    const lm_usage usage = {.command = "serve-stdio",
                            .synopsis = "MODEL",
                            .about = about,
                            .options = options,
                            .n_options = sizeof options / sizeof *options,
                            .common = &common,
                            .min_args = 1,
                            .max_args = 1};
    int rc = lm_parse(&usage, argc, argv, model);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    if ((folder && !mib) || mib > UINT64_MAX >> 20)
        return lm_bad_usage("serve-stdio",
                            mib ? "--cache is too much" : "--cache-dir needs --cache");
    rc = lm_host_open(&s.host, &common);
    if (rc == LM_OK)
        rc = lm_host_load(&s.host, model[0]);
    if (rc == LM_OK && mib)
        rc = open_cache(&s, mib, folder);
    if (rc == LM_OK)
        rc = run(&s);
    samba_prefix_cache_free(s.cache);
    lm_host_close(&s.host);
    return rc;
}
