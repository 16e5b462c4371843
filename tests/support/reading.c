/* Reading, scoring and remembering with the trained model: see reading.h. */
#include "reading.h"
#include "rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const double reading_expected_nll[16] = {
    3.8946495056152344, 3.719115972518921, 3.3661465644836426, 3.4422059059143066,
    3.306305408477783,  3.571836471557617, 3.5056939125061035, 3.6220998764038086,
    3.5188651084899902, 3.541080951690674, 3.38124680519104,   3.7632358074188232,
    3.5333967208862305, 3.549318552017212, 3.481633186340332,  3.4025888442993164,
};

samba_token *reading_tokens(const samba_model *model, const char *text, size_t size, size_t *n)
{
    samba_tokenize_options o = {.struct_size = sizeof o, .add_special = SAMBA_NO};
    CK_OK(samba_tokenize(model, text, size, &o, NULL, 0, n, RIG_ERROR));
    samba_token *tokens = malloc((*n + 1) * sizeof *tokens);
    CK_OK(samba_tokenize(model, text, size, &o, tokens, *n, n, RIG_ERROR));
    return tokens;
}

static const char intro[] =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I "
    "will quiz you about the important information there.\n";
static const char filler[] = "The grass is green. The sky is blue. The sun is yellow. Here we go. "
                             "There and back again.\n";
static const char key_sentence[] = "The pass key is %s. Remember it. %s is the pass key.\n";
static const char question[] = "What is the pass key? The pass key is ";

static size_t count(const samba_model *model, const char *text)
{
    size_t n = 0;
    free(reading_tokens(model, text, SIZE_MAX, &n));
    return n;
}

char *reading_passkey(const samba_model *model, size_t n_tokens, double depth, const char *key)
{
    char sentence[128];
    snprintf(sentence, sizeof sentence, key_sentence, key, key);
    size_t fixed = count(model, intro) + count(model, sentence) + count(model, question);
    size_t n = (n_tokens - fixed) / count(model, filler), before = (size_t)(depth * (double)n);
    char *prompt = malloc(sizeof intro + sizeof sentence + sizeof question + n * sizeof filler);
    char *end = stpcpy(prompt, intro);
    for (size_t i = 0; i < n; i++) {
        if (i == before)
            end = stpcpy(end, sentence);
        end = stpcpy(end, filler);
    }
    if (before >= n)
        end = stpcpy(end, sentence);
    stpcpy(end, question);
    return prompt;
}

bool reading_answers(samba_model *model, const char *prompt, const char *expected)
{
    size_t n = 0, n_expected = 0;
    samba_token *tokens = reading_tokens(model, prompt, SIZE_MAX, &n);
    samba_token *wanted = reading_tokens(model, expected, SIZE_MAX, &n_expected);
    samba_session *s = rig_session(model, 0, 0);
    bool right = true;
    rig_eval(s, tokens, n, 0);
    for (size_t i = 0; i < n_expected && right; i++) {
        samba_token t = -1;
        CK_OK(samba_session_sample(s, NULL, 0, &t, NULL, RIG_ERROR));
        right = t == wanted[i];
        rig_eval(s, &t, 1, 0);
    }
    samba_session_free(s);
    free(wanted);
    free(tokens);
    return right;
}

double reading_nll(samba_session *session, const samba_token *tokens, size_t n)
{
    float *logprobs = malloc(n * sizeof *logprobs);
    double sum = 0;
    CK_OK(samba_session_score(session, tokens, n, NULL, logprobs, RIG_ERROR));
    for (size_t i = 0; i < n; i++)
        sum -= (double)logprobs[i];
    free(logprobs);
    return sum / (double)n;
}
