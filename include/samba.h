/*
 * libsamba: run recurrent-hybrid language models (the Samba family: Mamba + sliding-window
 * attention + MLP, arXiv 2406.07522; SambaY / Phi-4-mini-flash) inside a host program.
 *
 * This header is the manual. Rules that hold for every function:
 *
 *  Errors     A function that can fail returns samba_status and takes a last parameter
 *             `samba_error **error`. It may be NULL. Otherwise *error must be NULL on entry; on
 *             failure it receives an object that the caller frees with samba_error_free(). Out
 *             parameters are written on success only (exceptions say so). After a failure every
 *             object is usable and stands where it stood.
 *  Options    Option structs begin with `struct_size`, which the caller sets to sizeof(the struct),
 *             and go by const pointer; NULL means "all defaults", and so does zero in any field.
 *             Bytes past the fields this version knows must be zero. For output structs the caller
 *             sets struct_size too, and at most that many bytes are written.
 *  Ownership  "borrows": the callee keeps nothing after returning. "takes": the callee owns it from
 *             then on. "caller frees with F" names the function. Every F accepts NULL.
 *  Threads    Context and model: any number of threads at once. Session, sampler under
 *             construction, detokenizer: one thread at a time. Exceptions are named.
 *  Callbacks  run on the calling thread unless said otherwise, and may not call back into the
 *             object that called them unless said otherwise. `user_data` goes through untouched.
 *  Text       is UTF-8, given as pointer and byte count; SIZE_MAX: it is zero-terminated.
 *
 * The library never aborts, exits, prints, reads the environment, or installs signal handlers.
 */
#ifndef SAMBA_H
#define SAMBA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(SAMBA_SHARED)
#define SAMBA_API __declspec(dllimport)
#elif defined(__GNUC__) || defined(__clang__)
#define SAMBA_API __attribute__((visibility("default")))
#else
#define SAMBA_API
#endif

/* ---------------------------------------------------------------- version and status */

#define SAMBA_VERSION_MAJOR 0
#define SAMBA_VERSION_MINOR 1
#define SAMBA_VERSION_PATCH 0

/* Version of the library that runs: major * 1000000 + minor * 1000 + patch. */
SAMBA_API uint32_t samba_version_number(void);
/* The same as text, e.g. "0.1.0". Static storage. */
SAMBA_API const char *samba_version_string(void);

typedef int32_t samba_status;
#define SAMBA_OK 0
#define SAMBA_ERROR_INVALID_ARGUMENT 1 /* the caller broke a documented rule */
#define SAMBA_ERROR_OUT_OF_MEMORY 2
#define SAMBA_ERROR_IO 3          /* a file or callback could not be opened, read or written */
#define SAMBA_ERROR_FORMAT 4      /* a file is malformed, truncated or hostile */
#define SAMBA_ERROR_UNSUPPORTED 5 /* well-formed, but not something this build can run */
#define SAMBA_ERROR_MISMATCH 6    /* two things that must agree do not (config and tensor, ...) */
#define SAMBA_ERROR_LIMIT 7       /* larger than a stated limit or than the given buffer */
#define SAMBA_ERROR_STATE 8       /* the object is not in a state in which this makes sense */
#define SAMBA_ERROR_BUSY 9        /* the object is in use elsewhere */
#define SAMBA_ERROR_CANCELLED 10  /* a samba_cancel or a callback asked for the end */
#define SAMBA_ERROR_BACKEND 11    /* a compute device failed */
#define SAMBA_ERROR_NOT_FOUND 12
#define SAMBA_ERROR_INTERNAL 13 /* a bug in the library; please report it */

/* Name of a status, e.g. "out of memory"; "unknown status" for others. Static storage. */
SAMBA_API const char *samba_status_string(samba_status status);

/* What went wrong, for people and for programs. Immutable; any thread may read it. */
typedef struct samba_error samba_error;
#define SAMBA_NO_OFFSET UINT64_MAX
SAMBA_API samba_status samba_error_status(const samba_error *error);
/* One line without a newline. Valid until the error is freed, as are the strings below. */
SAMBA_API const char *samba_error_message(const samba_error *error);
/* File or tensor concerned, or NULL where none is. */
SAMBA_API const char *samba_error_file(const samba_error *error);
SAMBA_API const char *samba_error_tensor(const samba_error *error);
/* Byte offset in the file, or SAMBA_NO_OFFSET. */
SAMBA_API uint64_t samba_error_offset(const samba_error *error);
SAMBA_API void samba_error_free(samba_error *error);

/* ---------------------------------------------------------------- small shared types */

typedef int32_t samba_token; /* 0 .. n_vocab-1 */

/* Three-way switch for option fields: 0 = the documented default. */
#define SAMBA_YES 1
#define SAMBA_NO 2

/* What a callback returns. */
#define SAMBA_CONTINUE 0
#define SAMBA_STOP 1

/*
 * Element types. Block formats (Q...) are the layouts of GGUF files and need rows that are a
 * multiple of the block. Converting to Q4_0, Q4_K and Q6_K searches for the scales that leave the
 * least squared error (10 to 30 million weights per second and core). NaN becomes 0, and what is
 * too large for a scale the largest value that it allows.
 */
typedef int32_t samba_dtype;
#define SAMBA_DTYPE_F32 1
#define SAMBA_DTYPE_F16 2
#define SAMBA_DTYPE_BF16 3
#define SAMBA_DTYPE_Q8_0 4 /* 32 int8 and one f16 scale: 34 bytes */
#define SAMBA_DTYPE_Q4_0 5 /* 32 4-bit numbers and one f16 scale: 18 bytes */
#define SAMBA_DTYPE_Q4_K 6 /* 256 4-bit numbers, 8 6-bit scales and minima: 144 bytes */
#define SAMBA_DTYPE_Q6_K 7 /* 256 6-bit numbers, 16 8-bit scales: 210 bytes */
/* "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"; NULL for an unknown value. Static
 * storage. */
SAMBA_API const char *samba_dtype_name(samba_dtype dtype);
/* The dtype called `name` (as above, any case), or 0. */
SAMBA_API samba_dtype samba_dtype_from_name(const char *name);

/*
 * Host memory hooks. alloc returns memory aligned to `align` (a power of two <= 4096) or NULL; free
 * gets the size and alignment that alloc was asked for. Called from any thread of the library.
 */
typedef struct samba_allocator {
    size_t struct_size;
    void *(*alloc)(void *user_data, size_t size, size_t align);
    void (*free)(void *user_data, void *ptr, size_t size, size_t align);
    void *user_data;
} samba_allocator;

typedef int32_t samba_log_level;
#define SAMBA_LOG_ERROR 1
#define SAMBA_LOG_WARNING 2
#define SAMBA_LOG_INFO 3
#define SAMBA_LOG_DEBUG 4
/* `message` is one line without a newline, valid during the call. Called from any thread. */
typedef void (*samba_log_fn)(void *user_data, samba_log_level level, const char *message);

/* Progress of a long call: `done` of `total` bytes. Return SAMBA_STOP to cancel the call. */
typedef int32_t (*samba_progress_fn)(void *user_data, uint64_t done, uint64_t total);

/* ---------------------------------------------------------------- context */

/*
 * A context owns what models share: allocator, log, compute backends and their threads. One pass
 * at a time uses a context's threads, first come, first served; hosts that want independent passes
 * side by side create several contexts. Models keep their context alive.
 */
typedef struct samba_context samba_context;
struct samba_backend_vtbl; /* samba/backend.h */

/* CPU instruction sets; a tier that the machine or the build lacks is refused. */
typedef int32_t samba_cpu_tier;
#define SAMBA_CPU_REFERENCE 1 /* portable C */
#define SAMBA_CPU_AVX2 2
#define SAMBA_CPU_AVX512 3
#define SAMBA_CPU_AVX512_VNNI 4
#define SAMBA_CPU_AVX512_BF16 5
#define SAMBA_CPU_NEON 6
#define SAMBA_CPU_NEON_DOTPROD 7

/*
 * Threads of the host's own, in place of those that a context would start. The library cuts its
 * work into steps of a few microseconds to milliseconds, and each step into shares. A task does
 * shares until the work is done, any task any share; so all gets done however few of the tasks run,
 * and in whatever order.
 *
 * run calls task(arg, i, n) once for every i from 0 to n-1 and returns when all of them have
 * returned: 0, or anything else where some were never begun, whose work the calling thread then
 * does. They may run at the same time, which is what makes it fast, or one after another; on any
 * threads, that of the caller included. A task may wait for a share that another task has begun,
 * first spinning, then asleep, but never for a task that has not begun. It sets the floating point
 * control of its thread and puts it back; nothing else of the thread is touched.
 *
 * run is called ten to a few hundred times per pass, on the thread that is inside eval, generate,
 * load or the like; for one device, one call at a time. It must not call the library. Results never
 * depend on it.
 */
