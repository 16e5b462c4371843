/* samba-lm tokenize: text to tokens, and tokens to text. */
#include "samba-lm.h"

#include <stdlib.h>
#include <string.h>

typedef struct tokenize_args {
    lm_common common;
    const char *file;
    int ids, special, decode;
    const char *positional[2]; /* model, text */
} tokenize_args;

/* The bytes of some tokens. */
static int decode(const samba_model *model, const samba_token *ids, size_t n, lm_buffer *text)
{
    samba_error *error = NULL;
    size_t size = 0;
    if (samba_detokenize(model, ids, n, NULL, NULL, 0, &size, &error) != SAMBA_OK)
        return lm_report(error);
    text->size = 0;
    text->data = lm_alloc(text->data, size + 1, 1);
    text->capacity = size + 1;
    if (samba_detokenize(model, ids, n, NULL, text->data, size, &size, &error) != SAMBA_OK)
        return lm_report(error);
    text->size = size;
    return LM_OK;
}

static int print_pieces(const samba_model *model, const lm_ids *ids)
{
    lm_buffer piece = {0};
    int rc = LM_OK;
    for (size_t i = 0; i < ids->n && rc == LM_OK; i++) {
        rc = decode(model, &ids->ids[i], 1, &piece);
        if (rc != LM_OK)
            break;
        printf("%8d  ", ids->ids[i]);
        lm_json_string(stdout, piece.data, piece.size);
        printf("%s\n", samba_token_is_special(model, ids->ids[i]) ? "  special" : "");
    }
    free(piece.data);
    return rc;
}

static int print_tokens(const tokenize_args *a, const samba_model *model, const lm_ids *ids)
{
    if (a->common.json) {
        printf("{\"n_tokens\": %zu, \"tokens\": ", ids->n);
        lm_json_ids(stdout, ids->ids, ids->n);
        printf("}\n");
        return LM_OK;
    }
    if (!a->ids)
        return print_pieces(model, ids);
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%d", i ? " " : "", ids->ids[i]);
    printf("\n");
    return LM_OK;
}

static int run_decode(const tokenize_args *a, const samba_model *model, lm_buffer *input)
{
    lm_ids ids = {0};
    lm_buffer text = {0};
    lm_append(input, "", 1); /* terminated */
    if (strlen(input->data) + 1 != input->size || lm_set_ids(&ids, input->data)) {
        free(ids.ids);
        return lm_bad_usage("tokenize", "tokenize: --decode reads token ids like 1,2,3");
    }
    int rc = decode(model, ids.ids, ids.n, &text);
    if (rc == LM_OK && a->common.json) {
        printf("{\"n_tokens\": %zu, \"text\": ", ids.n);
        lm_json_string(stdout, text.data, text.size);
        printf("}\n");
    } else if (rc == LM_OK) {
        fwrite(text.data, 1, text.size, stdout);
    }
    free(text.data);
    free(ids.ids);
    return rc;
}

static int run_encode(const tokenize_args *a, const samba_model *model, const lm_buffer *input)
{
    lm_ids ids = {0};
    samba_error *error = NULL;
    samba_tokenize_options o = {.struct_size = sizeof o,
                                .parse_special = a->special ? SAMBA_YES : SAMBA_NO};
    int rc = lm_tokenize_text(model, input, &o, &ids, &error) == SAMBA_OK
                 ? print_tokens(a, model, &ids)
                 : lm_report(error);
    free(ids.ids);
    return rc;
}

int lm_tokenize(int argc, char **argv)
{
    tokenize_args a = {.file = NULL};
    lm_host host;
    lm_buffer input = {0};
    const lm_option options[] = {
        {"--file", "-f", "FILE", "read from FILE (\"-\": stdin)", lm_set_string, &a.file},
        {"--ids", NULL, NULL, "print the ids only, on one line", lm_set_flag, &a.ids},
        {"--special", NULL, NULL, "read special tokens in the text", lm_set_flag, &a.special},
        {"--decode", NULL, NULL, "the input is token ids; print their text", lm_set_flag,
         &a.decode},
    };
    const lm_usage usage = {.command = "tokenize",
                            .synopsis = "MODEL [TEXT | -f FILE]",
                            .about = "Prints the tokens of a text (argument, file or stdin).",
                            .options = options,
                            .n_options = sizeof options / sizeof *options,
                            .common = &a.common,
                            .min_args = 1,
                            .max_args = 2};
    int rc = lm_parse(&usage, argc, argv, a.positional);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    if ((rc = lm_read_input(a.positional[1], a.file, &input)) != LM_OK)
        return rc;
    rc = lm_host_open(&host, &a.common);
    if (rc == LM_OK)
        rc = lm_host_load(&host, a.positional[0]);
    if (rc == LM_OK)
        rc = a.decode ? run_decode(&a, host.model, &input) : run_encode(&a, host.model, &input);
    if (rc == LM_OK && !lm_flush_ok(stdout, "stdout"))
        rc = LM_FAILED;
    lm_host_close(&host);
    free(input.data);
    return rc;
}
