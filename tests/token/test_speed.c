/*
 * Texts of a megabyte that quadratic code would need hours for, in processor time: what matters is
 * the order of growth, so the limit is generous.
 */
#include "support/suite.h"
#include "vectors.h"

#include <time.h>

enum {
    SIZE = 1 << 20
};

typedef struct input {
    const char *name;
    char (*at)(size_t i);
} input;

static char english(size_t i)
{
    static const char s[] =
        "It was the best of times, it was the worst of times; we'd 12 reasons.\n"
        "\"Quite so,\" said Mr. Dedlock -- and left for Lincolnshire.  ";
    return s[(i + i / 977) % (sizeof s - 1)];
}

static char spaces(size_t i)
{
    return i + 1 < SIZE ? ' ' : 'x';
}

static char one_letter(size_t i)
{
    (void)i;
    return 'a';
}

static char two_letters(size_t i)
{
    return "ab"[i & 1];
}

static char newlines(size_t i)
{
    return i % 1000 ? ' ' : '\n';
}

static char digits(size_t i)
{
    (void)i;
    return '1';
}

static char invalid(size_t i)
{
    return (char)(0x80 + i % 64);
}

/* U+0315 and U+0300 in turn: classes 232 and 230, so canonical ordering has to sort. */
static char marks(size_t i)
{
    return (char)(i % 2 == 0 ? 0xcc : i % 4 == 1 ? 0x95 : 0x80);
}

static char brackets(size_t i)
{
    return "<|endoftext|"[i % 12];
}

static const input inputs[] = {
    {"english", english},         {"spaces", spaces},     {"one letter", one_letter},
    {"two letters", two_letters}, {"newlines", newlines}, {"digits", digits},
    {"invalid", invalid},         {"marks", marks},       {"brackets", brackets},
};

static const char *const names[] = {"samba-13m", "llama3-nfc", "llama2-added", "o200k-nfkc"};

enum {
    N_INPUTS = sizeof inputs / sizeof *inputs
};

START_TEST(a_megabyte)
{
    const char *name = names[_i];
    char path[128], *text = malloc(SIZE);
    snprintf(path, sizeof path, "%s-tokenizer.json", name);
    samba__tokenizer *t = load_file(path);
    for (size_t k = 0; k < N_INPUTS; k++) {
        for (size_t i = 0; i < SIZE; i++)
            text[i] = inputs[k].at(i);
        clock_t begin = clock();
        samba__token_list list = encode(t, text, SIZE, false, true);
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        printf("%s, %s: %.3f s, %zu tokens\n", name, inputs[k].name, seconds, list.n);
        ck_assert_msg(seconds < SPEED_LIMIT, "%s, %s: %.1f s", name, inputs[k].name, seconds);
        list_free(&list);
    }
    samba__tokenizer_free(t);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/speed");
    TCase *tc = tcase_create("speed");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, a_megabyte, 0, sizeof names / sizeof *names);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