typedef struct samba_thread_pool {
    size_t struct_size;
    int32_t n_threads; /* tasks per run: how many may be at work at the same time, 1 to 1024 */
    int32_t (*run)(void *user_data, void (*task)(void *arg, uint32_t index, uint32_t n), void *arg,
                   uint32_t n);
    void *user_data;
} samba_thread_pool;

typedef struct samba_context_options {
    size_t struct_size;
    const samba_allocator *allocator; /* copied; default: the C library's */
    samba_log_fn log;                 /* default: none */
    void *log_user_data;
    samba_log_level log_level; /* most detailed level delivered; default: warning */
    /* Threads per pass, the caller's included, 1 to 1024; default: physical cores. More than the
     * process may run at the same time are not started. With a thread_pool: its n_threads, or 0. */
    int32_t n_threads;
    samba_cpu_tier cpu_tier; /* default: the best the machine has */
    /* Further backends, borrowed for the life of the context. A model picks one by name. */
    const struct samba_backend_vtbl *const *backends; /* [n_backends] */
    size_t n_backends;
    int32_t profile; /* YES: count where passes spend time, see samba_context_get_profile */
    const samba_thread_pool *thread_pool; /* copied; default: threads of the library's own */
} samba_context_options;

/* Caller frees with samba_context_free. */
SAMBA_API samba_status samba_context_create(const samba_context_options *options,
                                            samba_context **context, samba_error **error);
/* Drops the caller's reference; the context ends with its last model, sampler or cancel object. */
SAMBA_API void samba_context_free(samba_context *context);

/* Time spent in one kind of work, as the calling thread saw it. */
typedef struct samba_profile_entry {
    const char *name; /* "linear q8_0", "scan", "waiting for threads", ...; static */
    uint64_t calls;
    double seconds;
} samba_profile_entry;
/*
 * Where the passes of the context spent their time since it was created or reset, if it was created
 * with `profile`: entries do not overlap and add up to the passes' time. Writes at most `capacity`
 * entries of item_size = sizeof(samba_profile_entry) and sets *n_entries to how many there are (0
 * without `profile`). Waits for a running pass.
 */
SAMBA_API samba_status samba_context_get_profile(samba_context *context,
                                                 samba_profile_entry *entries, size_t capacity,
                                                 size_t item_size, size_t *n_entries,
                                                 samba_error **error);
/* Starts counting anew. */
SAMBA_API void samba_context_reset_profile(samba_context *context);

/*
 * A sticky request to end blocking calls early. Hand it to any number of calls through their
 * options; each ends with SAMBA_ERROR_CANCELLED soon after the request: within one sublayer of one
 * pass on the CPU, within one pass elsewhere.
 */
typedef struct samba_cancel samba_cancel;
SAMBA_API samba_status samba_cancel_create(samba_context *context, samba_cancel **cancel,
                                           samba_error **error);
/* Any thread, also from a signal handler. */
SAMBA_API void samba_cancel_request(samba_cancel *cancel);
/* Makes it usable again, while no call uses it. */
SAMBA_API void samba_cancel_reset(samba_cancel *cancel);
SAMBA_API void samba_cancel_free(samba_cancel *cancel);

/* ---------------------------------------------------------------- model */

/* Weights, plan and tokenizer: immutable, reference-counted, shared by any number of threads. */
typedef struct samba_model samba_model;

/*
 * Random-access bytes supplied by the host. read_at fills exactly `size` bytes from `offset` and
 * returns 0, or anything else for an error. Called on the loading thread, or on several threads at
 * once when `parallel` is SAMBA_YES.
 */
typedef struct samba_reader {
    size_t struct_size;
    uint64_t size; /* total bytes */
    int32_t (*read_at)(void *user_data, uint64_t offset, void *buffer, size_t size);
    void *user_data;
    const char *name; /* for messages; default "reader" */
    int32_t parallel; /* default: SAMBA_NO */
} samba_reader;

/* RoPE table of cos and sin; the official code of each family rounds its table as noted. */
typedef int32_t samba_rope_table;
#define SAMBA_ROPE_TABLE_BF16 1 /* microsoft/Samba */
#define SAMBA_ROPE_TABLE_F32 2  /* flash-linear-attention in fp32 */

typedef struct samba_model_options {
    size_t struct_size;
    samba_progress_fn progress; /* default: none */
    void *progress_user_data;
    const samba_cancel *cancel;
    /* Convert the matrices while loading; default: keep the file's type. Types of single weights
     * are those that samba_convert gives. */
    samba_dtype weight_dtype;
    samba_rope_table rope_table; /* default: the family's own */
    const char *backend;         /* default: "cpu" */
    int32_t device_index;
    /* For checkpoints given as one safetensors file or reader: the texts of config.json and
     * tokenizer.json. Default: the files beside the checkpoint, if it is a path. */
    const char *config_json;
    size_t config_json_size;
    const char *tokenizer_json;
    size_t tokenizer_json_size;
    /* YES: files are mapped while loading, which saves a copy. The risk: if a file is cut short by
     * someone else meanwhile, or its disk fails, the process gets SIGBUS, where reading would have
     * given an error. Nothing stays mapped afterwards. Default NO. No effect on memory and readers.
     */
    int32_t mmap;
} samba_model_options;

/*
 * Loads a Hugging Face style folder (config.json + model.safetensors, or shards with
 * model.safetensors.index.json; tokenizer.json if present), one .safetensors file, or one .gguf
 * file. The file's bytes decide what it is, not its name. Caller frees with samba_model_release.
 * Errors: IO, FORMAT, UNSUPPORTED (names what is not supported), MISMATCH (names file, tensor and
 * both values), CANCELLED, OUT_OF_MEMORY.
 */
SAMBA_API samba_status samba_model_load(samba_context *context, const char *path,
                                        const samba_model_options *options, samba_model **model,
                                        samba_error **error);
/* The same from one file in memory; borrows `data`. */
SAMBA_API samba_status samba_model_load_memory(samba_context *context, const void *data,
                                               size_t size, const samba_model_options *options,
                                               samba_model **model, samba_error **error);
/* The same from one file behind a callback; borrows `reader`. */
SAMBA_API samba_status samba_model_load_reader(samba_context *context, const samba_reader *reader,
                                               const samba_model_options *options,
                                               samba_model **model, samba_error **error);
SAMBA_API samba_model *samba_model_retain(samba_model *model);
SAMBA_API void samba_model_release(samba_model *model);

typedef struct samba_model_info {
    size_t struct_size;
    const char *family;  /* "lit_gpt", "fla_samba", "mamba", "phi4flash", "samba" (GGUF), ... */
    const char *name;    /* from the file; "" if it has none */
    const char *backend; /* "cpu", ... */
    const char *tier;    /* instruction set or device, e.g. "avx512-vnni" */
    const char *weight_types;  /* e.g. "q8_0 42, f32 97": tensors by type */
    const char *chat_template; /* text of the Jinja template; NULL if the file has none */
    uint64_t n_parameters;
    uint64_t weight_bytes; /* as held in memory */
    uint32_t n_vocab;
    uint32_t d_model;
    uint32_t n_blocks;
    uint32_t n_sublayers;
    int32_t has_tokenizer;   /* 0 or 1 */
    samba_token bos_token;   /* -1: none */
    samba_token eos_token;   /* -1: none */
    int32_t invariant;       /* 1: logits do not depend on chunking, batching, threads */
    uint8_t fingerprint[16]; /* of architecture, weights and tokenizer, whatever the container */
    double load_seconds;
    int32_t n_threads; /* that a pass runs on, the caller's included */
    samba_dtype
        head_dtype; /* of the output matrix [n_vocab][d_model], or the embedding's if tied */
} samba_model_info;
/* Strings are valid until the model is released. */
SAMBA_API samba_status samba_model_get_info(const samba_model *model, samba_model_info *info,
                                            samba_error **error);

typedef struct samba_sublayer_info {
    size_t struct_size;
    /* "mamba", "attention", "diff_attention", "gmu", "gla", "retention", "swiglu" */
    const char *kind;
    const char *norm; /* "rms", "layer" */
    uint32_t block;
    uint32_t n_heads, n_kv_heads, head_dim; /* attention kinds, GLA, retention; else 0 */
    uint32_t window;                        /* keys seen, own included; 0 = all, or no attention */
    uint32_t d_inner, d_state, d_conv;      /* Mamba; GMU: d_inner; SwiGLU: d_inner = MLP width */
    uint64_t weight_bytes;
    uint64_t slab_bytes;         /* recurrent state per session */
    uint32_t dt_rank;            /* Mamba */
    uint32_t key_dim, value_dim; /* GLA, retention: per head */
    int32_t cross;               /* 1: reads the keys and values of an earlier attention */
    uint64_t file_bytes;         /* its tensors, in the types held, as a file holds them */
    uint64_t matrix_elements[8]; /* weights that a token is multiplied with, by samba_dtype */
} samba_sublayer_info;
/* index: 0 .. n_sublayers-1. */
SAMBA_API samba_status samba_model_get_sublayer(const samba_model *model, uint32_t index,
                                                samba_sublayer_info *info, samba_error **error);

