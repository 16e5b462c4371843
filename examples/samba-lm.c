/* samba-lm: run Samba-family language models from the command line. Picks the subcommand. */
#include "samba-lm.h"

#include <string.h>

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} command;

static const command commands[] = {
    {"generate", lm_generate, "continue a prompt"},
    {"serve-stdio", lm_serve, "run streams for a program that speaks JSON"},
    {"info", lm_info, "describe a model and its sublayers"},
    {"tokenize", lm_tokenize, "turn text into tokens and back"},
    {"convert", lm_convert, "write a checkpoint as one GGUF file"},
    {"quantize", lm_quantize, "write a model with its matrices in another type"},
    {"perplexity", lm_perplexity, "measure how well a model predicts a text"},
    {"passkey", lm_passkey, "hide a number in a long text and ask for it"},
    {"bench", lm_bench_main, "measure how fast a model runs, and how fast it could"},
    {"snapshot", lm_snapshot, "describe, check and compare saved sessions"},
    {"logits", lm_logits, "write the logits of given tokens to a file"},
};

enum {
    N_COMMANDS = sizeof commands / sizeof *commands
};

static void print_help(FILE *out)
{
    fprintf(out, "samba-lm runs Samba-family language models.\n\n"
                 "usage: samba-lm COMMAND ...\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nsamba-lm COMMAND --help describes a command; samba-lm --version prints the "
                 "version.\n"
                 "A model is a .gguf file, a .safetensors file, or a Hugging Face folder.\n"
                 "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return LM_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return LM_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("samba-lm %s\n", samba_version_string());
        return LM_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "samba-lm: no command \"%s\" (see samba-lm --help)\n", argv[1]);
    return LM_USAGE;
}
