/*
 * Command line options from tables: parsing, checking and the help text. Options and positional
 * arguments may be mixed; "--" ends the options; a value follows its option or stands after "=".
 */
#include "samba-lm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int lm_bad_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "samba-lm: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, " (see samba-lm %s --help)\n", command);
    va_end(args);
    return LM_USAGE;
}

/* ---- values */

const char *lm_set_flag(void *to, const char *text)
{
    (void)text;
    *(int *)to = 1;
    return NULL;
}

const char *lm_set_string(void *to, const char *text)
{
    *(const char **)to = text;
    return NULL;
}

int lm_parse_count(const char *text, uint64_t *count)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return 0;
    *count = n;
    return 1;
}

const char *lm_set_count(void *to, const char *text)
{
    return lm_parse_count(text, to) ? NULL : "a whole number";
}

int lm_parse_number(const char *text, double *number)
{
    char *end;
    double x = strtod(text, &end);
    if (end == text || *end)
        return 0;
    *number = x;
    return 1;
}

const char *lm_set_dtype(void *to, const char *text)
{
    samba_dtype dtype = samba_dtype_from_name(text);
    if (!dtype)
        return "f32, f16, bf16, q8_0, q6_k, q4_k or q4_0";
    *(samba_dtype *)to = dtype;
    return NULL;
}

const char *lm_set_tier(void *to, const char *text)
{
    static const char *const names[] = {"reference",   "avx2",        "avx512",
                                        "avx512-vnni", "avx512-bf16", "neon"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(text, names[i]) == 0) {
            *(samba_cpu_tier *)to = SAMBA_CPU_REFERENCE + i;
            return NULL;
        }
    }
    return "reference, avx2, avx512, avx512-vnni, avx512-bf16 or neon";
}

const char *lm_set_ids(void *to, const char *text)
{
    lm_ids *list = to;
    size_t capacity = list->n;
    while (*(text += strspn(text, ", \t\r\n"))) {
        char *end;
        errno = 0;
        long id = strtol(text, &end, 10);
        if (*text < '0' || *text > '9' || errno || id > INT32_MAX ||
            (*end && !strchr(", \t\r\n", *end)))
            return "token ids like 1,2,3";
        if (list->n >= capacity) {
            capacity = capacity ? 2 * capacity : 64;
            list->ids = lm_alloc(list->ids, capacity, sizeof *list->ids);
        }
        list->ids[list->n++] = (samba_token)id;
        text = end;
    }
    return list->n ? NULL : "token ids like 1,2,3";
}

/* ---- tables */

enum {
    N_COMMON = 4
};

static void common_options(lm_common *common, int *help, lm_option options[N_COMMON])
{
    const lm_option table[N_COMMON] = {
        {"--threads", NULL, "N", "threads to compute with (default: the cores)", lm_set_count,
         &common->threads},
        {"--cpu", NULL, "TIER", "instruction set: reference, avx2, avx512, ... (default: best)",
         lm_set_tier, &common->cpu},
        {"--json", NULL, NULL, "print one JSON object", lm_set_flag, &common->json},
        {"--help", "-h", NULL, "this text", lm_set_flag, help},
    };
    memcpy(options, table, sizeof table);
}

static void print_options(const lm_option *options, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", options[i].letter ? options[i].letter : "",
                 options[i].letter ? ", " : "", options[i].name, options[i].value ? " " : "",
                 options[i].value ? options[i].value : "");
        printf("  %-26s %s\n", left, options[i].help);
    }
}

static void print_usage(const lm_usage *u, const lm_option *common)
{
    printf("usage: samba-lm %s %s [options]\n\n%s\n\n", u->command, u->synopsis, u->about);
    print_options(u->options, u->n_options);
    print_options(common, N_COMMON);
}

/* The option called `arg` (up to a "="), or NULL. */
static const lm_option *find(const lm_option *options, size_t n, const char *arg)
{
    size_t length = strncmp(arg, "--", 2) == 0 ? strcspn(arg, "=") : strlen(arg);
    for (size_t i = 0; i < n; i++) {
        if (strlen(options[i].name) == length && memcmp(options[i].name, arg, length) == 0)
            return &options[i];
        if (options[i].letter && strcmp(options[i].letter, arg) == 0)
            return &options[i];
    }
    return NULL;
}

/* Takes one option at argv[*at] with its value. */
static int take_option(const lm_usage *u, const lm_option *o, int argc, char **argv, int *at)
{
    const char *arg = argv[*at], *value = NULL;
    const char *equals = strncmp(arg, "--", 2) == 0 ? strchr(arg, '=') : NULL;
    if (!o)
        return lm_bad_usage(u->command, "%s: unknown option %s", u->command, arg);
    if (o->value && equals)
        value = equals + 1;
    else if (o->value && *at + 1 < argc)
        value = argv[++*at];
    if (o->value && !value)
        return lm_bad_usage(u->command, "%s: %s needs %s", u->command, o->name, o->value);
    if (!o->value && equals)
        return lm_bad_usage(u->command, "%s: %s takes no value", u->command, o->name);
    const char *wanted = o->set(o->to, value);
    return wanted ? lm_bad_usage(u->command, "%s: %s must be %s, not \"%s\"", u->command, o->name,
                                 wanted, value)
                  : LM_OK;
}

int lm_parse(const lm_usage *u, int argc, char **argv, const char **args)
{
    lm_option common[N_COMMON];
    int n_args = 0, only_args = 0, help = 0;
    common_options(u->common, &help, common);
    for (int i = 0; i < u->max_args; i++)
        args[i] = NULL;
    for (int i = 1; i < argc; i++) {
        if (!only_args && strcmp(argv[i], "--") == 0) {
            only_args = 1;
        } else if (only_args || argv[i][0] != '-' || !argv[i][1]) {
            if (n_args == u->max_args)
                return lm_bad_usage(u->command, "%s: unexpected argument \"%s\"", u->command,
                                    argv[i]);
            args[n_args++] = argv[i];
        } else {
            const lm_option *o = find(u->options, u->n_options, argv[i]);
            o = o ? o : find(common, N_COMMON, argv[i]);
            int rc = take_option(u, o, argc, argv, &i);
            if (rc != LM_OK)
                return rc;
        }
    }
    if (help) {
        print_usage(u, common);
        return -1;
    }
    if (n_args < u->min_args)
        return lm_bad_usage(u->command, "%s needs %s", u->command, u->synopsis);
    if (u->common->threads > 1024)
        return lm_bad_usage(u->command, "%s: --threads must be at most 1024", u->command);
    return LM_OK;
}