/* ---------------------------------------------------------------- text and tokens */

typedef struct samba_tokenize_options {
    size_t struct_size;
    /* YES: special tokens written in the text become tokens. Default NO: text from users can't
     * forge them. */
    int32_t parse_special;
    /* NO: leave out what the tokenizer adds around a text (BOS). Default YES. */
    int32_t add_special;
} samba_tokenize_options;

/*
 * Turns text into tokens. Invalid UTF-8 is kept byte for byte by byte-level tokenizers and by those
 * with byte fallback, so that detokenizing gives it back. Writes at most `capacity` tokens and sets
 * *n_tokens; if they do not fit, nothing is written and the status is SAMBA_ERROR_LIMIT. With
 * tokens == NULL only counts. Errors: UNSUPPORTED (model or build has no tokenizer), LIMIT.
 */
SAMBA_API samba_status samba_tokenize(const samba_model *model, const char *text, size_t size,
                                      const samba_tokenize_options *options, samba_token *tokens,
                                      size_t capacity, size_t *n_tokens, samba_error **error);

typedef struct samba_detokenize_options {
    size_t struct_size;
    int32_t skip_special; /* YES: special tokens give no text. Default NO */
    /* YES: text goes before the first token, so the space in front of it counts with every kind of
     * tokenizer. Default NO: the text begins. */
    int32_t continues;
} samba_detokenize_options;

/* Turns tokens into bytes (not terminated); the same rules for `capacity`, in bytes. */
SAMBA_API samba_status samba_detokenize(const samba_model *model, const samba_token *tokens,
                                        size_t n_tokens, const samba_detokenize_options *options,
                                        char *text, size_t capacity, size_t *size,
                                        samba_error **error);

/* Token by token: holds back the first bytes of a character until the rest has come. */
typedef struct samba_detokenizer samba_detokenizer;
/* Keeps the model alive. Caller frees with samba_detokenizer_free. */
SAMBA_API samba_status samba_detokenizer_create(samba_model *model,
                                                const samba_detokenize_options *options,
                                                samba_detokenizer **detokenizer,
                                                samba_error **error);
/* *text (not terminated, whole characters, maybe empty) is valid until the next call. */
SAMBA_API samba_status samba_detokenizer_push(samba_detokenizer *detokenizer, samba_token token,
                                              const char **text, size_t *size, samba_error **error);
/* What is still held back (an incomplete character), and start anew. */
SAMBA_API samba_status samba_detokenizer_flush(samba_detokenizer *detokenizer, const char **text,
                                               size_t *size, samba_error **error);
SAMBA_API void samba_detokenizer_free(samba_detokenizer *detokenizer);

/* The id of the token whose vocabulary entry (special tokens included) is `text`; NOT_FOUND. */
SAMBA_API samba_status samba_token_find(const samba_model *model, const char *text, size_t size,
                                        samba_token *token, samba_error **error);
/* 1 if the token is a special (control) token, else 0; 0 without a tokenizer. */
SAMBA_API int32_t samba_token_is_special(const samba_model *model, samba_token token);

/* ---------------------------------------------------------------- session */

/*
 * One sequence: its tokens and its state. Bounded: recurrent layers hold a fixed slab, windowed
 * attention at most the window. Keeps its model alive. One thread at a time.
 */
typedef struct samba_session samba_session;

#define SAMBA_HISTORY_NONE 1     /* max_history: keep no tokens */
#define SAMBA_CHECKPOINTS_NONE 1 /* checkpoint_bytes */

typedef struct samba_session_options {
    size_t struct_size;
    samba_dtype kv_dtype;     /* of keys and values: F16 (default), F32, BF16, Q8_0 */
    uint32_t rows_per_pass;   /* most tokens evaluated in one pass; default 256 */
    uint64_t max_history;     /* tokens kept for penalties and samba_session_tokens, oldest dropped;
                                 default: all; SAMBA_HISTORY_NONE: none */
    uint64_t max_state_bytes; /* an eval that would need more fails with LIMIT; default: no limit.
                                 Only models with full attention grow */
    /* Position of the first token; default 0, below 2^40, where positions end. There is no past:
     * recurrent layers start from zero, attention sees only what is fed. */
    uint64_t first_position;
    /* Budget for checkpoints, see samba_session_rewind; default: what the session's whole state
     * takes once its windows are full (where keys and values are most of that, it reaches about a
     * window back, twice as much two); SAMBA_CHECKPOINTS_NONE: none are kept. */
    uint64_t checkpoint_bytes;
    uint32_t checkpoint_interval; /* least tokens between two automatic ones; default 64 */
} samba_session_options;

/* Caller frees with samba_session_free. */
SAMBA_API samba_status samba_session_create(samba_model *model,
                                            const samba_session_options *options,
                                            samba_session **session, samba_error **error);
SAMBA_API void samba_session_free(samba_session *session);
/* An independent copy that shares memory until one of both moves on. Microseconds. */
SAMBA_API samba_status samba_session_clone(const samba_session *session, samba_session **clone,
                                           samba_error **error);
/* Back to its first position, as if new; keeps its memory for reuse. */
SAMBA_API samba_status samba_session_reset(samba_session *session, samba_error **error);

/* Position of the next token: first_position + number of tokens evaluated so far. */
SAMBA_API uint64_t samba_session_position(const samba_session *session);
SAMBA_API samba_model *samba_session_model(const samba_session *session); /* borrowed */
/* Tokens kept: *tokens[0] stands at position *first. Valid until the next call that changes the
 * session. */
SAMBA_API samba_status samba_session_tokens(const samba_session *session,
                                            const samba_token **tokens, uint64_t *first,
                                            size_t *n_tokens, samba_error **error);

typedef int32_t samba_outputs;
#define SAMBA_OUTPUT_LAST 1 /* logits of the last token (default) */
#define SAMBA_OUTPUT_ALL 2  /* logits of every token of this call: n * n_vocab floats are held */
#define SAMBA_OUTPUT_NONE 3

#define SAMBA_HIDDEN_FINAL (-1) /* after the final norm: what the head reads */

typedef struct samba_eval_options {
    size_t struct_size;
    samba_outputs outputs;
    /* Also keep hidden states [d_model] of the rows that `outputs` names: SAMBA_HIDDEN_FINAL, or
     * i >= 1: the residual stream after block i-1. Default: none. */
    int32_t hidden;
    /* YES: evaluate as a proposal. The state after every one of the tokens is kept; the session
     * moves on with samba_session_keep(). At most rows_per_pass tokens. */
    int32_t speculative;
    const samba_cancel *cancel;
} samba_eval_options;

/*
 * Feeds tokens. Long inputs run as several passes of at most rows_per_pass tokens; each pass is a
 * transaction. On failure or cancel the session stands at the end of the last whole pass
 * (samba_session_position tells) and can go on from there; logits are then available only if none
 * of this call's passes had ended. n_tokens 0 is allowed and does nothing.
 */
SAMBA_API samba_status samba_session_eval(samba_session *session, const samba_token *tokens,
                                          size_t n_tokens, const samba_eval_options *options,
                                          samba_error **error);
/* Tokenizes (special tokens parsed only by request of samba_tokenize; what the tokenizer adds in
 * front only at the first position) and evaluates. */
SAMBA_API samba_status samba_session_feed_text(samba_session *session, const char *text,
                                               size_t size, const samba_eval_options *options,
                                               samba_error **error);
/* After a speculative eval of k tokens: keep the first n_tokens (0..k) of them. The last kept
 * row's logits become the session's; with 0 those before the proposal. Nothing is recomputed. */
SAMBA_API samba_status samba_session_keep(samba_session *session, size_t n_tokens,
                                          samba_error **error);

#define SAMBA_ROW_LAST SIZE_MAX
/* Logits [n_vocab] of output row `row` of the last eval (0 .. n_rows-1, or SAMBA_ROW_LAST). Valid
 * until the next call that changes the session. STATE if there are none. */
SAMBA_API samba_status samba_session_logits(const samba_session *session, size_t row,
                                            const float **logits, size_t *n_vocab,
                                            samba_error **error);
