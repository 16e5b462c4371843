"""Made from include/samba.h by tools/make_declarations.py: do not edit."""

CDEF = """
uint32_t samba_version_number(void);
const char *samba_version_string(void);
typedef int32_t samba_status;
const char *samba_status_string(samba_status status);
typedef struct samba_error samba_error;
samba_status samba_error_status(const samba_error *error);
const char *samba_error_message(const samba_error *error);
const char *samba_error_file(const samba_error *error);
const char *samba_error_tensor(const samba_error *error);
uint64_t samba_error_offset(const samba_error *error);
void samba_error_free(samba_error *error);
typedef int32_t samba_token;
typedef int32_t samba_dtype;
const char *samba_dtype_name(samba_dtype dtype);
samba_dtype samba_dtype_from_name(const char *name);
typedef struct samba_allocator {
    size_t struct_size;
    void *(*alloc)(void *user_data, size_t size, size_t align);
    void (*free)(void *user_data, void *ptr, size_t size, size_t align);
    void *user_data;
} samba_allocator;
typedef int32_t samba_log_level;
typedef void (*samba_log_fn)(void *user_data, samba_log_level level, const char *message);
typedef int32_t (*samba_progress_fn)(void *user_data, uint64_t done, uint64_t total);
typedef struct samba_context samba_context;
struct samba_backend_vtbl;
typedef int32_t samba_cpu_tier;
typedef struct samba_thread_pool {
    size_t struct_size;
    int32_t n_threads;
    int32_t (*run)(void *user_data, void (*task)(void *arg, uint32_t index, uint32_t n), void *arg,
                   uint32_t n);
    void *user_data;
} samba_thread_pool;
typedef struct samba_context_options {
    size_t struct_size;
    const samba_allocator *allocator;
    samba_log_fn log;
    void *log_user_data;
    samba_log_level log_level;
    int32_t n_threads;
    samba_cpu_tier cpu_tier;
    const struct samba_backend_vtbl *const *backends;
    size_t n_backends;
    int32_t profile;
    const samba_thread_pool *thread_pool;
} samba_context_options;
samba_status samba_context_create(const samba_context_options *options,
                                            samba_context **context, samba_error **error);
void samba_context_free(samba_context *context);
typedef struct samba_profile_entry {
    const char *name;
    uint64_t calls;
    double seconds;
} samba_profile_entry;
samba_status samba_context_get_profile(samba_context *context,
                                                 samba_profile_entry *entries, size_t capacity,
                                                 size_t item_size, size_t *n_entries,
                                                 samba_error **error);
void samba_context_reset_profile(samba_context *context);
typedef struct samba_cancel samba_cancel;
samba_status samba_cancel_create(samba_context *context, samba_cancel **cancel,
                                           samba_error **error);
void samba_cancel_request(samba_cancel *cancel);
void samba_cancel_reset(samba_cancel *cancel);
void samba_cancel_free(samba_cancel *cancel);
typedef struct samba_model samba_model;
typedef struct samba_reader {
    size_t struct_size;
    uint64_t size;
    int32_t (*read_at)(void *user_data, uint64_t offset, void *buffer, size_t size);
    void *user_data;
    const char *name;
    int32_t parallel;
} samba_reader;
typedef int32_t samba_rope_table;
typedef struct samba_model_options {
    size_t struct_size;
    samba_progress_fn progress;
    void *progress_user_data;
    const samba_cancel *cancel;
    samba_dtype weight_dtype;
    samba_rope_table rope_table;
    const char *backend;
    int32_t device_index;
    const char *config_json;
    size_t config_json_size;
    const char *tokenizer_json;
    size_t tokenizer_json_size;
    int32_t mmap;
} samba_model_options;
samba_status samba_model_load(samba_context *context, const char *path,
                                        const samba_model_options *options, samba_model **model,
                                        samba_error **error);
samba_status samba_model_load_memory(samba_context *context, const void *data,
                                               size_t size, const samba_model_options *options,
                                               samba_model **model, samba_error **error);
samba_status samba_model_load_reader(samba_context *context, const samba_reader *reader,
                                               const samba_model_options *options,
                                               samba_model **model, samba_error **error);
samba_model *samba_model_retain(samba_model *model);
void samba_model_release(samba_model *model);
typedef struct samba_model_info {
    size_t struct_size;
    const char *family;
    const char *name;
    const char *backend;
    const char *tier;
    const char *weight_types;
    const char *chat_template;
    uint64_t n_parameters;
    uint64_t weight_bytes;
    uint32_t n_vocab;
    uint32_t d_model;
    uint32_t n_blocks;
    uint32_t n_sublayers;
    int32_t has_tokenizer;
    samba_token bos_token;
    samba_token eos_token;
    int32_t invariant;
    uint8_t fingerprint[16];
    double load_seconds;
    int32_t n_threads;
    samba_dtype
        head_dtype;
} samba_model_info;
samba_status samba_model_get_info(const samba_model *model, samba_model_info *info,
                                            samba_error **error);
typedef struct samba_sublayer_info {
    size_t struct_size;
    const char *kind;
    const char *norm;
    uint32_t block;
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t window;
    uint32_t d_inner, d_state, d_conv;
    uint64_t weight_bytes;
    uint64_t slab_bytes;
    uint32_t dt_rank;
    uint32_t key_dim, value_dim;
    int32_t cross;
    uint64_t file_bytes;
    uint64_t matrix_elements[8];
} samba_sublayer_info;
samba_status samba_model_get_sublayer(const samba_model *model, uint32_t index,
                                                samba_sublayer_info *info, samba_error **error);
typedef struct samba_tokenize_options {
    size_t struct_size;
    int32_t parse_special;
    int32_t add_special;
} samba_tokenize_options;
samba_status samba_tokenize(const samba_model *model, const char *text, size_t size,
                                      const samba_tokenize_options *options, samba_token *tokens,
                                      size_t capacity, size_t *n_tokens, samba_error **error);
typedef struct samba_detokenize_options {
    size_t struct_size;
    int32_t skip_special;
    int32_t continues;
} samba_detokenize_options;
samba_status samba_detokenize(const samba_model *model, const samba_token *tokens,
                                        size_t n_tokens, const samba_detokenize_options *options,
                                        char *text, size_t capacity, size_t *size,
                                        samba_error **error);
typedef struct samba_detokenizer samba_detokenizer;
samba_status samba_detokenizer_create(samba_model *model,
                                                const samba_detokenize_options *options,
                                                samba_detokenizer **detokenizer,
                                                samba_error **error);
samba_status samba_detokenizer_push(samba_detokenizer *detokenizer, samba_token token,
                                              const char **text, size_t *size, samba_error **error);
samba_status samba_detokenizer_flush(samba_detokenizer *detokenizer, const char **text,
                                               size_t *size, samba_error **error);
void samba_detokenizer_free(samba_detokenizer *detokenizer);
samba_status samba_token_find(const samba_model *model, const char *text, size_t size,
                                        samba_token *token, samba_error **error);
int32_t samba_token_is_special(const samba_model *model, samba_token token);
typedef struct samba_session samba_session;
typedef struct samba_session_options {
    size_t struct_size;
    samba_dtype kv_dtype;
    uint32_t rows_per_pass;
    uint64_t max_history;
    uint64_t max_state_bytes;
    uint64_t first_position;
    uint64_t checkpoint_bytes;
    uint32_t checkpoint_interval;
} samba_session_options;
samba_status samba_session_create(samba_model *model,
                                            const samba_session_options *options,
                                            samba_session **session, samba_error **error);
void samba_session_free(samba_session *session);
samba_status samba_session_clone(const samba_session *session, samba_session **clone,
                                           samba_error **error);
samba_status samba_session_reset(samba_session *session, samba_error **error);
uint64_t samba_session_position(const samba_session *session);
samba_model *samba_session_model(const samba_session *session);
samba_status samba_session_tokens(const samba_session *session,
                                            const samba_token **tokens, uint64_t *first,
                                            size_t *n_tokens, samba_error **error);
typedef int32_t samba_outputs;
typedef struct samba_eval_options {
    size_t struct_size;
    samba_outputs outputs;
    int32_t hidden;
    int32_t speculative;
    const samba_cancel *cancel;
} samba_eval_options;
samba_status samba_session_eval(samba_session *session, const samba_token *tokens,
                                          size_t n_tokens, const samba_eval_options *options,
                                          samba_error **error);
samba_status samba_session_feed_text(samba_session *session, const char *text,
                                               size_t size, const samba_eval_options *options,
                                               samba_error **error);
samba_status samba_session_keep(samba_session *session, size_t n_tokens,
                                          samba_error **error);
samba_status samba_session_logits(const samba_session *session, size_t row,
                                            const float **logits, size_t *n_vocab,
                                            samba_error **error);
size_t samba_session_n_rows(const samba_session *session);
typedef struct samba_logits samba_logits;
samba_status samba_session_hold_logits(const samba_session *session,
                                                 samba_logits **logits, samba_error **error);
samba_logits *samba_logits_retain(samba_logits *logits);
void samba_logits_release(samba_logits *logits);
const float *samba_logits_data(const samba_logits *logits, size_t *n_rows,
                                         size_t *n_vocab);
samba_status samba_session_hidden(const samba_session *session, size_t row,
                                            const float **hidden, size_t *d_model,
                                            samba_error **error);
samba_status samba_session_score(samba_session *session, const samba_token *tokens,
                                           size_t n_tokens, const samba_eval_options *options,
                                           float *logprobs, samba_error **error);
typedef struct samba_logprob {
    samba_token token;
    float logprob;
} samba_logprob;
samba_status samba_session_top_logprobs(const samba_session *session, size_t row,
                                                  size_t n, samba_logprob *top,
                                                  samba_error **error);
samba_status samba_session_logprob(const samba_session *session, size_t row,
                                             samba_token token, float *logprob,
                                             samba_error **error);
typedef struct samba_eval_item {
    samba_session *session;
    const samba_token *tokens;
    size_t n_tokens;
    const samba_eval_options *options;
    samba_status status;
} samba_eval_item;
typedef struct samba_batch_options {
    size_t struct_size;
    uint32_t rows_per_pass;
    const samba_cancel *cancel;
} samba_batch_options;
samba_status samba_eval_batch(samba_eval_item *items, size_t n_items, size_t item_size,
                                        const samba_batch_options *options, samba_error **error);
typedef struct samba_session_stats {
    size_t struct_size;
    uint64_t position;
    uint64_t state_bytes;
    uint64_t history_bytes;
    uint64_t n_passes;
    uint64_t prefill_tokens;
    double prefill_seconds;
    uint64_t decode_tokens;
    double decode_seconds;
    uint64_t n_checkpoints;
    uint64_t checkpoint_bytes;
} samba_session_stats;
samba_status samba_session_get_stats(const samba_session *session,
                                               samba_session_stats *stats, samba_error **error);
samba_status samba_session_pin(samba_session *session, samba_error **error);
samba_status samba_session_unpin(samba_session *session, uint64_t position,
                                           samba_error **error);
typedef struct samba_rewind_options {
    size_t struct_size;
    uint64_t max_replay;
    int32_t dry_run;
    const samba_cancel *cancel;
} samba_rewind_options;
typedef struct samba_rewind_report {
    size_t struct_size;
    uint64_t position;
    uint64_t restored_at;
    uint64_t replayed;
    int32_t exact;
} samba_rewind_report;
samba_status samba_session_rewind(samba_session *session, uint64_t position,
                                            const samba_rewind_options *options,
                                            samba_rewind_report *report, samba_error **error);
typedef struct samba_snapshot samba_snapshot;
typedef struct samba_snapshot_options {
    size_t struct_size;
    const void *metadata;
    size_t metadata_size;
} samba_snapshot_options;
samba_status samba_session_snapshot(const samba_session *session,
                                              const samba_snapshot_options *options,
                                              samba_snapshot **snapshot, samba_error **error);
samba_snapshot *samba_snapshot_retain(samba_snapshot *snapshot);
void samba_snapshot_release(samba_snapshot *snapshot);
samba_status samba_session_restore(samba_session *session, const samba_snapshot *snapshot,
                                             samba_error **error);
samba_status samba_session_create_from(samba_model *model, const samba_snapshot *snapshot,
                                                 const samba_session_options *options,
                                                 samba_session **session, samba_error **error);
typedef int32_t samba_codec;
typedef struct samba_snapshot_write_options {
    size_t struct_size;
    samba_codec codec;
    int32_t zstd_level;
    int32_t lossy_kv;
    int32_t n_threads;
    const void *mac_key;
    size_t mac_key_size;
    samba_progress_fn progress;
    void *progress_user_data;
    const samba_cancel *cancel;
} samba_snapshot_write_options;
samba_status samba_snapshot_write_file(const samba_snapshot *snapshot, const char *path,
                                                 const samba_snapshot_write_options *options,
                                                 samba_error **error);
typedef struct samba_bytes samba_bytes;
const void *samba_bytes_data(const samba_bytes *bytes);
size_t samba_bytes_size(const samba_bytes *bytes);
void samba_bytes_free(samba_bytes *bytes);
samba_status samba_snapshot_write_memory(const samba_snapshot *snapshot,
                                                   const samba_snapshot_write_options *options,
                                                   samba_bytes **bytes, samba_error **error);
typedef struct samba_sink {
    size_t struct_size;
    int32_t (*write)(void *user_data, const void *data, size_t size);
    void *user_data;
    const char *name;
} samba_sink;
samba_status samba_snapshot_write_sink(const samba_snapshot *snapshot,
                                                 const samba_sink *sink,
                                                 const samba_snapshot_write_options *options,
                                                 samba_error **error);
typedef int32_t samba_snapshot_mode;
typedef struct samba_snapshot_read_options {
    size_t struct_size;
    samba_snapshot_mode mode;
    uint64_t max_bytes;
    const void *mac_key;
    size_t mac_key_size;
    int32_t n_threads;
    samba_progress_fn progress;
    void *progress_user_data;
    const samba_cancel *cancel;
} samba_snapshot_read_options;
samba_status samba_snapshot_read_file(samba_context *context, const char *path,
                                                const samba_snapshot_read_options *options,
                                                samba_snapshot **snapshot, samba_error **error);
samba_status samba_snapshot_read_memory(samba_context *context, const void *data,
                                                  size_t size,
                                                  const samba_snapshot_read_options *options,
                                                  samba_snapshot **snapshot, samba_error **error);
samba_status samba_snapshot_read_reader(samba_context *context,
                                                  const samba_reader *reader,
                                                  const samba_snapshot_read_options *options,
                                                  samba_snapshot **snapshot, samba_error **error);
samba_status samba_snapshot_verify_file(samba_context *context, const char *path,
                                                  const samba_snapshot_read_options *options,
                                                  samba_error **error);
typedef struct samba_snapshot_info {
    size_t struct_size;
    uint64_t position;
    uint64_t first_position;
    uint64_t n_tokens;
    uint64_t n_sections;
    int32_t has_logits;
    uint32_t n_vocab;
    samba_dtype kv_dtype;
    uint8_t fingerprint[16];
    uint8_t architecture[16];
    uint8_t weights[16];
    uint8_t tokenizer[16];
    const char *model_name;
    const void *metadata;
    size_t metadata_size;
    uint64_t raw_bytes;
    uint64_t file_bytes;
    uint32_t format_version;
    uint32_t library_version;
    samba_codec codec;
    int32_t lossy;
    int32_t has_mac;
    samba_snapshot_mode mode;
} samba_snapshot_info;
samba_status samba_snapshot_get_info(const samba_snapshot *snapshot,
                                               samba_snapshot_info *info, samba_error **error);
typedef int32_t samba_section_kind;
typedef struct samba_snapshot_section_info {
    size_t struct_size;
    samba_section_kind kind;
    int32_t sublayer;
    const char *name;
    const char *type;
    uint32_t n_dims;
    uint64_t dims[4];
    uint64_t raw_bytes;
    uint64_t stored_bytes;
    samba_codec codec;
    const char *stored_type;
    const void *data;
} samba_snapshot_section_info;
samba_status samba_snapshot_get_section(const samba_snapshot *snapshot, uint64_t index,
                                                  samba_snapshot_section_info *info,
                                                  samba_error **error);
samba_status samba_snapshot_tokens(const samba_snapshot *snapshot,
                                             const samba_token **tokens, uint64_t *first,
                                             size_t *n_tokens, samba_error **error);
typedef struct samba_prefix_cache samba_prefix_cache;
typedef struct samba_prefix_cache_options {
    size_t struct_size;
    uint64_t max_bytes;
    uint32_t interval;
    const char *spill_directory;
    uint64_t max_spill_bytes;
} samba_prefix_cache_options;
samba_status samba_prefix_cache_create(samba_model *model,
                                                 const samba_prefix_cache_options *options,
                                                 samba_prefix_cache **cache, samba_error **error);
void samba_prefix_cache_free(samba_prefix_cache *cache);
typedef int32_t samba_prefix_reason;
const char *samba_prefix_reason_string(samba_prefix_reason reason);
typedef struct samba_prefix_report {
    size_t struct_size;
    uint64_t matched;
    uint64_t restored;
    uint64_t replayed;
    uint64_t stored;
    samba_prefix_reason reason;
    int32_t exact;
    int32_t from_file;
} samba_prefix_report;
samba_status samba_prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                               const samba_token *tokens, size_t n_tokens,
                                               const samba_eval_options *options,
                                               samba_prefix_report *report, samba_error **error);
samba_status samba_prefix_cache_put(samba_prefix_cache *cache,
                                              const samba_session *session, samba_error **error);
void samba_prefix_cache_clear(samba_prefix_cache *cache);
samba_status samba_prefix_cache_flush(samba_prefix_cache *cache, samba_error **error);
typedef struct samba_prefix_cache_stats {
    size_t struct_size;
    uint64_t n_entries;
    uint64_t bytes;
    uint64_t max_bytes;
    uint64_t n_hits, n_misses;
    uint64_t n_restored, n_replayed;
    uint64_t n_stored, n_evicted;
    uint64_t n_files, file_bytes;
    uint64_t n_written;
    uint64_t n_file_hits;
    uint64_t n_file_failures;
} samba_prefix_cache_stats;
samba_status samba_prefix_cache_get_stats(samba_prefix_cache *cache,
                                                    samba_prefix_cache_stats *stats,
                                                    samba_error **error);
typedef struct samba_sampler samba_sampler;
samba_status samba_sampler_create(samba_context *context, samba_sampler **sampler,
                                            samba_error **error);
void samba_sampler_free(samba_sampler *sampler);
samba_status samba_sampler_add_greedy(samba_sampler *sampler, samba_error **error);
samba_status samba_sampler_add_temperature(samba_sampler *sampler, float t,
                                                     samba_error **error);
samba_status samba_sampler_add_top_k(samba_sampler *sampler, uint32_t k,
                                               samba_error **error);
samba_status samba_sampler_add_top_p(samba_sampler *sampler, float p,
                                               samba_error **error);
samba_status samba_sampler_add_min_p(samba_sampler *sampler, float p,
                                               samba_error **error);
samba_status samba_sampler_add_typical_p(samba_sampler *sampler, float p,
                                                   samba_error **error);
typedef struct samba_penalties {
    size_t struct_size;
    float repeat;
    float frequency;
    float presence;
    uint64_t last_n;
} samba_penalties;
samba_status samba_sampler_add_penalties(samba_sampler *sampler,
                                                   const samba_penalties *penalties,
                                                   samba_error **error);
samba_status samba_sampler_add_logit_bias(samba_sampler *sampler,
                                                    const samba_token *tokens, const float *biases,
                                                    size_t n, samba_error **error);
samba_status samba_sampler_add_seed(samba_sampler *sampler, uint64_t seed,
                                              samba_error **error);
typedef struct samba_candidate {
    samba_token token;
    float logit;
} samba_candidate;
typedef struct samba_sampler_state {
    size_t struct_size;
    const samba_token *history;
    size_t n_history;
    uint64_t position;
    uint64_t branch;
    void *user_data;
} samba_sampler_state;
typedef int32_t (*samba_sampler_stage_fn)(void *user_data, const samba_sampler_state *state,
                                          samba_candidate *candidates, size_t *n);
samba_status samba_sampler_add_stage(samba_sampler *sampler, samba_sampler_stage_fn stage,
                                               void *user_data, void (*free_user_data)(void *),
                                               samba_error **error);
typedef int32_t (*samba_sampler_mask_fn)(void *user_data, const samba_sampler_state *state,
                                         uint32_t *allowed, size_t n_vocab);
samba_status samba_sampler_add_mask(samba_sampler *sampler, samba_sampler_mask_fn mask,
                                              void *user_data, void (*free_user_data)(void *),
                                              samba_error **error);
samba_status samba_session_sample(const samba_session *session, samba_sampler *sampler,
                                            uint64_t branch, samba_token *token, float *logprob,
                                            samba_error **error);
samba_status samba_sampler_draw(samba_sampler *sampler, const samba_sampler_state *state,
                                          const float *logits, size_t n_vocab, samba_token *token,
                                          float *logprob, samba_error **error);
typedef struct samba_generate_options {
    size_t struct_size;
    uint64_t max_tokens;
    const samba_token *stop_tokens;
    size_t n_stop_tokens;
    int32_t ignore_eos;
    uint32_t top_logprobs;
    uint64_t branch;
    int32_t skip_special;
    const samba_cancel *cancel;
} samba_generate_options;
typedef struct samba_token_event {
    size_t struct_size;
    samba_token token;
    float logprob;
    uint64_t position;
    const char *text;
    size_t text_size;
    const samba_logprob *top;
    size_t n_top;
} samba_token_event;
typedef int32_t (*samba_token_fn)(void *user_data, const samba_token_event *event);
typedef int32_t samba_stop_reason;
typedef struct samba_generate_result {
    size_t struct_size;
    samba_stop_reason reason;
    samba_token stop_token;
    uint64_t n_tokens;
} samba_generate_result;
samba_status samba_session_generate(samba_session *session, samba_sampler *sampler,
                                              const samba_generate_options *options,
                                              samba_token_fn on_token, void *user_data,
                                              samba_generate_result *result, samba_error **error);
typedef struct samba_stream samba_stream;
typedef void (*samba_ready_fn)(void *user_data);
typedef struct samba_stream_options {
    size_t struct_size;
    const samba_token *prompt;
    size_t n_prompt;
    const char *text;
    size_t text_size;
    uint64_t max_tokens;
    const samba_token *stop_tokens;
    size_t n_stop_tokens;
    int32_t ignore_eos;
    uint32_t top_logprobs;
    uint64_t branch;
    int32_t skip_special;
    const char *const *stop_strings;
    size_t n_stop_strings;
    uint64_t deadline_ms;
    int32_t priority;
    uint32_t queue_depth;
    samba_ready_fn on_ready;
    void *user_data;
    samba_prefix_cache *prefix_cache;
} samba_stream_options;
typedef int32_t samba_stream_event_kind;
typedef struct samba_stream_event {
    size_t struct_size;
    samba_stream_event_kind kind;
    samba_token token;
    float logprob;
    uint64_t position;
    const char *text;
    size_t text_size;
    const samba_logprob *top;
    size_t n_top;
    samba_stop_reason reason;
    samba_token stop_token;
    int32_t stop_string;
    uint64_t n_tokens;
    samba_status status;
    const char *message;
} samba_stream_event;
samba_status samba_stream_start(samba_session *session, samba_sampler *sampler,
                                          const samba_stream_options *options,
                                          samba_stream **stream, samba_error **error);
samba_status samba_stream_next(samba_stream *stream, uint64_t timeout_ms,
                                         samba_stream_event *event, samba_error **error);
samba_status samba_stream_try_next(samba_stream *stream, samba_stream_event *event,
                                             samba_error **error);
void samba_stream_cancel(samba_stream *stream);
void samba_stream_close(samba_stream *stream);
samba_status samba_stream_get_prefix_report(const samba_stream *stream,
                                                      samba_prefix_report *report,
                                                      samba_error **error);
samba_status samba_stream_suspend(samba_stream *stream, samba_snapshot **snapshot,
                                            samba_error **error);
samba_status samba_stream_resume(samba_stream *stream, samba_error **error);
typedef void (*samba_stream_fn)(void *user_data, samba_stream *stream,
                                const samba_stream_event *event);
struct uv_loop_s;
samba_status samba_stream_start_uv(samba_session *session, samba_sampler *sampler,
                                             const samba_stream_options *options,
                                             struct uv_loop_s *loop, samba_stream_fn on_event,
                                             samba_stream **stream, samba_error **error);
typedef struct samba_stream_limits {
    size_t struct_size;
    uint64_t max_state_bytes;
    uint32_t max_gap_ms;
    uint32_t rows_per_pass;
} samba_stream_limits;
samba_status samba_model_set_stream_limits(samba_model *model,
                                                     const samba_stream_limits *limits,
                                                     samba_error **error);
typedef struct samba_stream_stats {
    size_t struct_size;
    uint64_t n_open, n_running, n_waiting;
    uint64_t n_passes, n_rows;
    double pass_seconds;
    double draw_seconds;
    double overhead_seconds;
} samba_stream_stats;
samba_status samba_model_get_stream_stats(const samba_model *model,
                                                    samba_stream_stats *stats, samba_error **error);
typedef struct samba_estimate {
    size_t struct_size;
    uint64_t weight_bytes;
    uint64_t load_peak_bytes;
    uint64_t pass_bytes;
    uint64_t state_bytes;
    uint64_t state_bytes_per_token;
    uint64_t history_bytes_per_token;
} samba_estimate;
samba_status samba_model_estimate(samba_context *context, const char *path,
                                            const samba_model_options *model_options,
                                            const samba_session_options *session_options,
                                            samba_estimate *estimate, samba_error **error);
typedef struct samba_convert_options {
    size_t struct_size;
    samba_dtype weight_dtype;
    samba_rope_table rope_table;
    const char *name;
    samba_progress_fn progress;
    void *progress_user_data;
    const samba_cancel *cancel;
} samba_convert_options;
typedef struct samba_convert_report {
    size_t struct_size;
    uint64_t n_tensors;
    uint64_t n_kept;
    uint64_t file_bytes;
} samba_convert_report;
samba_status samba_convert(samba_context *context, const char *in_path,
                                     const char *out_path, const samba_convert_options *options,
                                     samba_convert_report *report, samba_error **error);
"""

