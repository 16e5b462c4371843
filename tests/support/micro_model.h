/*
 * Tiny checkpoints with random weights, written by C alone, for tests that load a model hundreds of
 * times: a fla Samba (config.json + model.safetensors) of about 30,000 parameters. Also a plain
 * safetensors writer for tests that want files of their own.
 */
#ifndef TESTS_SUPPORT_MICRO_MODEL_H
#define TESTS_SUPPORT_MICRO_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero fields take the default. */
typedef struct micro_options {
    uint64_t seed;     /* of the weights; default 1 */
    uint32_t d_model;  /* default 16; a multiple of 4 * (heads 2) */
    uint32_t n_blocks; /* default 2: Mamba, attention, Mamba, ... each with an MLP (of 256,
                        by default) */
    uint32_t n_vocab;  /* default 32, with a tokenizer 272 */
    uint32_t window;   /* default 8; UINT32_MAX: full attention */
    uint32_t n_heads;  /* default 2, with one kv head */
    bool tied;         /* no lm_head */
    bool bf16;         /* matrices, conv, embeddings; the rest f32. Default all f32 */
    bool tokenizer; /* also tokenizer.json: byte-level BPE of 256 bytes, some merges, 2 specials */
} micro_options;

/* Ids of the tokenizer's special tokens; the config names them as BOS and EOS. */
enum {
    MICRO_TOKENIZER_VOCAB = 272,
    MICRO_BOS = 270,
    MICRO_EOS = 271
};

/* Writes the files into `folder`, which exists. options may be NULL. The same options give the same
 * bytes. False if a file can't be written. */
bool micro_model_write(const char *folder, const micro_options *options);
/* Makes a folder below /tmp, for which micro_folder_remove cleans up (with all files in it). */
bool micro_folder_make(char folder[64]);
void micro_folder_remove(const char *folder);

enum {
    MICRO_MAX_RANK = 4
};
typedef struct micro_tensor {
    char name[96];
    const char *dtype; /* "F32", "BF16", "F16", ... */
    size_t rank;
    uint64_t shape[MICRO_MAX_RANK];
    const void *data;
    size_t bytes;
} micro_tensor;
/* The tensors in this order, without gaps; the header padded to 8 bytes with spaces. */
bool micro_safetensors_write(const char *path, const micro_tensor *tensors, size_t n);

#endif