/* Number of output rows held. */
SAMBA_API size_t samba_session_n_rows(const samba_session *session);
/*
 * The output rows of an eval, apart from the session: immutable and reference-counted, they stay as
 * they are whatever the session does next, and keep its model alive. Any thread.
 */
typedef struct samba_logits samba_logits;
/* Those that samba_session_logits reads now; shared, not copied. STATE if there are none. Caller
 * frees with samba_logits_release. */
SAMBA_API samba_status samba_session_hold_logits(const samba_session *session,
                                                 samba_logits **logits, samba_error **error);
SAMBA_API samba_logits *samba_logits_retain(samba_logits *logits);
SAMBA_API void samba_logits_release(samba_logits *logits);
/* [n_rows][n_vocab], valid until the logits are released. n_rows and n_vocab may be NULL. */
SAMBA_API const float *samba_logits_data(const samba_logits *logits, size_t *n_rows,
                                         size_t *n_vocab);
/* Hidden state [d_model] of an output row, if the eval asked for it. */
SAMBA_API samba_status samba_session_hidden(const samba_session *session, size_t row,
                                            const float **hidden, size_t *d_model,
                                            samba_error **error);

/*
 * Feeds tokens and writes logprobs[i] = log p(tokens[i] | everything before it), natural log, of
 * the raw distribution, without holding rows of logits. tokens[0] is scored by the session's
 * logits; at the first position there is nothing to score it by, and logprobs[0] is 0. The logits
 * of the last token are available afterwards. `options->outputs` and `speculative` must be default.
 */
SAMBA_API samba_status samba_session_score(samba_session *session, const samba_token *tokens,
                                           size_t n_tokens, const samba_eval_options *options,
                                           float *logprobs, samba_error **error);

typedef struct samba_logprob {
    samba_token token;
    float logprob; /* natural log, raw distribution */
} samba_logprob;
/* The `n` most likely tokens of an output row, best first (ties: lower id first). */
SAMBA_API samba_status samba_session_top_logprobs(const samba_session *session, size_t row,
                                                  size_t n, samba_logprob *top,
                                                  samba_error **error);

/* log p(token) by an output row: natural log, raw distribution; the bits that samba_session_score
 * gives for the same token there. */
SAMBA_API samba_status samba_session_logprob(const samba_session *session, size_t row,
                                             samba_token token, float *logprob,
                                             samba_error **error);

/* One session's part of a batch. Every session may stand in a batch once. */
typedef struct samba_eval_item {
    samba_session *session;
    const samba_token *tokens;
    size_t n_tokens;
    const samba_eval_options *options; /* `cancel` is taken from samba_batch_options */
    samba_status status;               /* out, always written */
} samba_eval_item;
typedef struct samba_batch_options {
    size_t struct_size;
    uint32_t rows_per_pass; /* rows of all items together; default: the largest of the sessions' */
    const samba_cancel *cancel;
} samba_batch_options;
/*
 * Evaluates several sessions of one model together: the results are those of evaluating each alone.
 * item_size = sizeof(samba_eval_item). Items fail one by one (status per item); the return value
 * and *error are those of the first item that failed.
 */
SAMBA_API samba_status samba_eval_batch(samba_eval_item *items, size_t n_items, size_t item_size,
                                        const samba_batch_options *options, samba_error **error);

typedef struct samba_session_stats {
    size_t struct_size;
    uint64_t position;
    uint64_t state_bytes;   /* slabs, pages and logits held by this session, shared ones included */
    uint64_t history_bytes; /* token history */
    uint64_t n_passes;
    uint64_t prefill_tokens; /* tokens of passes with more than one token of this session */
    double prefill_seconds;
    uint64_t decode_tokens; /* tokens of passes with one */
    double decode_seconds;
    uint64_t n_checkpoints;
    uint64_t checkpoint_bytes; /* that only checkpoints hold, not in state_bytes */
} samba_session_stats;
SAMBA_API samba_status samba_session_get_stats(const samba_session *session,
                                               samba_session_stats *stats, samba_error **error);

/* ---------------------------------------------------------------- rewinding */

/*
 * A session keeps checkpoints: images of itself at earlier positions, dense near the end and ever
 * farther apart behind. They share memory with the session, so a fresh one costs nothing; once the
 * session has moved on, a checkpoint is charged what only checkpoints hold (a recurrent layer's
 * slab at once, pages when they leave the window), and the least useful ones go before the budget
 * is passed, whether or not the eval then succeeds. After any call the charge is within the budget,
 * unless pins alone exceed it. Clones begin with the same checkpoints.
 */

/* Keeps a checkpoint of the present position until samba_session_unpin, a rewind to before it, a
 * reset or a restore, whatever the budget. It is charged like the others. STATE while a proposal
 * waits; LIMIT: 64 are pinned. */
SAMBA_API samba_status samba_session_pin(samba_session *session, samba_error **error);
/* Lets the checkpoint at `position` go when the budget asks for it. NOT_FOUND: none is pinned. */
SAMBA_API samba_status samba_session_unpin(samba_session *session, uint64_t position,
                                           samba_error **error);

#define SAMBA_REPLAY_NONE UINT64_MAX /* max_replay: refuse to evaluate anything again */

typedef struct samba_rewind_options {
    size_t struct_size;
    uint64_t max_replay; /* most tokens evaluated again, else LIMIT; default: no limit */
    int32_t dry_run;     /* YES: only fill in the report. Default NO */
    const samba_cancel *cancel;
} samba_rewind_options;
typedef struct samba_rewind_report {
    size_t struct_size;
    uint64_t position;    /* where the session stands now */
    uint64_t restored_at; /* position of the checkpoint that it went back to */
    uint64_t replayed;    /* tokens evaluated again from there */
    int32_t exact;        /* 1: state and logits are bit for bit those of that time */
} samba_rewind_report;
/*
 * Back to an earlier position, tokens and logits included: restores the nearest checkpoint at or
 * before it and evaluates the tokens in between again. Checkpoints after it are dropped. `report`
 * may be NULL. Errors, all of which leave the session where it stands: INVALID_ARGUMENT (a position
 * ahead, or before the first), LIMIT (max_replay; both values in the message), STATE (no checkpoint
 * from which the tokens are still kept), CANCELLED.
 */
SAMBA_API samba_status samba_session_rewind(samba_session *session, uint64_t position,
                                            const samba_rewind_options *options,
                                            samba_rewind_report *report, samba_error **error);

/* ---------------------------------------------------------------- snapshots */

/*
 * An immutable image of a session: tokens kept, position, all state, the logits of the last row,
 * and bytes of the host's own. The next token after restoring one needs no pass over the past. One
 * taken from a session shares pages and slabs with it and keeps its model alive; one read from a
 * file holds its own, and goes into sessions of any equal model. Reference-counted;
 * any number of threads may read, write and restore it while its session goes on elsewhere.
 */
typedef struct samba_snapshot samba_snapshot;

typedef struct samba_snapshot_options {
    size_t struct_size;
    const void *metadata; /* copied; at most 16 MiB */
    size_t metadata_size;
} samba_snapshot_options;

/* Microseconds, whatever has been read. Of several output rows the last one's logits are kept,
 * hidden states are not. STATE while a proposal waits. Caller frees with samba_snapshot_release. */
SAMBA_API samba_status samba_session_snapshot(const samba_session *session,
                                              const samba_snapshot_options *options,
                                              samba_snapshot **snapshot, samba_error **error);
SAMBA_API samba_snapshot *samba_snapshot_retain(samba_snapshot *snapshot);
SAMBA_API void samba_snapshot_release(samba_snapshot *snapshot);
/*
 * Puts the session where the snapshot's was. Its own options stay (limits, max_history); its
 * checkpoints go, and the snapshot serves as the first new one. MISMATCH, naming both, if model,
 * tokenizer or kv_dtype differ.
 */
SAMBA_API samba_status samba_session_restore(samba_session *session, const samba_snapshot *snapshot,
                                             samba_error **error);
/* A new session there; kv_dtype and first_position are the snapshot's unless `options` names
 * others, which is a MISMATCH. */
SAMBA_API samba_status samba_session_create_from(samba_model *model, const samba_snapshot *snapshot,
                                                 const samba_session_options *options,
                                                 samba_session **session, samba_error **error);

/* ---------------------------------------------------------------- snapshot files */

/*
 * A snapshot as bytes: little-endian, in a layout that no backend, instruction set or thread count
 * shows in; lib/state/FORMAT.md specifies it. A file opens in every later version of the library.
 * Restored by a model of the same architecture, weights and tokenizer, it continues bit for bit on
 * the instruction set that wrote it, and within rounding elsewhere. Checksums find damage, not
 * forgery: to trust a file that others could have changed, write and read it with a MAC key.
 */
typedef int32_t samba_codec;
#define SAMBA_CODEC_RAW 1
#define SAMBA_CODEC_ZSTD 2 /* floats split into byte planes, then zstd where it gains */