SAMBA_VERSION_MAJOR = 0
SAMBA_VERSION_MINOR = 1
SAMBA_VERSION_PATCH = 0
SAMBA_OK = 0
SAMBA_ERROR_INVALID_ARGUMENT = 1
SAMBA_ERROR_OUT_OF_MEMORY = 2
SAMBA_ERROR_IO = 3
SAMBA_ERROR_FORMAT = 4
SAMBA_ERROR_UNSUPPORTED = 5
SAMBA_ERROR_MISMATCH = 6
SAMBA_ERROR_LIMIT = 7
SAMBA_ERROR_STATE = 8
SAMBA_ERROR_BUSY = 9
SAMBA_ERROR_CANCELLED = 10
SAMBA_ERROR_BACKEND = 11
SAMBA_ERROR_NOT_FOUND = 12
SAMBA_ERROR_INTERNAL = 13
SAMBA_NO_OFFSET = 18446744073709551615
SAMBA_YES = 1
SAMBA_NO = 2
SAMBA_CONTINUE = 0
SAMBA_STOP = 1
SAMBA_DTYPE_F32 = 1
SAMBA_DTYPE_F16 = 2
SAMBA_DTYPE_BF16 = 3
SAMBA_DTYPE_Q8_0 = 4
SAMBA_DTYPE_Q4_0 = 5
SAMBA_DTYPE_Q4_K = 6
SAMBA_DTYPE_Q6_K = 7
SAMBA_LOG_ERROR = 1
SAMBA_LOG_WARNING = 2
SAMBA_LOG_INFO = 3
SAMBA_LOG_DEBUG = 4
SAMBA_CPU_REFERENCE = 1
SAMBA_CPU_AVX2 = 2
SAMBA_CPU_AVX512 = 3
SAMBA_CPU_AVX512_VNNI = 4
SAMBA_CPU_AVX512_BF16 = 5
SAMBA_CPU_NEON = 6
SAMBA_CPU_NEON_DOTPROD = 7
SAMBA_ROPE_TABLE_BF16 = 1
SAMBA_ROPE_TABLE_F32 = 2
SAMBA_HISTORY_NONE = 1
SAMBA_CHECKPOINTS_NONE = 1
SAMBA_OUTPUT_LAST = 1
SAMBA_OUTPUT_ALL = 2
SAMBA_OUTPUT_NONE = 3
SAMBA_HIDDEN_FINAL = -1
SAMBA_ROW_LAST = 18446744073709551615
SAMBA_REPLAY_NONE = 18446744073709551615
SAMBA_CODEC_RAW = 1
SAMBA_CODEC_ZSTD = 2
SAMBA_SNAPSHOT_FULL = 1
SAMBA_SNAPSHOT_HEADER = 2
SAMBA_SNAPSHOT_VERIFY = 3
SAMBA_SECTION_TOKENS = 1
SAMBA_SECTION_METADATA = 2
SAMBA_SECTION_LOGITS = 3
SAMBA_SECTION_CONV = 4
SAMBA_SECTION_SSM = 5
SAMBA_SECTION_QKV_CONV = 6
SAMBA_SECTION_MATRIX = 7
SAMBA_SECTION_KV = 8
SAMBA_PREFIX_INTERVAL_NONE = 4294967295
SAMBA_PREFIX_WHOLE = 1
SAMBA_PREFIX_NEW = 2
SAMBA_PREFIX_NOT_STORED = 3
SAMBA_PREFIX_NO_LOGITS = 4
SAMBA_PREFIX_OTHER_KV_DTYPE = 5
SAMBA_PREFIX_FILE_FAILED = 6
SAMBA_TOKENS_UNLIMITED = 18446744073709551615
SAMBA_STOP_TOKEN = 1
SAMBA_STOP_LENGTH = 2
SAMBA_STOP_CALLBACK = 3
SAMBA_STOP_STRING = 4
SAMBA_STOP_CANCELLED = 5
SAMBA_STOP_DEADLINE = 6
SAMBA_STOP_ERROR = 7
SAMBA_STREAM_NOTHING = 0
SAMBA_STREAM_TOKEN = 1
SAMBA_STREAM_DONE = 2
SAMBA_WAIT_FOREVER = 18446744073709551615
