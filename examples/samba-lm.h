/*
 * What the files of the samba-lm command share. The command is a host program like any other: it
 * includes samba.h and nothing else of the library. One file per subcommand.
 */
#ifndef SAMBA_LM_H
#define SAMBA_LM_H

#include "samba.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes. */
enum {
    LM_OK = 0,
    LM_FAILED = 1,
    LM_USAGE = 2,
    LM_INTERRUPTED = 130
};

/* ---- subcommands; argv[0] is the subcommand's name */

int lm_generate(int argc, char **argv);
int lm_info(int argc, char **argv);
int lm_tokenize(int argc, char **argv);
int lm_convert(int argc, char **argv);
int lm_quantize(int argc, char **argv);
int lm_perplexity(int argc, char **argv);
int lm_passkey(int argc, char **argv);
int lm_logits(int argc, char **argv);
int lm_serve(int argc, char **argv);
int lm_snapshot(int argc, char **argv);
int lm_bench_main(int argc, char **argv);

/* ---- options (samba-lm-options.c) */

/* Stores an option's value; NULL, or what the value should have been ("a whole number"). `text` is
 * NULL for a flag. */
typedef const char *(*lm_set_fn)(void *to, const char *text);

typedef struct lm_option {
    const char *name;   /* "--temp" */
    const char *letter; /* "-n", or NULL */
    const char *value;  /* the value's name in the help; NULL: a flag */
    const char *help;
    lm_set_fn set;
    void *to;
} lm_option;

typedef struct lm_ids {
    samba_token *ids;
    size_t n;
} lm_ids;

const char *lm_set_flag(void *to, const char *text);   /* int */
const char *lm_set_string(void *to, const char *text); /* const char * */
const char *lm_set_count(void *to, const char *text);  /* uint64_t */
const char *lm_set_dtype(void *to, const char *text);  /* samba_dtype */
const char *lm_set_tier(void *to, const char *text);   /* samba_cpu_tier */
const char *lm_set_ids(void *to, const char *text);    /* lm_ids; "1,2,3" or with spaces; appends */
int lm_parse_number(const char *text, double *number);
int lm_parse_count(const char *text, uint64_t *count);

/* Options that every command with a model takes. */
typedef struct lm_common {
    uint64_t threads;
    samba_cpu_tier cpu;
    int json;
    int profile; /* no option: the context counts where passes spend time */
} lm_common;

typedef struct lm_usage {
    const char *command;
    const char *synopsis; /* "MODEL [TEXT]" */
    const char *about;
    const lm_option *options;
    size_t n_options;
    lm_common *common;
    int min_args, max_args; /* positional arguments */
} lm_usage;

/* Fills args[max_args] (NULL where not given). Returns LM_OK, LM_USAGE, or -1 when --help was asked
 * for and printed. */
int lm_parse(const lm_usage *usage, int argc, char **argv, const char **args);
/* Says what is wrong with the arguments; LM_USAGE. */
int lm_bad_usage(const char *command, const char *format, ...);

/* ---- the library's objects, errors and interrupts (samba-lm-host.c) */

typedef struct lm_host {
    samba_context *context;
    samba_cancel *cancel;
    samba_model *model;
    samba_model_info info;
} lm_host;

/* A context and the cancel object that Ctrl-C requests; then a model. On failure the error has been
 * printed and the exit code is returned. */
int lm_host_open(lm_host *host, const lm_common *common);
int lm_host_load(lm_host *host, const char *path);
void lm_host_close(lm_host *host); /* whatever has been opened */
/* Prints the error and frees it; the exit code. */
int lm_report(samba_error *error);
/* Prints one line on stderr; LM_FAILED. */
int lm_complain(const char *format, ...);
int lm_interrupted(void);
/* True if all that was printed has reached its end; complains otherwise. */
int lm_flush_ok(FILE *out, const char *name);

/* ---- text and memory (samba-lm-text.c) */

/* Memory or the end of the program. */
void *lm_alloc(void *old, size_t n, size_t size);

typedef struct lm_buffer {
    char *data;
    size_t size, capacity;
} lm_buffer;
void lm_append(lm_buffer *b, const char *data, size_t size);

/* TEXT from the command line, else the file (NULL or "-": stdin). Returns an exit code. */
int lm_read_input(const char *text, const char *path, lm_buffer *input);
int lm_tokenize_text(const samba_model *model, const lm_buffer *text,
                     const samba_tokenize_options *options, lm_ids *ids, samba_error **error);

/* JSON: escaped strings (what is not UTF-8 becomes U+FFFD), numbers (null if not finite). */
void lm_json_string(FILE *out, const char *text, size_t size);
void lm_json_number(FILE *out, double number);
void lm_json_ids(FILE *out, const samba_token *ids, size_t n);

/* ---- progress (samba-lm-progress.c): one line on stderr, if that is a terminal */

typedef struct lm_bar {
    const char *what, *unit;
    uint64_t total;
    double start, drawn;
    int on;
} lm_bar;
double lm_seconds(void);
void lm_bar_start(lm_bar *bar, const char *what, const char *unit, uint64_t total);
void lm_bar_update(lm_bar *bar, uint64_t done);
void lm_bar_end(lm_bar *bar); /* wipes the line */
/* As a samba_progress_fn; user_data is a started bar. */
int32_t lm_bar_progress(void *user_data, uint64_t done, uint64_t total);

/* Feeds tokens in pieces, moving the bar (may be NULL) from `done` on. */
samba_status lm_feed(samba_session *session, const lm_ids *ids, const samba_cancel *cancel,
                     lm_bar *bar, uint64_t done, samba_error **error);

/* ---- pass-key prompts (samba-lm-haystack.c) */

typedef struct lm_haystack {
    const lm_buffer *book; /* text to hide the key in; NULL: the repeated filler */
    double frame;          /* tokens of all that is not filler */
    double per_unit;       /* tokens per filler line, or per byte of the book */
} lm_haystack;
/* Measures with the model's tokenizer; `book` is set before. */
samba_status lm_haystack_measure(lm_haystack *h, const samba_model *model, samba_error **error);
/* A prompt of about `tokens` tokens with the key at `depth` (0..1); *random moves on. */
void lm_haystack_build(const lm_haystack *h, uint64_t tokens, double depth, uint32_t key,
                       uint64_t *random, lm_buffer *prompt);
extern const char *const lm_haystack_question;
/* SplitMix64. */
uint64_t lm_random(uint64_t *state);

/* ---- sampling options (samba-lm-sampling.c) */

enum {
    LM_STAGES_MAX = 32,
    LM_BIASES_MAX = 1024
};
typedef struct lm_stage {
    int kind;
    double value;
} lm_stage;
typedef struct lm_sampling {
    lm_stage stages[LM_STAGES_MAX]; /* [n_stages], as given */
    size_t n_stages;
    samba_penalties penalties; /* one stage, where the first of its options stands */
    samba_token bias_tokens[LM_BIASES_MAX];
    float biases[LM_BIASES_MAX];
    size_t n_biases;
    uint64_t seed;
} lm_sampling;
/* Writes the table's rows to options[], which has room for LM_SAMPLING_OPTIONS of them. */
enum {
    LM_SAMPLING_OPTIONS = 12
};
void lm_sampling_options(lm_sampling *sampling, lm_option *options);
samba_status lm_sampling_build(const lm_sampling *sampling, samba_context *context,
                               samba_sampler **sampler, samba_error **error);

#endif