typedef struct samba_snapshot_write_options {
    size_t struct_size;
    samba_codec codec; /* default ZSTD */
    /* Default 1. States are mostly noise: negative levels gain less, 2 to 12 nothing over 1, and 15
     * to 22 less than one per cent for a hundred times the work. */
    int32_t zstd_level;
    /* YES: keys and values are stored as Q8_0, which changes them; they come back in their own
     * type, and change at most once more when what came back is written so again. Rows of heads
     * that are no multiple of 32 wide stay as they are. Default NO. */
    int32_t lossy_kv;
    /* That encode, the caller's included; below 16 MiB one. Default: the context's, or 1 if the
     * context has a thread_pool. Threads other than the caller's live for the call only. */
    int32_t n_threads;
    const void *mac_key; /* 16 to 64 bytes: adds a keyed BLAKE2b of the whole file. UNSUPPORTED in
                            builds without libsodium. Default: none */
    size_t mac_key_size;
    samba_progress_fn progress; /* of the state's bytes */
    void *progress_user_data;
    const samba_cancel *cancel;
} samba_snapshot_write_options;

/* Writes the file anew: what stands under `path` is the old file or the whole new one, whatever
 * fails or ends meanwhile, and the new one is on the disk when the call returns. Errors: IO,
 * STATE (the snapshot was read without its state; or its state holds NaN or infinity), CANCELLED,
 * OUT_OF_MEMORY. Any thread. */
SAMBA_API samba_status samba_snapshot_write_file(const samba_snapshot *snapshot, const char *path,
                                                 const samba_snapshot_write_options *options,
                                                 samba_error **error);

/* Bytes that the library made. */
typedef struct samba_bytes samba_bytes;
SAMBA_API const void *samba_bytes_data(const samba_bytes *bytes); /* valid until it is freed */
SAMBA_API size_t samba_bytes_size(const samba_bytes *bytes);
SAMBA_API void samba_bytes_free(samba_bytes *bytes);
/* The same into memory. Caller frees with samba_bytes_free. */
SAMBA_API samba_status samba_snapshot_write_memory(const samba_snapshot *snapshot,
                                                   const samba_snapshot_write_options *options,
                                                   samba_bytes **bytes, samba_error **error);

/* Where bytes go, in order. write returns 0, or anything else for an error; it is called on the
 * thread inside the call. */
typedef struct samba_sink {
    size_t struct_size;
    int32_t (*write)(void *user_data, const void *data, size_t size);
    void *user_data;
    const char *name; /* for messages; default "sink" */
} samba_sink;
/* The same into a callback; borrows `sink`. After a failure what it got is to be thrown away. */
SAMBA_API samba_status samba_snapshot_write_sink(const samba_snapshot *snapshot,
                                                 const samba_sink *sink,
                                                 const samba_snapshot_write_options *options,
                                                 samba_error **error);

typedef int32_t samba_snapshot_mode;
#define SAMBA_SNAPSHOT_FULL 1
#define SAMBA_SNAPSHOT_HEADER                                                                      \
    2 /* tokens, metadata and figures; the state is neither read nor checked */
#define SAMBA_SNAPSHOT_VERIFY 3 /* all is read and checked, the state is not kept */

typedef struct samba_snapshot_read_options {
    size_t struct_size;
    samba_snapshot_mode mode; /* default FULL; of the others only figures can be had */
    /* LIMIT if the decoded state, tokens, logits and metadata are more; default 1 GiB. */
    uint64_t max_bytes;
    /* FORMAT if the file has no MAC or another one by this key. Default: a MAC is not looked at.
     * HEADER with a key is INVALID_ARGUMENT: a MAC is over the whole file. */
    const void *mac_key;
    size_t mac_key_size;
    int32_t n_threads;          /* as for writing */
    samba_progress_fn progress; /* of the file's bytes */
    void *progress_user_data;
    const samba_cancel *cancel;
} samba_snapshot_read_options;

/*
 * Reads a snapshot; no model is needed until it is restored. Every size is checked before memory is
 * taken for it, every byte against checksums, every float for being finite. Errors: IO, FORMAT
 * (names the section), UNSUPPORTED (a later format version, or a feature it needs), LIMIT,
 * CANCELLED, OUT_OF_MEMORY. Keeps the context alive. Caller frees with samba_snapshot_release.
 */
SAMBA_API samba_status samba_snapshot_read_file(samba_context *context, const char *path,
                                                const samba_snapshot_read_options *options,
                                                samba_snapshot **snapshot, samba_error **error);
/* The same from memory; borrows `data`. */
SAMBA_API samba_status samba_snapshot_read_memory(samba_context *context, const void *data,
                                                  size_t size,
                                                  const samba_snapshot_read_options *options,
                                                  samba_snapshot **snapshot, samba_error **error);
/* The same from a callback; borrows `reader`. */
SAMBA_API samba_status samba_snapshot_read_reader(samba_context *context,
                                                  const samba_reader *reader,
                                                  const samba_snapshot_read_options *options,
                                                  samba_snapshot **snapshot, samba_error **error);
/* Whether samba_snapshot_read_file would succeed, in little memory. `options->mode` is default. */
SAMBA_API samba_status samba_snapshot_verify_file(samba_context *context, const char *path,
                                                  const samba_snapshot_read_options *options,
                                                  samba_error **error);

typedef struct samba_snapshot_info {
    size_t struct_size;
    uint64_t position;       /* of the next token */
    uint64_t first_position; /* of the session's first token */
    uint64_t n_tokens;       /* kept; the last one stands at position - 1 */
    uint64_t n_sections;
    int32_t has_logits; /* 1: the next token can be drawn without a pass */
    uint32_t n_vocab;
    samba_dtype kv_dtype;
    /* Of the model: all of it, and separately its architecture (the plan), weights, tokenizer. */
    uint8_t fingerprint[16];
    uint8_t architecture[16];
    uint8_t weights[16];
    uint8_t tokenizer[16];
    const char *model_name; /* "" if it has none. Valid until the snapshot is released, as is: */
    const void *metadata;
    size_t metadata_size;
    uint64_t raw_bytes; /* of all sections, decoded */
    /* Of the file that it was read from; 0 for a session's. */
    uint64_t file_bytes;
    uint32_t format_version;
    uint32_t library_version; /* that wrote it, see samba_version_number */
    samba_codec codec;
    int32_t lossy;   /* 1: keys and values are not bit for bit what they were */
    int32_t has_mac; /* 1 */
    samba_snapshot_mode mode;
} samba_snapshot_info;
/* Of any snapshot, a session's too. */
SAMBA_API samba_status samba_snapshot_get_info(const samba_snapshot *snapshot,
                                               samba_snapshot_info *info, samba_error **error);

typedef int32_t samba_section_kind;
#define SAMBA_SECTION_TOKENS 1   /* i32 [n_tokens] */
#define SAMBA_SECTION_METADATA 2 /* u8 [metadata_size] */
#define SAMBA_SECTION_LOGITS 3   /* f32 [n_vocab] */
#define SAMBA_SECTION_CONV 4     /* Mamba: f32 [d_inner][d_conv-1], oldest input first */
#define SAMBA_SECTION_SSM 5      /* Mamba: f32 [d_inner][d_state] */
#define SAMBA_SECTION_QKV_CONV 6 /* attention: f32 [(H+2G)*head_dim][d_conv-1], rows q|k|v */
#define SAMBA_SECTION_MATRIX 7   /* GLA, retention: f32 [n_heads][key_dim][value_dim] */
#define SAMBA_SECTION_KV 8       /* [positions][k, v][G][head_dim], ending before `position` */

typedef struct samba_snapshot_section_info {
    size_t struct_size;
    samba_section_kind kind;
    int32_t sublayer; /* -1: none */
    const char *name; /* "kv", "ssm", ...; static, as is: */
    const char *type; /* of the elements: "f16", "i32", ... */
    uint32_t n_dims;
    uint64_t dims[4];
    uint64_t raw_bytes;
    /* In the file that it was read from; 0 and NULL for a session's. */
    uint64_t stored_bytes;
    samba_codec codec;
    const char *stored_type; /* differs from `type` where the codec is lossy */
    /* raw_bytes of content in the layout above, little-endian; NULL where it is not kept in this
     * form (a session's state; other modes than FULL). Valid until the snapshot is released. */
    const void *data;
} samba_snapshot_section_info;
/* index: 0 .. n_sections-1. */
SAMBA_API samba_status samba_snapshot_get_section(const samba_snapshot *snapshot, uint64_t index,
                                                  samba_snapshot_section_info *info,
                                                  samba_error **error);
