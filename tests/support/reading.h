/* What the tests of the trained model share: its text, its pass-key prompts, its expected numbers.
 */
#ifndef SAMBA_TESTS_READING_H
#define SAMBA_TESTS_READING_H

#include "samba.h"
#include <stdbool.h>

/* Tokens of a text; ends the test on failure. Caller frees. */
samba_token *reading_tokens(const samba_model *model, const char *text, size_t size, size_t *n);
/* A pass-key prompt of the training template of about n_tokens, the key at `depth` (0..1). Caller
 * frees. */
char *reading_passkey(const samba_model *model, size_t n_tokens, double depth, const char *key);
/* Feeds the prompt to a fresh session and generates greedily; whether `expected` came out. */
bool reading_answers(samba_model *model, const char *prompt, const char *expected);
/* Mean negative log-likelihood of n tokens fed to `session`, whose logits score the first. */
double reading_nll(samba_session *session, const samba_token *tokens, size_t n);

/* From expected.json of samba-13m: mean NLL per 4,096 positions of val_head.txt, read in one go. */
extern const double reading_expected_nll[16];

#endif
