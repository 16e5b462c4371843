/* samba-lm snapshot: what a saved session holds, whether its file is whole, how two differ. */
#include "samba-lm.h"

#include <inttypes.h>
#include <string.h>

typedef struct snapshot_args {
    lm_common common;
    const char *key;
    const char *positional[3]; /* info|verify|diff, file, other file */
} snapshot_args;

static void hex(const uint8_t *bytes, char text[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static const char *codec_name(samba_codec codec)
{
    return codec == SAMBA_CODEC_ZSTD ? "zstd" : codec == SAMBA_CODEC_RAW ? "raw" : "-";
}

static int open_file(const lm_host *host, const snapshot_args *a, const char *path,
                     samba_snapshot_mode mode, samba_snapshot **snapshot)
{
    samba_error *error = NULL;
    lm_bar bar;
    samba_snapshot_read_options o = {.struct_size = sizeof o,
                                     .mode = mode,
                                     .max_bytes = UINT64_MAX,
                                     .progress = lm_bar_progress,
                                     .progress_user_data = &bar,
                                     .cancel = host->cancel};
    if (a->key && mode != SAMBA_SNAPSHOT_HEADER) {
        o.mac_key = a->key;
        o.mac_key_size = strlen(a->key);
    }
    lm_bar_start(&bar, "reading", "bytes", 1);
    const samba_status status = samba_snapshot_read_file(host->context, path, &o, snapshot, &error);
    lm_bar_end(&bar);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

/* ---- info and verify */

static void print_digest(const char *name, const uint8_t *digest, int json)
{
    char text[33];
    hex(digest, text);
    printf(json ? ", \"%s\": \"%s\"" : "%-13s %s\n", name, text);
}

static void print_figures(const samba_snapshot_info *i, int json)
{
    const char *const format =
        json ? "{\"format_version\": %u, \"library_version\": %u, \"position\": %" PRIu64
               ", \"first_position\": %" PRIu64 ", \"n_tokens\": %" PRIu64
               ", \"has_logits\": %s, \"n_vocab\": %u, \"kv_dtype\": \"%s\", \"codec\": \"%s\", "
               "\"lossy\": %s, \"has_mac\": %s, \"file_bytes\": %" PRIu64
               ", \"raw_bytes\": %" PRIu64 ", \"metadata_size\": %zu, \"model\": "
             : "format        %u, written by version %u\n"
               "position      %" PRIu64 ", first %" PRIu64 ", %" PRIu64 " tokens kept\n"
               "logits        %s, vocabulary of %u\nkeys, values  %s\n"
               "codec         %s, lossy %s, MAC %s\n"
               "bytes         %" PRIu64 " in the file, %" PRIu64 " decoded, %zu of metadata\n"
               "model         ";
    printf(format, i->format_version, i->library_version, i->position, i->first_position,
           i->n_tokens, i->has_logits ? "true" : "false", i->n_vocab, samba_dtype_name(i->kv_dtype),
           codec_name(i->codec), i->lossy ? "true" : "false", i->has_mac ? "true" : "false",
           i->file_bytes, i->raw_bytes, i->metadata_size);
    if (json)
        lm_json_string(stdout, i->model_name, strlen(i->model_name));
    else
        printf("%s\n", *i->model_name ? i->model_name : "-");
    print_digest("fingerprint", i->fingerprint, json);
    print_digest("architecture", i->architecture, json);
    print_digest("weights", i->weights, json);
    print_digest("tokenizer", i->tokenizer, json);
}

static void print_section(const samba_snapshot_section_info *s, int first, int json)
{
    char shape[96] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < s->n_dims; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRIu64, i ? ", " : "",
                               s->dims[i]);
    printf(json ? "%s{\"name\": \"%s\", \"sublayer\": %d, \"type\": \"%s\", \"stored_type\": "
                  "\"%s\", \"shape\": [%s], \"codec\": \"%s\", \"raw_bytes\": %" PRIu64
                  ", \"stored_bytes\": %" PRIu64 "}"
                : "%s%-10s %5d  %-5s %-5s [%s] %s %" PRIu64 " %" PRIu64 "\n",
           json && !first ? ", " : "", s->name, (int)s->sublayer, s->type, s->stored_type, shape,
           codec_name(s->codec), s->raw_bytes, s->stored_bytes);
}

static int print_info(const samba_snapshot *snapshot, int json)
{
    samba_error *error = NULL;
    samba_snapshot_info info = {.struct_size = sizeof info};
    if (samba_snapshot_get_info(snapshot, &info, &error) != SAMBA_OK)
        return lm_report(error);
    print_figures(&info, json);
    printf(json ? ", \"sections\": ["
                : "\nsection sublayer type stored [shape] codec raw stored bytes\n");
    for (uint64_t i = 0; i < info.n_sections; i++) {
        samba_snapshot_section_info s = {.struct_size = sizeof s};
        if (samba_snapshot_get_section(snapshot, i, &s, &error) != SAMBA_OK)
            return lm_report(error);
        print_section(&s, i == 0, json);
    }
    if (json)
        printf("]}\n");
    return lm_flush_ok(stdout, "stdout") ? LM_OK : LM_FAILED;
}

static int show(const lm_host *host, const snapshot_args *a, int verify)
{
    samba_snapshot *s = NULL;
    int rc = open_file(host, a, a->positional[1],
                       verify ? SAMBA_SNAPSHOT_VERIFY : SAMBA_SNAPSHOT_HEADER, &s);
    if (rc == LM_OK && (!verify || a->common.json))
        rc = print_info(s, a->common.json);
    else if (rc == LM_OK)
        printf("%s is whole%s\n", a->positional[1], a->key ? ", and its MAC is of this key" : "");
    samba_snapshot_release(s);
    return rc;
}

/* ---- diff */

typedef struct pair {
    samba_snapshot *a, *b;
    samba_snapshot_info ia, ib;
    int json, n;
} pair;

static void differ(pair *p, const char *what, const char *a, const char *b)
{
    if (p->json) {
        printf("%s{\"what\": ", p->n ? ", " : "");
        lm_json_string(stdout, what, strlen(what));
        printf(", \"a\": \"%s\", \"b\": \"%s\"}", a, b);
    } else {
        printf("%-22s %s | %s\n", what, a, b);
    }
    p->n++;
}

static void diff_number(pair *p, const char *what, uint64_t a, uint64_t b)
{
    char x[24], y[24];
    snprintf(x, sizeof x, "%" PRIu64, a);
    snprintf(y, sizeof y, "%" PRIu64, b);
    if (a != b)
        differ(p, what, x, y);
}

static void diff_digest(pair *p, const char *what, const uint8_t *a, const uint8_t *b)
{
    char x[33], y[33];
    hex(a, x);
    hex(b, y);
    if (memcmp(a, b, 16) != 0)
        differ(p, what, x, y);
}

static void diff_sections(pair *p)
{
    for (uint64_t i = 0; i < p->ia.n_sections && i < p->ib.n_sections; i++) {
        samba_snapshot_section_info x = {.struct_size = sizeof x}, y = {.struct_size = sizeof y};
        char what[64], first[32];
        if (samba_snapshot_get_section(p->a, i, &x, NULL) != SAMBA_OK ||
            samba_snapshot_get_section(p->b, i, &y, NULL) != SAMBA_OK)
            continue;
        snprintf(what, sizeof what, "section %s of %d", x.name, (int)x.sublayer);
        if (x.kind != y.kind || x.sublayer != y.sublayer || x.raw_bytes != y.raw_bytes) {
            differ(p, what, "present", "another, or of another shape");
            continue;
        }
        const uint8_t *u = x.data, *v = y.data;
        uint64_t at = 0, n = 0;
        for (uint64_t k = 0; k < x.raw_bytes; k++) {
            at = u[k] != v[k] && !n ? k : at;
            n += u[k] != v[k];
        }
        snprintf(first, sizeof first, "first at %" PRIu64, at);
        char count[32];
        snprintf(count, sizeof count, "%" PRIu64 " bytes differ", n);
        if (n)
            differ(p, what, count, first);
    }
}

/* Exit code 1 when they differ, as diff has it. */
static int print_diff(pair *p)
{
    samba_error *error = NULL;
    if (samba_snapshot_get_info(p->a, &p->ia, &error) != SAMBA_OK ||
        samba_snapshot_get_info(p->b, &p->ib, &error) != SAMBA_OK)
        return lm_report(error);
    if (p->json)
        printf("{\"differences\": [");
    diff_digest(p, "architecture", p->ia.architecture, p->ib.architecture);
    diff_digest(p, "weights", p->ia.weights, p->ib.weights);
    diff_digest(p, "tokenizer", p->ia.tokenizer, p->ib.tokenizer);
    diff_number(p, "kv type", (uint64_t)p->ia.kv_dtype, (uint64_t)p->ib.kv_dtype);
    diff_number(p, "position", p->ia.position, p->ib.position);
    diff_number(p, "first position", p->ia.first_position, p->ib.first_position);
    diff_number(p, "tokens", p->ia.n_tokens, p->ib.n_tokens);
    diff_number(p, "sections", p->ia.n_sections, p->ib.n_sections);
    diff_sections(p);
    if (p->json)
        printf("], \"equal\": %s}\n", p->n ? "false" : "true");
    else if (!p->n)
        printf("equal in all that they hold\n");
    return p->n || !lm_flush_ok(stdout, "stdout") ? LM_FAILED : LM_OK;
}

static int diff(const lm_host *host, const snapshot_args *a)
{
    pair p = {.json = a->common.json,
              .ia = {.struct_size = sizeof p.ia},
              .ib = {.struct_size = sizeof p.ib}};
    int rc = open_file(host, a, a->positional[1], SAMBA_SNAPSHOT_FULL, &p.a);
    if (rc == LM_OK)
        rc = open_file(host, a, a->positional[2], SAMBA_SNAPSHOT_FULL, &p.b);
    if (rc == LM_OK)
        rc = print_diff(&p);
    samba_snapshot_release(p.a);
    samba_snapshot_release(p.b);
    return rc;
}

int lm_snapshot(int argc, char **argv)
{
    snapshot_args a = {.key = NULL};
    const lm_option options[] = {
        {"--key", NULL, "TEXT", "check the file's MAC with this key", lm_set_string, &a.key}};
    const lm_usage usage = {
        .command = "snapshot",
        .synopsis = "info FILE | verify FILE | diff FILE FILE",
        .about = "Describes a file of generate --save without a model, checks every byte of it, or "
                 "compares two.\nExit code 1 also when two files differ.",
        .options = options,
        .n_options = 1,
        .common = &a.common,
        .min_args = 2,
        .max_args = 3};
    lm_host host;
    int rc = lm_parse(&usage, argc, argv, a.positional);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    const int is_diff = strcmp(a.positional[0], "diff") == 0;
    const int is_verify = strcmp(a.positional[0], "verify") == 0;
    if (!is_diff && !is_verify && strcmp(a.positional[0], "info") != 0)
        return lm_bad_usage("snapshot", "snapshot: info, verify or diff, not \"%s\"",
                            a.positional[0]);
    if (is_diff != (a.positional[2] != NULL))
        return lm_bad_usage("snapshot", "snapshot %s: %s", a.positional[0],
                            is_diff ? "two files are needed" : "one file is needed");
    rc = lm_host_open(&host, &a.common);
    if (rc == LM_OK)
        rc = is_diff ? diff(&host, &a) : show(&host, &a, is_verify);
    lm_host_close(&host);
    return rc;
}