/* Tokens kept: *tokens[0] stands at position *first. Valid until the snapshot is released. */
SAMBA_API samba_status samba_snapshot_tokens(const samba_snapshot *snapshot,
                                             const samba_token **tokens, uint64_t *first,
                                             size_t *n_tokens, samba_error **error);

/* ---------------------------------------------------------------- prefix cache */

/*
 * What sessions have read before, for prompts that begin alike: a system prompt or a conversation
 * so far is evaluated once, and sessions after that start behind it, with the same bits as if they
 * had read everything. Holds images of sessions at several positions of each prompt, within a
 * budget of bytes that counts memory shared between them once; the least recently used go first.
 * Keeps its model alive. Any number of threads at once; no pass runs and no file is touched under
 * its lock.
 */
typedef struct samba_prefix_cache samba_prefix_cache;

#define SAMBA_PREFIX_INTERVAL_NONE UINT32_MAX

typedef struct samba_prefix_cache_options {
    size_t struct_size;
    /* State, logits and tokens of all entries. Default: 16 states of a session with f16 keys and
     * values whose windows are full (of an attention without a window, 4,096 tokens). */
    uint64_t max_bytes;
    /* Positions stored while a prompt is read: every multiple of this (default 512;
     * SAMBA_PREFIX_INTERVAL_NONE: none), where the prompt leaves what is cached, and its end. */
    uint32_t interval;
    /* A folder that exists: what no longer fits in max_bytes is written there as snapshot files and
     * found again, also by later processes with the same model. Their headers are read at once.
     * Files of others and damaged ones are left alone. Copied; default: none. */
    const char *spill_directory;
    /* Of this model's files there, or the least recently used are deleted. Default: 8 max_bytes. */
    uint64_t max_spill_bytes;
} samba_prefix_cache_options;

/* NOT_FOUND, IO: spill_directory. Caller frees with samba_prefix_cache_free, when no call uses it
 * any more; streams may. */
SAMBA_API samba_status samba_prefix_cache_create(samba_model *model,
                                                 const samba_prefix_cache_options *options,
                                                 samba_prefix_cache **cache, samba_error **error);
SAMBA_API void samba_prefix_cache_free(samba_prefix_cache *cache);

/* Why the session did not start further on. */
typedef int32_t samba_prefix_reason;
#define SAMBA_PREFIX_WHOLE 1          /* it did: all tokens were found */
#define SAMBA_PREFIX_NEW 2            /* nothing cached begins with more of the tokens */
#define SAMBA_PREFIX_NOT_STORED 3     /* more is cached, but no image stands at that position */
#define SAMBA_PREFIX_NO_LOGITS 4      /* there is one after the last token, without logits */
#define SAMBA_PREFIX_OTHER_KV_DTYPE 5 /* more is cached, with keys and values of another type */
#define SAMBA_PREFIX_FILE_FAILED 6    /* more lies in a spilled file that could not be restored */
/* A sentence part for people, e.g. "nothing cached begins with more of the tokens". Static. */
SAMBA_API const char *samba_prefix_reason_string(samba_prefix_reason reason);

typedef struct samba_prefix_report {
    size_t struct_size;
    uint64_t matched;  /* tokens that the prompt shares with something cached */
    uint64_t restored; /* of these, tokens that the session did not have to read: where it began */
    uint64_t replayed; /* tokens evaluated from there on */
    uint64_t stored;   /* positions of this prompt that are now cached and were not before */
    samba_prefix_reason reason; /* why `restored` is not more */
    int32_t exact;              /* 1: state and logits are bit for bit those of reading it all */
    int32_t from_file;          /* 1: `restored` of them came from a spilled file */
} samba_prefix_report;
/*
 * Makes the session stand where a new one would stand after reading `tokens`: restores the longest
 * cached prefix, evaluates the rest, stores positions of it. Whatever the session held before is
 * gone; its options stay. It must be of the cache's model (MISMATCH) and begin at position 0
 * (STATE). Of `options`, outputs (LAST or NONE) and cancel may be given. `report` may be NULL. When
 * memory is short a position is not stored, which is no failure: see `stored`. On failure the
 * session stands where it stood, or after some of `tokens`; a new try needs no preparation.
 */
SAMBA_API samba_status samba_prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                               const samba_token *tokens, size_t n_tokens,
                                               const samba_eval_options *options,
                                               samba_prefix_report *report, samba_error **error);
/*
 * Stores where a session stands, such as after an answer, for the prompt that repeats it and goes
 * on. STATE if nothing has been fed, a proposal waits, it began at another position than 0, or it
 * has dropped tokens (max_history); LIMIT if it is larger than max_bytes; MISMATCH: another model.
 */
SAMBA_API samba_status samba_prefix_cache_put(samba_prefix_cache *cache,
                                              const samba_session *session, samba_error **error);
/* Forgets all entries; spilled files stay. */
SAMBA_API void samba_prefix_cache_clear(samba_prefix_cache *cache);
/* Writes all entries to the spill directory that are not there yet, say before the process ends.
 * STATE: there is none. Errors of samba_snapshot_write_file. */
SAMBA_API samba_status samba_prefix_cache_flush(samba_prefix_cache *cache, samba_error **error);

typedef struct samba_prefix_cache_stats {
    size_t struct_size;
    uint64_t n_entries; /* positions held in memory */
    uint64_t bytes;     /* by them together, at most max_bytes */
    uint64_t max_bytes;
    uint64_t n_hits, n_misses;       /* evals that restored something, or nothing */
    uint64_t n_restored, n_replayed; /* tokens of all evals */
    uint64_t n_stored, n_evicted;    /* positions */
    uint64_t n_files, file_bytes;    /* in the spill directory, as far as known */
    uint64_t n_written;              /* positions spilled by this cache */
    uint64_t n_file_hits;            /* evals that restored a file */
    uint64_t n_file_failures;        /* files that could not be written, or not restored */
} samba_prefix_cache_stats;
SAMBA_API samba_status samba_prefix_cache_get_stats(samba_prefix_cache *cache,
                                                    samba_prefix_cache_stats *stats,
                                                    samba_error **error);

/* ---------------------------------------------------------------- sampling */

/*
 * A chain of stages, applied in the order added to the logits, then one draw. Penalties, bias,
 * masks and temperature change logits; top_k, top_p, min_p and typical_p drop candidates. Without
 * any stage: a draw from the plain softmax. Frozen by its first use; then any thread may share it.
 * A draw is a function of (seed, branch, position) alone - Philox4x32-10 (Salmon et al. 2011) - so
 * it needs no state of its own and gives the same tokens on every platform for the same logits.
 */
typedef struct samba_sampler samba_sampler;
/* Keeps the context alive. Caller frees with samba_sampler_free. */
SAMBA_API samba_status samba_sampler_create(samba_context *context, samba_sampler **sampler,
                                            samba_error **error);
SAMBA_API void samba_sampler_free(samba_sampler *sampler);

/* Keep the single best token (lowest id on a tie). */
SAMBA_API samba_status samba_sampler_add_greedy(samba_sampler *sampler, samba_error **error);
/* Divide logits by t > 0. */
SAMBA_API samba_status samba_sampler_add_temperature(samba_sampler *sampler, float t,
                                                     samba_error **error);
/* Keep the k >= 1 best. */
SAMBA_API samba_status samba_sampler_add_top_k(samba_sampler *sampler, uint32_t k,
                                               samba_error **error);
/* Keep the smallest set of best candidates whose probability reaches p, 0 < p <= 1. */
SAMBA_API samba_status samba_sampler_add_top_p(samba_sampler *sampler, float p,
                                               samba_error **error);
/* Keep candidates of at least p times the best one's probability, 0 < p <= 1. */
SAMBA_API samba_status samba_sampler_add_min_p(samba_sampler *sampler, float p,
                                               samba_error **error);
/* Locally typical sampling (arXiv 2202.00666): the smallest set of candidates nearest in surprise
 * to the entropy whose probability reaches p, 0 < p <= 1. */
SAMBA_API samba_status samba_sampler_add_typical_p(samba_sampler *sampler, float p,
                                                   samba_error **error);
typedef struct samba_penalties {
    size_t struct_size;
    float repeat;    /* > 0: positive logits divided, others multiplied (CTRL); default 1 = none */
    float frequency; /* subtracted once per occurrence */
    float presence;  /* subtracted once */
    uint64_t last_n; /* tokens of history looked at; default 64; UINT64_MAX: all kept */
} samba_penalties;
SAMBA_API samba_status samba_sampler_add_penalties(samba_sampler *sampler,
                                                   const samba_penalties *penalties,
                                                   samba_error **error);
/* logits[tokens[i]] += biases[i]; -INFINITY forbids a token. Copies. */
SAMBA_API samba_status samba_sampler_add_logit_bias(samba_sampler *sampler,
                                                    const samba_token *tokens, const float *biases,
                                                    size_t n, samba_error **error);
/* Seed of the draw; default 0. Not a stage: its place in the chain does not matter. */
SAMBA_API samba_status samba_sampler_add_seed(samba_sampler *sampler, uint64_t seed,
                                              samba_error **error);

typedef struct samba_candidate {
    samba_token token;
    float logit;
} samba_candidate;
/* What a callback stage may look at. */
typedef struct samba_sampler_state {
    size_t struct_size;
    const samba_token *history; /* tokens kept, oldest first */
    size_t n_history;
    uint64_t position; /* of the token to be drawn */
    uint64_t branch;
    void *user_data; /* of the stream or samba_session_generate that draws; else NULL */
} samba_sampler_state;
/* Reorders, changes or drops candidates in place; sets *n (at least 1). Non-zero: the draw fails
 * with SAMBA_ERROR_CANCELLED. Must be safe on every thread that uses the sampler. */
typedef int32_t (*samba_sampler_stage_fn)(void *user_data, const samba_sampler_state *state,
                                          samba_candidate *candidates, size_t *n);
/* free_user_data, if given, is called when the sampler ends, and when adding fails. */
SAMBA_API samba_status samba_sampler_add_stage(samba_sampler *sampler, samba_sampler_stage_fn stage,
                                               void *user_data, void (*free_user_data)(void *),
                                               samba_error **error);
/* A grammar's hook: clear the bits of forbidden tokens. Bit t%32 of allowed[t/32] is token t; all
 * are set on entry, bits past n_vocab are ignored. Non-zero: as above. */
typedef int32_t (*samba_sampler_mask_fn)(void *user_data, const samba_sampler_state *state,
                                         uint32_t *allowed, size_t n_vocab);
SAMBA_API samba_status samba_sampler_add_mask(samba_sampler *sampler, samba_sampler_mask_fn mask,
                                              void *user_data, void (*free_user_data)(void *),
                                              samba_error **error);

/* Draws the next token from the session's last logits; feeds nothing. sampler NULL = greedy.
 * `branch` tells apart draws at one position (best of n); usually 0. *logprob may be NULL. */
SAMBA_API samba_status samba_session_sample(const samba_session *session, samba_sampler *sampler,
                                            uint64_t branch, samba_token *token, float *logprob,
                                            samba_error **error);
/* The same for logits [n_vocab] of the caller's. `state` as a stage sees it. */
SAMBA_API samba_status samba_sampler_draw(samba_sampler *sampler, const samba_sampler_state *state,
                                          const float *logits, size_t n_vocab, samba_token *token,
                                          float *logprob, samba_error **error);

/* ---------------------------------------------------------------- generation */

#define SAMBA_TOKENS_UNLIMITED UINT64_MAX

typedef struct samba_generate_options {
    size_t struct_size;
    uint64_t max_tokens;            /* default 256 */
    const samba_token *stop_tokens; /* [n_stop_tokens], besides the model's EOS; not delivered */
    size_t n_stop_tokens;
    int32_t ignore_eos;    /* YES: EOS is a token like any other. Default NO */
    uint32_t top_logprobs; /* alternatives delivered with each token; at most 64 */
    uint64_t branch;       /* see samba_session_sample */
    int32_t skip_special;  /* special tokens give no text: default YES */
    const samba_cancel *cancel;
} samba_generate_options;

typedef struct samba_token_event {
    size_t struct_size;
    samba_token token;
    float logprob;
    uint64_t position; /* of this token */
    const char *text;  /* whole characters that this token completes, maybe none; not terminated */
    size_t text_size;
    const samba_logprob *top; /* [n_top], best first */
    size_t n_top;
} samba_token_event;
/* Everything in the event is valid during the call. The callback may read the session. */
typedef int32_t (*samba_token_fn)(void *user_data, const samba_token_event *event);

typedef int32_t samba_stop_reason;
#define SAMBA_STOP_TOKEN 1    /* EOS or a stop token was drawn; it is not fed */
#define SAMBA_STOP_LENGTH 2   /* max_tokens */
#define SAMBA_STOP_CALLBACK 3 /* on_token returned SAMBA_STOP */
/* The rest are of streams. */
#define SAMBA_STOP_STRING 4
#define SAMBA_STOP_CANCELLED 5
#define SAMBA_STOP_DEADLINE 6
#define SAMBA_STOP_ERROR 7
typedef struct samba_generate_result {
    size_t struct_size;
    samba_stop_reason reason;
    samba_token stop_token; /* with SAMBA_STOP_TOKEN, else -1 */
    uint64_t n_tokens;      /* delivered and fed */
} samba_generate_result;

/*
 * Draws, feeds and delivers tokens until a reason to stop. Every delivered token has been fed, the
 * last one included, so the session continues exactly after the text delivered. Text held back
 * (an incomplete character) at the end is delivered in one last event with token -1. `on_token` and
 * `result` may be NULL. STATE if the session has no logits (feed something first). When cancelled,
 * the session stands after the last token delivered.
 */
SAMBA_API samba_status samba_session_generate(samba_session *session, samba_sampler *sampler,
                                              const samba_generate_options *options,
                                              samba_token_fn on_token, void *user_data,
                                              samba_generate_result *result, samba_error **error);

/* ---------------------------------------------------------------- streams */

/*
 * Generation that runs on its own: the host starts it, takes its events and may stop it, and none
 * of its threads waits for a pass. All streams of a model, and blocking calls that evaluate while
 * they run (evals, batches, scores, proposals), share passes; a stream's tokens are those of
 * samba_session_generate with the same sampler, whatever runs beside it.
 *
 * Delivered is what samba_stream_next or samba_stream_try_next has handed out (or the callback of
 * samba_stream_start_uv has seen). The stream works ahead of that by at most `queue_depth` tokens
 * and those that might begin a stop string. The session follows what is delivered: it stands behind
 * the last delivered token or, before the first, where it stood, from the end of the prompt on
 * behind the prompt. It is the stream's until the DONE event has been delivered or the stream is
 * closed: calls on it give BUSY then, except position, clone and snapshot, which any thread may
 * make, and free, which lets the stream go on alone.
 *
 * Threads: a stream may be read by one thread at a time, and cancelled, suspended, resumed and
 * closed by any (closed once, as the last call). The first stream of a model starts a thread of the
 * library, closing the last one ends it. Sampler callbacks run on that thread; they and on_ready
 * may not close streams. A child process after fork() has no such thread: there these functions
 * fail with STATE, and closing a stream does nothing.
 */
typedef struct samba_stream samba_stream;

/* May only signal (uv_async_send, write to an eventfd, set an event): it must not call the library,
 * nor wait for a lock that is held while a stream is closed. */
typedef void (*samba_ready_fn)(void *user_data);

typedef struct samba_stream_options {
    size_t struct_size;
    /* What is fed first: tokens, or text as samba_session_feed_text takes it, or neither if the
     * session has logits. Copied, like everything else here. */
    const samba_token *prompt; /* [n_prompt] */
    size_t n_prompt;
    const char *text;
    size_t text_size;               /* SIZE_MAX: zero-terminated */
    uint64_t max_tokens;            /* default 256 */
    const samba_token *stop_tokens; /* [n_stop_tokens], besides the model's EOS; not delivered */
    size_t n_stop_tokens;
    int32_t ignore_eos;    /* YES: EOS is a token like any other. Default NO */
    uint32_t top_logprobs; /* alternatives delivered with each token; at most 64 */
    uint64_t branch;       /* see samba_session_sample */
    int32_t skip_special;  /* special tokens give no text: default YES */
    /* The first of these to appear in the text ends the stream. No byte of it is delivered: tokens
     * wait while their text might belong to one. The token in which it begins is delivered, with
     * the text before it, if there is any. At most 64, of at most 4096 bytes. */
    const char *const *stop_strings; /* [n_stop_strings], zero-terminated */
    size_t n_stop_strings;
    uint64_t deadline_ms; /* from the start; then no more tokens are made; default: none */
    int32_t priority;     /* 1 to 100, default 10: share of what streams have to share */
    uint32_t queue_depth; /* tokens ready before the stream waits for its reader; default 8 */
    /* Called when there is something to take after a call has found nothing, and at first. On a
     * thread of the library, or inside samba_stream_cancel. Never after samba_stream_close. */
    samba_ready_fn on_ready;
    void *user_data;
    /* The prompt starts behind the longest beginning of the session's tokens and the prompt that is
     * cached, if that lies behind the session; positions of it are stored as
     * samba_prefix_cache_eval does. The session must be of the cache's model (MISMATCH), begin at
     * position 0 and have kept all of its tokens (STATE). The stream keeps the cache alive until
     * the prompt has been read or the stream is closed: it may be freed at any time. Files are read
     * by samba_stream_start; what a stream displaces is written to the spill directory by the next
     * call on the cache (samba_prefix_cache_put and _get_stats excepted) or start with it. Default:
     * none. */
    samba_prefix_cache *prefix_cache;
} samba_stream_options;

typedef int32_t samba_stream_event_kind;
#define SAMBA_STREAM_NOTHING 0 /* nothing to deliver yet */
#define SAMBA_STREAM_TOKEN 1
/* Comes exactly once, as the last. With SAMBA_STOP_ERROR, tokens that waited for the rest of a
 * possible stop string are dropped. */
#define SAMBA_STREAM_DONE 2

typedef struct samba_stream_event {
    size_t struct_size;
    samba_stream_event_kind kind;
    samba_token token; /* TOKEN */
    float logprob;
    uint64_t position; /* of the token; DONE: where the session stands */
    /* Whole characters that are settled with this token, maybe none; DONE: the bytes of an
     * incomplete character at the end. Not terminated. This and `top` are valid until the next call
     * that takes from the stream, or its close. */
    const char *text;
    size_t text_size;
    const samba_logprob *top; /* [n_top], best first */
    size_t n_top;
    samba_stop_reason reason; /* DONE */
    samba_token stop_token;   /* with SAMBA_STOP_TOKEN, else -1 */
    int32_t stop_string;      /* index, with SAMBA_STOP_STRING, else -1 */
    uint64_t n_tokens;        /* delivered so far */
    samba_status status;      /* with SAMBA_STOP_ERROR, else OK */
    const char *message;      /* with SAMBA_STOP_ERROR, else ""; valid until the close */
} samba_stream_event;

/*
 * Starts generating. Checks, tokenizes and clones the session, asks the prefix cache; evaluates
 * nothing itself. `sampler` NULL: greedy; it stays alive as long as the stream. Caller frees with
 * samba_stream_close. Errors: STATE (neither a prompt nor logits; a proposal waits), BUSY,
 * UNSUPPORTED (text without a tokenizer), LIMIT (more state than samba_stream_limits allows at
 * all), INVALID_ARGUMENT.
 */
SAMBA_API samba_status samba_stream_start(samba_session *session, samba_sampler *sampler,
                                          const samba_stream_options *options,
                                          samba_stream **stream, samba_error **error);
#define SAMBA_WAIT_FOREVER UINT64_MAX
/* The next event; waits for it up to timeout_ms, else the kind is NOTHING. STATE after DONE. */
SAMBA_API samba_status samba_stream_next(samba_stream *stream, uint64_t timeout_ms,
                                         samba_stream_event *event, samba_error **error);
/* The same without waiting. After a wake-up call it until it gives NOTHING or DONE. */
SAMBA_API samba_status samba_stream_try_next(samba_stream *stream, samba_stream_event *event,
                                             samba_error **error);
/* Drops what is not delivered and ends the stream: the next event is DONE, with CANCELLED unless it
 * was DONE anyway. Waits for nothing. */
SAMBA_API void samba_stream_cancel(samba_stream *stream);
/* Ends the stream, whatever it does, and frees it. Waits for a running on_ready and, if it is the
 * model's last stream, for the layer that is being computed. */
SAMBA_API void samba_stream_close(samba_stream *stream);

/*
 * What the stream's prefix cache had for it. Counts the session's tokens before the prompt too:
 * `restored` is where reading began, the session's own position if nothing longer was cached, and
 * `replayed` what is read from there. Known from the start; `stored` grows until the prompt is
 * read. Any thread. STATE: the stream was started without a cache.
 */
SAMBA_API samba_status samba_stream_get_prefix_report(const samba_stream *stream,
                                                      samba_prefix_report *report,
                                                      samba_error **error);

/*
 * Stops for now: what is not delivered is dropped, memory ahead of the session freed. `snapshot`
 * (may be NULL) receives where the session stands; caller frees with samba_snapshot_release. A
 * stream started from it with the same sampler and branch goes on with the tokens that this one
 * would have given. The deadline runs on. STATE once the stream has ended, or is suspended.
 */
SAMBA_API samba_status samba_stream_suspend(samba_stream *stream, samba_snapshot **snapshot,
                                            samba_error **error);
/* Goes on after the last token delivered. STATE if it is not suspended. */
SAMBA_API samba_status samba_stream_resume(samba_stream *stream, samba_error **error);

/* Called with each event, valid during the call. May call anything but uv_run, samba_stream_close
 * included. */
typedef void (*samba_stream_fn)(void *user_data, samba_stream *stream,
                                const samba_stream_event *event);
struct uv_loop_s; /* libuv's uv_loop_t */
/*
 * Starts a stream whose events come as calls on the thread that runs `loop`, of the libuv that the
 * library is linked with. Call this and samba_stream_close on that thread; the loop is kept alive
 * until the close, and must run once more for it to be complete. Events come until on_event has
 * seen DONE. options->on_ready must be NULL; user_data goes to on_event.
 */
SAMBA_API samba_status samba_stream_start_uv(samba_session *session, samba_sampler *sampler,
                                             const samba_stream_options *options,
                                             struct uv_loop_s *loop, samba_stream_fn on_event,
                                             samba_stream **stream, samba_error **error);

/* How the streams of a model share it. */
typedef struct samba_stream_limits {
    size_t struct_size;
    /* Of all running streams' state and work ahead; a stream that does not fit waits, by priority,
     * then in the order of coming. Default: no limit. */
    uint64_t max_state_bytes;
    /* The most time between two tokens of a running stream that prompts read beside it may cause:
     * prompts are cut as measured. Default 50 */
    uint32_t max_gap_ms;
    uint32_t rows_per_pass; /* most tokens of a pass, up to 512; default 256 */
} samba_stream_limits;
/* From the next pass on. Any thread. */
SAMBA_API samba_status samba_model_set_stream_limits(samba_model *model,
                                                     const samba_stream_limits *limits,
                                                     samba_error **error);
typedef struct samba_stream_stats {
    size_t struct_size;
    uint64_t n_open, n_running, n_waiting; /* streams: not closed; at work; held up by the limit */
    uint64_t n_passes, n_rows;             /* since the model was loaded */
    double pass_seconds;                   /* in passes */
    double draw_seconds;                   /* drawing tokens between them */
    double overhead_seconds;               /* all else between passes */
} samba_stream_stats;
/* Any thread. */
SAMBA_API samba_status samba_model_get_stream_stats(const samba_model *model,
                                                    samba_stream_stats *stats, samba_error **error);

/* ---------------------------------------------------------------- estimates and conversion */

typedef struct samba_estimate {
    size_t struct_size;
    uint64_t weight_bytes;          /* held while the model lives */
    uint64_t load_peak_bytes;       /* most held while loading */
    uint64_t pass_bytes;            /* activations of a pass, per context */
    uint64_t state_bytes;           /* per session, once its windows are full */
    uint64_t state_bytes_per_token; /* what full attention adds per token; 0 for bounded models */
    uint64_t history_bytes_per_token;
} samba_estimate;
/* Reads headers only: no weights. Options as for loading and for the sessions to come. */
SAMBA_API samba_status samba_model_estimate(samba_context *context, const char *path,
                                            const samba_model_options *model_options,
                                            const samba_session_options *session_options,
                                            samba_estimate *estimate, samba_error **error);

typedef struct samba_convert_options {
    size_t struct_size;
    /* Of the matrices; default: as in the input. Whatever it is, norms, conv, A, D, dt_proj and
     * biases are f32; with Q6_K, Q4_K and Q4_0 x_proj is Q8_0; with Q4_K and Q4_0 the matrix that
     * makes the logits (the head, or an embedding that serves as one) is Q6_K, or Q8_0 if its rows
     * are no multiple of 256; matrices whose rows are no multiple of the block are BF16. */
    samba_dtype weight_dtype;
    samba_rope_table rope_table;
    const char *name; /* general.name; default: the input's */
    samba_progress_fn progress;
    void *progress_user_data;
    const samba_cancel *cancel;
} samba_convert_options;
typedef struct samba_convert_report {
    size_t struct_size;
    uint64_t n_tensors;
    uint64_t n_kept; /* matrices kept in another type because rows are no multiple of a block */
    uint64_t file_bytes;
} samba_convert_report;
/* Writes any checkpoint that loads as one GGUF file with plan and tokenizer inside. The output
 * appears under its name only when complete. `report` may be NULL. */
SAMBA_API samba_status samba_convert(samba_context *context, const char *in_path,
                                     const char *out_path, const samba_convert_options *options,
                                     samba_convert_report *report, samba_error **error);

#ifdef __cplusplus
}
#endif
#endif /* SAMBA_H */
